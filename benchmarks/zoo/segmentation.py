"""Segmentation networks and their trunks: smp, torchvision, timm."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.case import Build, case, made, squares


def smp_net(decoder: str, encoder: str, **options: object) -> Build:
    return made(
        "segmentation_models_pytorch", decoder, encoder, encoder_weights=None, classes=3, **options
    )


def tvseg(name: str, **options: object) -> Build:
    module = "torchvision.models.segmentation"
    return made(module, name, weights=None, weights_backbone=None, num_classes=3, **options)


def tvcls(name: str) -> Build:
    return made("torchvision.models", name, weights=None)


def tm(name: str, **options: object) -> Build:
    return made("timm", "create_model", name, pretrained=False, **options)


for dec in [
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
]:
    case("smp", f"{dec}/resnet18", smp_net(dec, "resnet18"), whole=dec in ("Unet", "FPN", "PAN"))
for dec, enc in [
    ("Unet", "mit_b0"),
    ("Unet", "tu-convnext_femto"),
    ("Unet", "mobileone_s0"),
    ("Unet", "timm-mobilenetv3_small_100"),
    ("FPN", "efficientnet-b0"),
    ("PSPNet", "mit_b0"),
    ("DeepLabV3Plus", "mobilenet_v2"),
    ("MAnet", "densenet121"),
    ("UPerNet", "tu-swin_tiny_patch4_window7_224"),
    ("Segformer", "mit_b0"),
    ("PAN", "tu-convnext_femto"),
    ("Unet", "dpn68"),
    ("Unet", "vgg11_bn"),
]:
    tries = [{"example": (2, 3, 224, 224)}, {"size": 224}] if "swin" in enc else []
    case("smp", f"{dec}/{enc}", smp_net(dec, enc), tries=tries)
case(
    "smp",
    "DPT/tu-vit_tiny",
    smp_net("DPT", "tu-vit_tiny_patch16_224.augreg_in21k", encoder_depth=4, dynamic_img_size=True),
    tries=[{"example": (2, 3, 224, 224)}],
)
case("smp", "Unet+aux/resnet18", smp_net("Unet", "resnet18", aux_params=dict(classes=4)))
case(
    "smp",
    "Unet+scse+sigmoid/resnet18",
    smp_net("Unet", "resnet18", decoder_attention_type="scse", activation="sigmoid"),
)

case("torchvision", "lraspp_mobilenet_v3_large", tvseg("lraspp_mobilenet_v3_large"), whole=True)
case(
    "torchvision",
    "deeplabv3_mobilenet_v3_large",
    tvseg("deeplabv3_mobilenet_v3_large"),
    whole=True,
)
case(
    "torchvision",
    "deeplabv3_mobilenet_v3_large+aux",
    tvseg("deeplabv3_mobilenet_v3_large", aux_loss=True),
)
case("torchvision", "fcn_resnet50", tvseg("fcn_resnet50"))
case("torchvision", "fcn_resnet50+aux", tvseg("fcn_resnet50", aux_loss=True))
case("torchvision", "deeplabv3_resnet50", tvseg("deeplabv3_resnet50"))


def raft() -> nn.Module:
    from torchvision.models.optical_flow import raft_small

    return raft_small(weights=None)


def call_raft(net: nn.Module, x: Tensor) -> object:
    return net(x, x, num_flow_updates=2)


case(
    "torchvision",
    "raft_small",
    raft,
    tries=[{"call": call_raft}, {"call": call_raft, "example": (2, 3, 128, 192)}],
)
for n in ("resnet18", "vit_b_16", "convnext_tiny", "efficientnet_b0", "regnet_y_400mf", "swin_t"):
    case("torchvision", f"{n} classifier", tvcls(n))


def maskrcnn() -> nn.Module:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=64, max_size=128)


case("torchvision", "maskrcnn_resnet50_fpn", maskrcnn)


def fpn_backbone() -> nn.Module:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet18", weights=None)


case("torchvision", "resnet18_fpn backbone", fpn_backbone)

for n in (
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
):
    case("timm", f"{n} features_only", tm(n, features_only=True))
for n in (
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "maxvit_rmlp_pico_rw_256",
    "deit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
):
    sz = 256 if "256" in n else 224
    case(
        "timm",
        f"{n} features_only",
        tm(n, features_only=True),
        tries=squares(sz),
    )


def call_ff(net: nn.Module, x: Tensor) -> object:
    return net.forward_features(x)


case(
    "timm",
    "vit_tiny forward_features dynamic",
    tm("vit_tiny_patch16_224", dynamic_img_size=True),
    tries=[{"call": call_ff}],
)
case(
    "timm",
    "vit_small_dinov2 reg4 tokens",
    tm("vit_small_patch14_reg4_dinov2", dynamic_img_size=True, depth=2),
    tries=[{"call": call_ff}],
)
case("timm", "mobilenetv2_050 classifier", tm("mobilenetv2_050"))
case(
    "timm",
    "mixer_s32 classifier",
    tm("mixer_s32_224"),
    tries=[{"call": call_ff, "example": (2, 3, 224, 224)}],
)
