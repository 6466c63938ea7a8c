"""Inverse problems, compression, vision: deepinv, unet, compressai, kornia."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.case import Build, case, grey, made


def di(name: str, **options: object) -> Build:
    return made("deepinv.models", name, **options)


def cai(name: str, *arguments: object, **options: object) -> Build:
    return made("compressai.models", name, *arguments, **options)


def call_s(net: nn.Module, x: Tensor) -> object:
    return net(x, 0.1)


CS = [{"call": call_s}]
case(
    "deepinv",
    "DRUNet",
    di("DRUNet", pretrained=None, nc=(8, 16, 32, 64), nb=1),
    tries=CS,
    whole=True,
)
case("deepinv", "DnCNN", di("DnCNN", pretrained=None, depth=6, nf=16), tries=CS, whole=True)
case("deepinv", "SCUNet", di("SCUNet", pretrained=None, dim=64, config=(1,) * 7), tries=CS)
case(
    "deepinv",
    "Restormer",
    di("Restormer", pretrained=None, dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1),
    tries=CS,
)
case(
    "deepinv",
    "SwinIR",
    di("SwinIR", pretrained=None, embed_dim=24, depths=[1, 1], num_heads=[2, 2]),
    tries=CS,
)
case("deepinv", "UNet", di("UNet", in_channels=3, out_channels=3, scales=4), tries=CS)
case(
    "deepinv",
    "UNet/bf-nobias scales=2",
    di("UNet", in_channels=3, out_channels=3, scales=2, batch_norm="biasfree", bias=False),
    tries=CS,
)
case("deepinv", "GSDRUNet", di("GSDRUNet", pretrained=None, nc=(8, 16, 32, 64), nb=1), tries=CS)
case(
    "deepinv",
    "GSDRUNet/student",
    di("GSDRUNet", pretrained=None, nc=(8, 16, 32, 64), nb=1),
    tries=[
        {
            "call": lambda n, x: (
                n.student_grad.model(torch.cat([x, x[:, :1] * 0], 1))
                if False
                else n.student_grad(x, 0.1)
            )
        }
    ],
)
case(
    "deepinv",
    "FFDNet",
    di("FFDNet", pretrained=None, img_channels=3, nf=16, n_conv_layers=5),
    tries=CS,
    whole=True,
)
case(
    "deepinv",
    "SRResNet",
    di("SRResNet", num_blocks=1, feats=16),
    tries=[{"call": lambda n, x: n(x, None)}],
)
case("deepinv", "RAM", di("RAM", pretrained=False), tries=[{"call": lambda n, x: n(x, sigma=0.1)}])
case("deepinv", "DiffUNet", di("DiffUNet", pretrained=None), tries=[{"call": call_s}])
case(
    "deepinv",
    "NCSNpp",
    di("NCSNpp", pretrained=None, model_channels=32, channel_mult=(1, 2), num_blocks=1),
    tries=CS,
)
case(
    "deepinv",
    "ADMUNet",
    di("ADMUNet", pretrained=None, model_channels=32, channel_mult=(1, 2), num_blocks=1),
    tries=CS,
)
case("deepinv", "DScCP", di("DScCP", pretrained=None, depth=3, n_channels_per_layer=16), tries=CS)
case(
    "deepinv",
    "AutoEncoder (fixed, dense)",
    di("AutoEncoder", dim_input=3 * 32 * 32, dim_mid=64),
    tries=[*CS, {"example": (2, 3, 32, 32)}],
)
case("deepinv", "ICNN", di("ICNN", num_filters=16, num_layers=3), tries=CS)
case("deepinv", "PatchGANDiscriminator", di("PatchGANDiscriminator", ndf=8))
case(
    "deepinv",
    "ESRGANDiscriminator",
    di("ESRGANDiscriminator", img_size=(3, 64, 64), filters=(8, 8)),
)
case(
    "deepinv",
    "KernelIdentificationNetwork",
    di("KernelIdentificationNetwork", pretrained=None),
)
case(
    "deepinv",
    "PDNet_PrimalBlock",
    di("PDNet_PrimalBlock", in_channels=3, out_channels=3, nf=16),
    tries=[{"call": lambda n, x: n(x, x[:, :1])}],
)

case(
    "unet",
    "UNet2D/valid",
    made(
        "unet",
        "UNet2D",
        in_channels=3,
        out_classes=3,
        num_encoding_blocks=2,
        out_channels_first_layer=8,
    ),
    whole=True,
)
case(
    "unet",
    "UNet2D/valid deep",
    made(
        "unet",
        "UNet2D",
        in_channels=3,
        out_classes=3,
        num_encoding_blocks=3,
        out_channels_first_layer=8,
    ),
)
case(
    "unet",
    "UNet2D/padded residual",
    made(
        "unet",
        "UNet2D",
        in_channels=3,
        out_classes=3,
        num_encoding_blocks=4,
        out_channels_first_layer=8,
        padding=1,
        residual=True,
        normalization="batch",
        upsampling_type="linear",
    ),
)

case("compressai", "FactorizedPrior", cai("FactorizedPrior", 16, 24), whole=True)
case("compressai", "FactorizedPriorReLU", cai("FactorizedPriorReLU", 16, 24))
case("compressai", "ScaleHyperprior", cai("ScaleHyperprior", 16, 24), whole=True)
case("compressai", "MeanScaleHyperprior", cai("MeanScaleHyperprior", 16, 24))
case(
    "compressai",
    "JointAutoregressiveHierarchicalPriors",
    cai("JointAutoregressiveHierarchicalPriors", 16, 24),
)
case("compressai", "Cheng2020Anchor", cai("Cheng2020Anchor", 16))
case("compressai", "Cheng2020Attention", cai("Cheng2020Attention", 16))
case("compressai", "Cheng2020AnchorCheckerboard", cai("Cheng2020AnchorCheckerboard", 16))
case("compressai", "Elic2022Official", cai("Elic2022Official", 32, 64, groups=[16, 16, 32]))
case("compressai", "ScaleHyperpriorVbr", cai("ScaleHyperpriorVbr", 16, 24))
case("compressai", "MeanScaleHyperpriorVbr", cai("MeanScaleHyperpriorVbr", 16, 24))
case(
    "compressai",
    "JointAutoregressiveHierarchicalPriorsVbr",
    cai("JointAutoregressiveHierarchicalPriorsVbr", 16, 24),
)
case("compressai", "Elic2022Chandelier", cai("Elic2022Chandelier", 32, 64, groups=[16, 16, 32]))

case("kornia", "DexiNed", made("kornia.models.dexined", "DexiNed", pretrained=False), whole=True)
case("kornia", "RRDBNet", made("kornia.models.rrdbnet", "RRDBNet", 3, 3, num_block=1), whole=True)
case(
    "kornia",
    "UnetAtt KeyNet",
    made("kornia.feature", "KeyNet", pretrained=False),
    tries=[{"preprocess": grey}],
)
case(
    "kornia",
    "DISK",
    made("kornia.feature", "DISK"),
    tries=[{"call": lambda n, x: n.heatmap_and_dense_descriptors(x)}],
)
case("kornia", "MobileViT", made("kornia.models.vit_mobile", "MobileViT", mode="xxs"))
case(
    "kornia",
    "TinyViT",
    made("kornia.models.tiny_vit", "TinyViT", img_size=64, mobile_sam=True),
    tries=[{"example": (2, 3, 64, 64)}],
)
case(
    "kornia",
    "VisionTransformer",
    made(
        "kornia.models.vit",
        "VisionTransformer",
        image_size=64,
        patch_size=8,
        depth=2,
        embed_dim=48,
        num_heads=2,
    ),
    tries=[{"example": (2, 3, 64, 64)}],
)
case(
    "kornia",
    "SmallSRNet",
    made("kornia.models.small_sr", "SmallSRNet", 2, pretrained=False),
    tries=[{"preprocess": grey}],
)
case(
    "kornia",
    "EfficientViT",
    made(
        "kornia.models.efficient_vit.backbone",
        "EfficientViTBackbone",
        width_list=[8, 16, 16, 32, 32],
        depth_list=[1, 1, 1, 1, 1],
    ),
)
case("kornia", "YuNet", made("kornia.models.yunet", "YuNet", "train", False))
