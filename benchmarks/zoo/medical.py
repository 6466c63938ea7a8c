"""Networks for medical images, in two dimensions: MONAI."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.case import Build, case, cat_plane, grey, made


def mn(name: str, *arguments: object, **options: object) -> Build:
    return made("monai.networks.nets", name, *arguments, **options)


U = dict(spatial_dims=2, in_channels=3, out_channels=3)
case(
    "monai",
    "UNet",
    mn("UNet", **U, channels=(8, 16, 32), strides=(2, 2), num_res_units=1),
    whole=True,
)
case("monai", "UNet/no_res", mn("UNet", **U, channels=(8, 16, 32), strides=(2, 2)))
case(
    "monai",
    "AttentionUnet",
    mn("AttentionUnet", **U, channels=(8, 16, 32), strides=(2, 2)),
    whole=True,
)
case(
    "monai",
    "UNETR",
    mn(
        "UNETR",
        3,
        3,
        img_size=96,
        feature_size=8,
        hidden_size=48,
        mlp_dim=96,
        num_heads=3,
        spatial_dims=2,
    ),
    tries=[{"size": 96}, {"example": (2, 3, 96, 96)}],
)
case(
    "monai",
    "SwinUNETR",
    mn("SwinUNETR", 3, 3, feature_size=12, depths=(1, 1, 1, 1), spatial_dims=2),
    whole=True,
)
case("monai", "SegResNet", mn("SegResNet", **U, init_filters=8), whole=True)
case(
    "monai",
    "SegResNetDS",
    mn("SegResNetDS", **U, init_filters=8, blocks_down=(1, 1, 1), dsdepth=1),
)
case(
    "monai",
    "SegResNetDS/ds3",
    mn("SegResNetDS", **U, init_filters=8, blocks_down=(1, 1, 1), dsdepth=3),
)
case(
    "monai",
    "SegResNetDS2",
    mn("SegResNetDS2", **U, init_filters=8, blocks_down=(1, 1, 1), dsdepth=1),
)
case(
    "monai",
    "SegResNetVAE",
    mn("SegResNetVAE", (64, 96), **U, init_filters=8, vae_nz=16),
    tries=[{"example": (2, 3, 64, 96)}],
)
case("monai", "BasicUNet", mn("BasicUNet", **U, features=(8, 8, 16, 32, 32, 8)), whole=True)
case(
    "monai",
    "BasicUNetPlusPlus/ds",
    mn("BasicUNetPlusPlus", **U, features=(8, 8, 16, 32, 32, 8), deep_supervision=True),
)
case("monai", "VNet (1 channel)", mn("VNet", 2, 1, 2), tries=[{"preprocess": grey}])
case(
    "monai",
    "DynUNet/ds",
    mn(
        "DynUNet",
        2,
        3,
        3,
        kernel_size=[3] * 4,
        strides=[1, 2, 2, 2],
        upsample_kernel_size=[2] * 3,
        filters=[8, 16, 16, 32],
        deep_supervision=True,
        deep_supr_num=2,
    ),
)
case("monai", "FlexibleUNet", mn("FlexibleUNet", 3, 3, "efficientnet-b0"))
case("monai", "HighResNet", mn("HighResNet", **U), whole=True)
case("monai", "AutoEncoder", mn("AutoEncoder", **U, channels=(8, 16, 16), strides=(2, 2, 2)))
case(
    "monai",
    "VarAutoEncoder",
    mn("VarAutoEncoder", 2, (3, 64, 64), 3, latent_size=16, channels=(8, 16), strides=(2, 2)),
    tries=[{"example": (2, 3, 64, 64)}],
)
case("monai", "Quicknat", mn("Quicknat", num_classes=3, num_channels=3, num_filters=16))
case("monai", "RegUNet", mn("RegUNet", 2, 3, 8, depth=3, out_channels=3, extract_levels=(0, 3)))
case("monai", "LocalNet", mn("LocalNet", 2, 3, 8, extract_levels=(0, 1, 2), out_channels=3))
case(
    "monai",
    "GlobalNet",
    mn("GlobalNet", [64, 64], 2, 3, 8, depth=3),
    tries=[{"example": (2, 3, 64, 64)}],
)
case(
    "monai", "MedNeXt/ds", mn("MedNeXt", **U, init_filters=8, kernel_size=3, deep_supervision=True)
)
case(
    "monai",
    "AHNet",
    mn(
        "AHNet",
        layers=(1, 1, 1, 1),
        spatial_dims=2,
        in_channels=3,
        out_channels=3,
        psp_block_num=2,
    ),
    tries=[{"example": (2, 3, 128, 256)}],
)
case(
    "monai",
    "ViTAutoEnc",
    mn(
        "ViTAutoEnc",
        3,
        96,
        16,
        out_channels=3,
        hidden_size=48,
        mlp_dim=96,
        num_layers=2,
        num_heads=3,
        spatial_dims=2,
    ),
    tries=[{"size": 96}, {"example": (2, 3, 96, 96)}],
)
case(
    "monai",
    "MaskedAutoEncoderViT",
    mn(
        "MaskedAutoEncoderViT",
        3,
        96,
        16,
        hidden_size=48,
        mlp_dim=96,
        num_layers=2,
        num_heads=3,
        decoder_hidden_size=48,
        decoder_mlp_dim=96,
        decoder_num_layers=1,
        decoder_num_heads=3,
        spatial_dims=2,
    ),
    tries=[{"example": (2, 3, 96, 96)}],
)
case(
    "monai",
    "AutoencoderKL",
    mn(
        "AutoencoderKL",
        **U,
        num_res_blocks=(1, 1),
        channels=(8, 16),
        attention_levels=(False, False),
        norm_num_groups=4,
    ),
    whole=True,
)
case(
    "monai",
    "VQVAE",
    mn(
        "VQVAE",
        **U,
        channels=(8, 16),
        num_res_layers=1,
        num_res_channels=(8, 16),
        downsample_parameters=((2, 4, 1, 1),) * 2,
        upsample_parameters=((2, 4, 1, 1, 0),) * 2,
        num_embeddings=16,
        embedding_dim=8,
    ),
)


def call_t(net: nn.Module, x: Tensor) -> object:
    return net(x, torch.zeros(len(x), device=x.device).long())


case(
    "monai",
    "DiffusionModelUNet",
    mn(
        "DiffusionModelUNet",
        **U,
        num_res_blocks=(1, 1),
        channels=(8, 16),
        attention_levels=(False, True),
        norm_num_groups=4,
        num_head_channels=8,
    ),
    tries=[{"call": call_t}],
)


def call_t_seg(net: nn.Module, x: Tensor) -> object:
    return net(x, torch.zeros(len(x)).long(), x.mean(1, keepdim=True).repeat(1, 2, 1, 1))


case(
    "monai",
    "SPADEDiffusionModelUNet",
    mn(
        "SPADEDiffusionModelUNet",
        **U,
        label_nc=2,
        num_res_blocks=(1, 1),
        channels=(8, 16),
        attention_levels=(False, True),
        norm_num_groups=4,
        num_head_channels=8,
    ),
    tries=[{"call": call_t_seg}],
)


def call_seg(net: nn.Module, x: Tensor) -> object:
    return net(x, x.mean(1, keepdim=True).repeat(1, 2, 1, 1))


case(
    "monai",
    "SPADEAutoencoderKL",
    mn(
        "SPADEAutoencoderKL",
        spatial_dims=2,
        label_nc=2,
        in_channels=3,
        out_channels=3,
        num_res_blocks=(1, 1),
        channels=(8, 16),
        attention_levels=(False, False),
        norm_num_groups=4,
    ),
    tries=[{"call": call_seg}],
)


def call_spadenet(net: nn.Module, x: Tensor) -> object:
    return net(x.mean(1, keepdim=True).repeat(1, 2, 1, 1), x)


case(
    "monai",
    "SPADENet",
    mn("SPADENet", 2, 3, 3, 2, (64, 64), [16, 8], z_dim=8),
    tries=[{"call": call_spadenet, "example": (2, 3, 64, 64)}],
)
case(
    "monai",
    "ControlNet",
    mn(
        "ControlNet",
        2,
        3,
        num_res_blocks=(1, 1),
        channels=(8, 16),
        attention_levels=(False, False),
        norm_num_groups=4,
        num_head_channels=8,
        conditioning_embedding_in_channels=3,
        conditioning_embedding_num_channels=(8,),
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x)).long(), x)}],
)
case(
    "monai",
    "VoxelMorphUNet",
    mn("VoxelMorphUNet", 2, 4, 3, (8, 8, 8, 8, 8, 8), (8, 8)),
    tries=[{"preprocess": cat_plane}],
)
case(
    "monai",
    "MultiScalePatchDiscriminator",
    mn(
        "MultiScalePatchDiscriminator",
        num_d=2,
        num_layers_d=2,
        spatial_dims=2,
        channels=8,
        in_channels=3,
        minimum_size_im=64,
    ),
)
case("monai", "PatchDiscriminator", mn("PatchDiscriminator", 2, 8, 3))
case("monai", "HoVerNet", mn("HoVerNet", "fast", 3, 2), tries=[{"example": (2, 3, 256, 256)}])
case(
    "monai",
    "HoVerNet/padded",
    mn("HoVerNet", "fast", 3, 2, decoder_padding=True),
    tries=[{"example": (2, 3, 256, 256)}],
)
case(
    "monai",
    "UNet 3-D",
    mn("UNet", 3, 3, 3, channels=(8, 16), strides=(2,)),
    tries=[{"call": lambda n, x: n(x.unsqueeze(2).repeat(1, 1, 4, 1, 1))}],
)
