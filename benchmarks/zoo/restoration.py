"""Restoration and super-resolution: spandrel, torchsr, super-image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.case import Build, case, cat_plane, made


def sp(room: str, name: str, **options: object) -> Build:
    return made(f"spandrel.architectures.{room}", name, **options)


def ex(room: str, name: str, **options: object) -> Build:
    return made(f"spandrel_extra_arches.architectures.{room}", name, **options)


def ts(name: str, **options: object) -> Build:
    return made("torchsr.models", name, pretrained=False, **options)


case(
    "spandrel",
    "ATD",
    sp(
        "ATD",
        "ATD",
        embed_dim=24,
        depths=(1, 1),
        num_heads=(2, 2),
        category_size=32,
        num_tokens=8,
        convffn_kernel_size=3,
    ),
)
case(
    "spandrel",
    "ATD/x2",
    sp(
        "ATD",
        "ATD",
        embed_dim=24,
        depths=(1,),
        num_heads=(2,),
        category_size=32,
        num_tokens=8,
        upscale=2,
        upsampler="pixelshuffle",
    ),
)
case(
    "spandrel",
    "CRAFT",
    sp("CRAFT", "CRAFT", depths=[1], num_heads=[6], upscale=1, embed_dim=24),
)
case(
    "spandrel",
    "Compact/x1",
    sp("Compact", "Compact", num_feat=24, num_conv=4, upscale=1),
    whole=True,
)
case(
    "spandrel",
    "Compact/x4",
    sp("Compact", "Compact", num_feat=24, num_conv=4, upscale=4),
    whole=True,
)
case(
    "spandrel",
    "DAT",
    sp("DAT", "DAT", embed_dim=24, depth=[1], num_heads=[2], expansion_factor=2.0, upscale=2),
)
case("spandrel", "DCTLSA", sp("DCTLSA", "DCTLSA", nf=10, num_modules=6, upscale=1, num_head=5))
case("spandrel", "DITN", sp("DITN", "DITN", dim=16, ITL_blocks=1, SAL_blocks=1, upscale=1))
case(
    "spandrel",
    "DRCT",
    sp(
        "DRCT",
        "DRCT",
        embed_dim=24,
        depths=(1,),
        num_heads=(2,),
        gc=8,
        upscale=2,
        upsampler="pixelshuffle",
    ),
)
case(
    "spandrel",
    "DRUNet",
    sp("DRUNet", "DRUNet", in_nc=3, out_nc=3, nc=[8, 16, 32, 64], nb=1),
    whole=True,
)
case("spandrel", "DnCNN", sp("DnCNN", "DnCNN", in_nc=3, out_nc=3, nc=24, nb=6), whole=True)
case(
    "spandrel",
    "FDnCNN",
    sp("DnCNN", "DnCNN", in_nc=4, out_nc=3, nc=24, nb=6, mode="FDnCNN"),
    tries=[{"preprocess": cat_plane}],
)


def cat2(x: Tensor) -> Tensor:
    return torch.cat([x, x], 1)


case("spandrel", "ESRGAN/x4", sp("ESRGAN", "ESRGAN", num_filters=16, num_blocks=1), whole=True)
case("spandrel", "ESRGAN/x1", sp("ESRGAN", "ESRGAN", num_filters=16, num_blocks=1, scale=1))
case("spandrel", "FBCNN", sp("FBCNN", "FBCNN", nb=1))
case(
    "spandrel",
    "FDAT",
    sp("FDAT", "FDAT", embed_dim=24, num_groups=1, depth_per_group=1, num_heads=2),
)
case(
    "spandrel",
    "FFTformer",
    sp("FFTformer", "FFTformer", dim=8, num_blocks=[1, 1, 1], num_refinement_blocks=1),
)
case(
    "spandrel",
    "GFPGAN",
    sp(
        "GFPGAN",
        "GFPGAN",
        out_size=64,
        num_style_feat=64,
        channel_multiplier=1,
        narrow=0.25,
        num_mlp=2,
    ),
    tries=[
        {"head": "stylegan_decoder.final_linear"},
        {"example": (2, 3, 64, 64)},
        {"head": "toRGB.3", "example": (2, 3, 64, 64)},
    ],
)
case(
    "spandrel",
    "GRL",
    sp(
        "GRL",
        "GRL",
        embed_dim=24,
        depths=[1],
        num_heads_window=[2],
        num_heads_stripe=[2],
        upscale=2,
        upsampler="pixelshuffle",
    ),
)
case(
    "spandrel",
    "HAT",
    sp(
        "HAT",
        "HAT",
        embed_dim=24,
        depths=(1,),
        num_heads=(2,),
        window_size=16,
        squeeze_factor=4,
        upscale=2,
        upsampler="pixelshuffle",
    ),
)
case(
    "spandrel",
    "HVICIDNet",
    sp("HVICIDNet", "HVICIDNet", channels=[8, 8, 16, 32], heads=[1, 2, 4, 8]),
)
case(
    "spandrel",
    "IPT",
    sp("IPT", "IPT", patch_size=24, n_feats=8, num_heads=4, num_layers=1),
    tries=[{"example": (2, 3, 24, 24)}],
)
case(
    "spandrel",
    "KBNet_s",
    sp(
        "KBNet",
        "KBNet_s",
        width=8,
        middle_blk_num=1,
        enc_blk_nums=[1, 1, 1, 1],
        dec_blk_nums=[1, 1, 1, 1],
    ),
)
case(
    "spandrel",
    "KBNet_l",
    sp("KBNet", "KBNet_l", dim=24, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1),
)


def call_lama(net: nn.Module, x: Tensor) -> object:
    return net(x, x[:, :1] * 0)


case("spandrel", "LaMa", sp("LaMa", "LaMa", in_nc=4), tries=[{"call": call_lama}])
case(
    "spandrel",
    "MMRealSR",
    sp(
        "MMRealSR",
        "MMRealSR",
        num_in_ch=3,
        num_out_ch=3,
        num_feat=16,
        num_block=1,
        num_grow_ch=8,
        num_feats=[16, 16, 16, 16],
        num_blocks=[1, 1, 1, 1],
    ),
)
case("spandrel", "MixDehazeNet", sp("MixDehazeNet", "MixDehazeNet", embed_dims=[8, 16, 32, 16, 8]))
for u in ["conv", "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample"]:
    case(
        "spandrel",
        f"MoESR/{u}",
        sp(
            "MoESR",
            "MoESR",
            dim=16,
            n_blocks=1,
            n_block=1,
            upsampler=u,
            upsample_dim=16,
            scale=1 if u == "conv" else 4,
        ),
    )
case("spandrel", "MoSR", sp("MoSR", "MoSR", n_block=1, dim=16, upscale=1))
case("spandrel", "MoSR/dysample", sp("MoSR", "MoSR", n_block=1, dim=16, upsampler="dys"))
case(
    "spandrel",
    "NAFNet",
    sp("NAFNet", "NAFNet", width=8, enc_blk_nums=[1, 1, 1], dec_blk_nums=[1, 1, 1]),
    whole=True,
)
case("spandrel", "OmniSR", sp("OmniSR", "OmniSR", num_feat=16, up_scale=1))
case("spandrel", "PLKSR", sp("PLKSR", "PLKSR", dim=16, n_blocks=2, upscaling_factor=1))
case(
    "spandrel",
    "RealPLKSR",
    sp("PLKSR", "RealPLKSR", dim=16, n_blocks=2, upscaling_factor=1),
    whole=True,
)
case(
    "spandrel",
    "RealPLKSR/dysample",
    sp("PLKSR", "RealPLKSR", dim=16, n_blocks=2, upscaling_factor=4, dysample=True),
)
case(
    "spandrel",
    "RCAN",
    sp("RCAN", "RCAN", n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4),
    whole=True,
)
case("spandrel", "RGT", sp("RGT", "RGT", embed_dim=24, depth=[1], num_heads=[2], upscale=2))
for u in ["UpCunet2x", "UpCunet3x", "UpCunet4x", "UpCunet2x_fast"]:
    case("spandrel", u, sp("RealCUGAN", u))
case(
    "spandrel",
    "RestoreFormer",
    sp(
        "RestoreFormer",
        "RestoreFormer",
        n_embed=64,
        embed_dim=32,
        ch=32,
        ch_mult=(1, 1, 2),
        num_res_blocks=1,
        resolution=64,
        z_channels=32,
        head_size=4,
    ),
)
case("spandrel", "RetinexFormer", sp("RetinexFormer", "RetinexFormer", n_feat=8, stage=1))
case("spandrel", "SAFMN", sp("SAFMN", "SAFMN", dim=16, n_blocks=1, upscaling_factor=1), whole=True)
case("spandrel", "SAFMNBCIE", sp("SAFMNBCIE", "SAFMNBCIE", dim=16, n_blocks=1, num_layers=1))
case("spandrel", "SCUNet", sp("SCUNet", "SCUNet", config=[1] * 7, dim=64))
case(
    "spandrel",
    "SPAN",
    sp("SPAN", "SPAN", num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=1),
    whole=True,
)
case(
    "spandrel",
    "SeemoRe",
    sp("SeemoRe", "SeemoRe", scale=1, num_experts=2, num_layers=1, embedding_dim=16),
    tries=[{"example": (1, 3, 64, 96)}],
)
case("spandrel", "SwiftSRGAN", sp("SwiftSRGAN", "SwiftSRGAN", num_channels=16, num_blocks=1))
case(
    "spandrel",
    "Swin2SR/x2",
    sp(
        "Swin2SR",
        "Swin2SR",
        embed_dim=24,
        depths=[1],
        num_heads=[2],
        window_size=8,
        upscale=2,
        upsampler="pixelshuffle",
    ),
)
case(
    "spandrel",
    "Swin2SR/win7 x1",
    sp(
        "Swin2SR",
        "Swin2SR",
        img_size=63,
        embed_dim=24,
        depths=[1],
        num_heads=[2],
        window_size=7,
        upscale=1,
    ),
)
case(
    "spandrel",
    "SwinIR/win7 x1",
    sp("SwinIR", "SwinIR", img_size=63, embed_dim=24, depths=[1, 1], num_heads=[2, 2]),
    whole=True,
)
case(
    "spandrel",
    "SwinIR/win8 x2 direct",
    sp(
        "SwinIR",
        "SwinIR",
        embed_dim=24,
        depths=[1],
        num_heads=[2],
        window_size=8,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
)
case(
    "spandrel",
    "SwinIR/nearest+conv x4",
    sp(
        "SwinIR",
        "SwinIR",
        embed_dim=24,
        depths=[1],
        num_heads=[2],
        window_size=8,
        upscale=4,
        upsampler="nearest+conv",
    ),
)
case(
    "spandrel",
    "Uformer",
    sp(
        "Uformer",
        "Uformer",
        img_size=128,
        embed_dim=8,
        depths=[1] * 9,
        num_heads=[1, 1, 2, 2, 2, 2, 2, 1, 1],
    ),
)
case(
    "spandrel",
    "AuraSR",
    sp(
        "AuraSR",
        "AuraSR",
        dim=16,
        image_size=64,
        input_image_size=16,
        up_dim_mults=(1, 2, 4),
        down_dim_mults=(2, 4),
        full_attn=(False, False, True),
        style_network=dict(dim_in=16, dim_text_latent=0, depth=1, dim_out=16),
        init_dim=16,
    ),
    tries=[{"call": lambda n, x: n(x)}],
)

case("spandrel_extra_arches", "AdaCode", ex("AdaCode", "AdaCode", codebook_params=[[32, 32, 32]]))
case("spandrel_extra_arches", "FeMaSR", ex("FeMaSR", "FeMaSR", codebook_params=[[32, 32, 32]]))
case(
    "spandrel_extra_arches",
    "DDColor",
    ex("DDColor", "DDColor", encoder_name="convnext-t", nf=512, num_queries=8, dec_layers=3),
)
case("spandrel_extra_arches", "M3SNet", ex("M3SNet", "M3SNet", width=8, enc_blk_nums=[1, 1, 1, 1]))
case("spandrel_extra_arches", "MIRNet2", ex("MIRNet2", "MIRNet2", n_feat=16, n_MRB=1))
case(
    "spandrel_extra_arches",
    "MPRNet",
    ex(
        "MPRNet",
        "MPRNet",
        n_feat=8,
        scale_unetfeats=4,
        scale_orsnetfeats=4,
        num_cab=1,
        reduction=2,
    ),
)
case(
    "spandrel_extra_arches",
    "Restormer",
    ex("Restormer", "Restormer", dim=8, num_blocks=[1] * 4, num_refinement_blocks=1),
)
case(
    "spandrel_extra_arches",
    "Restormer/dual_pixel",
    ex(
        "Restormer",
        "Restormer",
        inp_channels=6,
        dim=8,
        num_blocks=[1] * 4,
        num_refinement_blocks=1,
        dual_pixel_task=True,
    ),
    tries=[{"preprocess": cat2}],
)
case(
    "spandrel_extra_arches",
    "SRFormer",
    ex(
        "SRFormer",
        "SRFormer",
        embed_dim=24,
        depths=(1,),
        num_heads=(2,),
        window_size=16,
        upscale=2,
        upsampler="pixelshuffle",
    ),
)


def call_mat(net: nn.Module, x: Tensor) -> object:
    return net(x, x[:, :1] * 0 + 1)


case(
    "spandrel_extra_arches",
    "MAT",
    ex("MAT", "MAT"),
    tries=[{"call": call_mat, "example": (1, 3, 512, 512)}],
)
case(
    "spandrel_extra_arches",
    "CodeFormer",
    ex("CodeFormer", "CodeFormer", dim_embd=64, n_head=2, n_layers=1),
    tries=[{"example": (1, 3, 512, 512)}],
)
for n in ("carn_m", "ninasr_b0", "vdsr", "edsr_r16f64", "carn", "rdn_a"):
    case("torchsr", n, ts(n, scale=2))


def si(room: str, **options: object) -> Build:
    models, kind = "super_image.models", room.capitalize()

    def build() -> nn.Module:
        settings = made(f"{models}.{room}.configuration_{room}", f"{kind}Config", **options)()
        return made(f"{models}.{room}.modeling_{room}", f"{kind}Model", settings)()

    return build


for mod, options in dict(
    a2n={},
    awsrn={},
    drln={},
    msrn=dict(n_blocks=2, n_feats=16),
    pan={},
    han=dict(n_resblocks=1, n_resgroups=10, n_feats=16, reduction=4),
    mdsr=dict(n_resblocks=2, n_feats=16),
    rnan={},
    carn={},
    drn={},
    ddbpn={},
    rcan=dict(n_resblocks=1, n_resgroups=1, n_feats=16),
    smsr={},
).items():
    case("super_image", mod, si(mod, scale=2, **options))
