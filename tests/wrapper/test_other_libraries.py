"""Networks of other libraries, small ones; `benchmarks/backbones.py` wraps some 300."""

import warnings

import pytest
import torch
from torch import nn

from opmask import OperatorMaskWrapper

pytestmark = pytest.mark.third_party


def smp(decoder, encoder="resnet18", **options):
    import segmentation_models_pytorch

    kind = getattr(segmentation_models_pytorch, decoder)
    return kind(encoder, encoder_weights=None, classes=3, **options)


def segmentation(name, **options):
    from torchvision.models import segmentation

    kind = getattr(segmentation, name)
    return kind(weights=None, weights_backbone=None, num_classes=3, **options)


def timm(name, **options):
    from timm import create_model

    return create_model(name, pretrained=False, **options)


def dexined():
    from kornia.models.dexined import DexiNed

    return DexiNed(pretrained=False)


def rrdb():
    from kornia.models.rrdbnet import RRDBNet

    return RRDBNet(3, 3, num_feat=16, num_block=1)


def trunk(**options):
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, **options)


# The name, how it is built, the layer that masks are read from, and the scale of its input.
HEAD = "segmentation_head.0"
FINE = {
    "Unet": (lambda: smp("Unet"), HEAD, 1),
    "Unet mit_b0": (lambda: smp("Unet", "mit_b0"), HEAD, 1),
    "Unet convnext": (lambda: smp("Unet", "tu-convnext_atto"), HEAD, 1),
    "Unet mobileone": (lambda: smp("Unet", "mobileone_s0"), HEAD, 1),
    "Unet mobilenet_v2": (lambda: smp("Unet", "mobilenet_v2"), HEAD, 1),
    "Unet efficientnet": (lambda: smp("Unet", "efficientnet-b0"), HEAD, 1),
    "Unet with a classifier": (lambda: smp("Unet", aux_params={"classes": 4}), HEAD, 1),
    "Unet with a sigmoid": (lambda: smp("Unet", activation="sigmoid"), HEAD, 1),
    "Unet scse": (lambda: smp("Unet", decoder_attention_type="scse"), HEAD, 1),
    "UnetPlusPlus": (lambda: smp("UnetPlusPlus"), HEAD, 1),
    "MAnet": (lambda: smp("MAnet"), HEAD, 1),
    "Linknet": (lambda: smp("Linknet"), HEAD, 1),
    "FPN": (lambda: smp("FPN"), HEAD, (1, 4)),
    "FPN efficientnet": (lambda: smp("FPN", "efficientnet-b0"), HEAD, (1, 4)),
    "PSPNet": (lambda: smp("PSPNet"), HEAD, (1, 8)),
    "DeepLabV3": (lambda: smp("DeepLabV3"), HEAD, (1, 8)),
    "DeepLabV3Plus": (lambda: smp("DeepLabV3Plus"), HEAD, (1, 4)),
    "PAN": (lambda: smp("PAN"), HEAD, (1, 4)),
    "UPerNet": (lambda: smp("UPerNet"), HEAD, (1, 4)),
    "Segformer": (lambda: smp("Segformer"), HEAD, (1, 4)),
    "lraspp": (lambda: segmentation("lraspp_mobilenet_v3_large"), None, (1, 8)),
    "deeplabv3": (lambda: segmentation("deeplabv3_mobilenet_v3_large"), "classifier.4", None),
    "deeplabv3 aux": (
        lambda: segmentation("deeplabv3_mobilenet_v3_large", aux_loss=True),
        "classifier.4",
        None,
    ),
    "fcn": (lambda: segmentation("fcn_resnet50"), "classifier.4", (1, 8)),
    "fcn aux": (lambda: segmentation("fcn_resnet50", aux_loss=True), "classifier.4", (1, 8)),
    "DexiNed": (dexined, "block_cat.conv", 1),
    "RRDBNet": (rrdb, "conv_last", (4, 1)),
}
COARSE = [
    "resnet18",
    "mobilenetv3_small_050",
    "convnext_atto",
    "efficientnet_lite0",
    "hrnet_w18_small",
    "edgenext_xx_small",
    "regnety_002",
    "efficientvit_b0",
    "repvit_m0_9",
    "mobileone_s0",
    "pvt_v2_b0",
    "poolformer_s12",
    "fastvit_t8",
]


def identity_error(model, *shape):
    image = torch.rand(*shape)
    with torch.no_grad():
        return (model.eval()(image).image - image).abs().max()


def check(net, model, keys):
    assert list(net.state_dict()) == keys
    assert identity_error(model, 2, 3, 64, 96) < 1e-4
    assert identity_error(model, 1, 3, 45, 71) < 1e-4
    model.train()(torch.rand(2, 3, 64, 64)).image.sum().backward()
    idle = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert set(idle) <= set(model.unused)


@pytest.mark.parametrize("name", FINE)
def test_networks_of_other_libraries_are_wrapped_with_nothing(name):
    build, head, scale = FINE[name]
    net = build()
    keys = list(net.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of coarse maps
        model = OperatorMaskWrapper(net)
    assert head in (None, model.head.name)
    if scale is not None:
        assert model.head.geometry.scale == ((1, 1) if scale == 1 else scale)
    check(net, model, keys)


@pytest.mark.parametrize("name", COARSE)
def test_trunks_of_classifiers_are_wrapped_with_a_warning(name):
    net = timm(name, features_only=True)
    keys = list(net.state_dict())
    with pytest.warns(UserWarning, match="Name a better layer with head= if there is one"):
        model = OperatorMaskWrapper(net)
    check(net, model, keys)


def test_a_network_for_one_size_is_reported_with_that_size():
    net = timm("swin_tiny_patch4_window7_224", features_only=True)
    with (
        pytest.warns(UserWarning, match="FeatureListNet takes 224x224 pixels and no other size"),
        pytest.warns(UserWarning, match="Name a better layer"),
    ):
        model = OperatorMaskWrapper(net)
    assert model.size == (224, 224)


def test_what_an_encoder_holds_and_the_decoder_does_not_use_is_named():
    net = smp("PSPNet")
    model = OperatorMaskWrapper(net)
    assert "encoder.layer3.0.conv1.weight" in model.unused
    assert net.encoder.layer3[0].conv1.weight.requires_grad


def test_networks_keep_their_statistics_when_they_are_wrapped():
    net = smp("Unet")
    statistics = [m.running_mean for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    OperatorMaskWrapper(net)
    assert not any(mean.any() for mean in statistics)
