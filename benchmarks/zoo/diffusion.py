"""Denoisers and autoencoders of diffusion: azula, lucidrains, diffusers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.case import Build, case, made


def az(room: str, name: str, **options: object) -> Build:
    return made(f"azula.nn.{room}", name, **options)


def df(name: str, **options: object) -> Build:
    return made("diffusers", name, **options)


def call0(net: nn.Module, x: Tensor) -> object:
    return net(x, 0)


def call_t(net: nn.Module, x: Tensor) -> object:
    return net(x, torch.zeros(len(x)).long())


case(
    "azula",
    "UNet",
    az("unet", "UNet", in_channels=3, out_channels=3, hid_channels=(16, 32), hid_blocks=(1, 1)),
    whole=True,
)
case(
    "azula",
    "UNet/attention+mod",
    az(
        "unet",
        "UNet",
        in_channels=3,
        out_channels=3,
        hid_channels=(16, 32, 32),
        hid_blocks=(1, 1, 1),
        mod_features=8,
        norm="group",
    ),
    tries=[{"call": lambda n, x: n(x, x.new_zeros(len(x), 8))}],
)
case(
    "azula",
    "UNet/periodic identity_init",
    az(
        "unet",
        "UNet",
        in_channels=3,
        out_channels=3,
        hid_channels=(16, 32),
        hid_blocks=(1, 1),
        periodic=True,
        identity_init=True,
    ),
)
case(
    "azula",
    "ViT",
    az(
        "vit",
        "ViT",
        in_channels=3,
        out_channels=3,
        hid_channels=32,
        hid_blocks=2,
        patch_size=4,
        attention_heads=2,
    ),
    whole=True,
)
case(
    "azula",
    "DiT (tokens)",
    az(
        "dit",
        "DiT",
        in_channels=3,
        out_channels=3,
        hid_channels=32,
        hid_blocks=2,
        attention_heads=2,
    ),
    tries=[
        {
            "call": lambda n, x: n(
                x.flatten(2).transpose(1, 2)[:, ::16],
                pos=torch.zeros(len(x), x.shape[2] * x.shape[3] // 16, 1),
            )
        }
    ],
)

D = "denoising_diffusion_pytorch."
CT = [{"call": call_t}]
case(
    "lucidrains",
    "ddpm Unet",
    made(D + "denoising_diffusion_pytorch", "Unet", dim=8, dim_mults=(1, 2), flash_attn=False),
    tries=CT,
    whole=True,
)
case(
    "lucidrains",
    "ddpm Unet/learned_variance selfcond",
    made(
        D + "denoising_diffusion_pytorch",
        "Unet",
        dim=8,
        dim_mults=(1, 2, 4),
        learned_variance=True,
        self_condition=True,
    ),
    tries=CT,
)
case(
    "lucidrains",
    "guided_diffusion Unet",
    made(D + "guided_diffusion", "Unet", dim=8, dim_mults=(1, 2)),
    tries=CT,
)


def call_tc(net: nn.Module, x: Tensor) -> object:
    return net(x, torch.zeros(len(x)).long(), torch.zeros(len(x)).long())


case(
    "lucidrains",
    "classifier_free Unet",
    made(D + "classifier_free_guidance", "Unet", dim=8, dim_mults=(1, 2), num_classes=4),
    tries=[{"call": call_tc}],
)
case(
    "lucidrains",
    "simple_diffusion UViT",
    made(
        D + "simple_diffusion", "UViT", dim=16, dim_mults=(1, 2), vit_depth=1, downsample_factor=2
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x)))}],
)
case(
    "lucidrains",
    "KarrasUnet",
    made(
        D + "karras_unet",
        "KarrasUnet",
        image_size=64,
        dim=8,
        dim_max=16,
        channels=3,
        num_downsamples=2,
        num_blocks_per_stage=1,
        attn_res=(16,),
    ),
    tries=[
        {"call": lambda n, x: n(x, torch.zeros(len(x)))},
        {"call": lambda n, x: n(x, torch.zeros(len(x))), "example": (2, 3, 64, 64)},
        {
            "call": lambda n, x: n(x, torch.zeros(len(x))),
            "example": (2, 3, 64, 64),
            "head": "output_block.0",
        },
    ],
)
case(
    "lucidrains",
    "x-unet XUnet",
    made(
        "x_unet",
        "XUnet",
        dim=8,
        channels=3,
        dim_mults=(1, 2),
        num_blocks_per_stage=(1, 1),
        num_self_attn_per_stage=(0, 0),
        nested_unet_depths=(0, 0),
        frame_kernel_size=1,
    ),
)
case(
    "lucidrains",
    "x-unet XUnet/nested convnext",
    made(
        "x_unet",
        "XUnet",
        dim=8,
        channels=3,
        dim_mults=(1, 2),
        num_blocks_per_stage=(1, 1),
        num_self_attn_per_stage=(0, 0),
        nested_unet_depths=(1, 0),
        use_convnext=True,
    ),
)

C0 = [{"call": call0}]
case(
    "diffusers",
    "UNet2DModel",
    df(
        "UNet2DModel",
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
    ),
    tries=C0,
    whole=True,
)


def call_text(net: nn.Module, x: Tensor) -> object:
    return net(x, 0, torch.zeros(len(x), 4, 16))


case(
    "diffusers",
    "UNet2DConditionModel",
    df(
        "UNet2DConditionModel",
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=8,
    ),
    tries=[{"call": call_text}],
)
V = dict(
    block_out_channels=(8, 16),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=4,
)
case("diffusers", "AutoencoderKL", df("AutoencoderKL", **V), whole=True)
case(
    "diffusers",
    "AutoencoderTiny",
    df(
        "AutoencoderTiny",
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    ),
)
case(
    "diffusers",
    "AutoencoderDC",
    df(
        "AutoencoderDC",
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
    ),
)
case("diffusers", "VQModel", df("VQModel", **V), whole=True)
case(
    "diffusers",
    "AsymmetricAutoencoderKL",
    df(
        "AsymmetricAutoencoderKL",
        down_block_types=("DownEncoderBlock2D",) * 2,
        down_block_out_channels=(8, 16),
        up_block_types=("UpDecoderBlock2D",) * 2,
        up_block_out_channels=(8, 16),
        norm_num_groups=4,
    ),
)
case(
    "diffusers",
    "AutoencoderKLTemporalDecoder",
    df(
        "AutoencoderKLTemporalDecoder",
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
    ),
    tries=[{"call": lambda n, x: n(x, num_frames=1)}],
)
case(
    "diffusers",
    "AutoencoderKLFlux2",
    df(
        "AutoencoderKLFlux2",
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
    ),
)
case(
    "diffusers",
    "AutoencoderKLHunyuanImage",
    df(
        "AutoencoderKLHunyuanImage",
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=64,
    ),
)
case(
    "diffusers",
    "AutoencoderKLKVAE",
    df(
        "AutoencoderKLKVAE",
        channels=32,
        num_enc_blocks=1,
        num_dec_blocks=1,
        z_channels=4,
        ch_mult=(1, 2),
    ),
)
case(
    "diffusers",
    "AutoencoderRAE",
    df(
        "AutoencoderRAE",
        encoder_hidden_size=64,
        encoder_num_hidden_layers=1,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        patch_size=14,
    ),
    tries=[{"example": (2, 3, 224, 224)}],
)
case(
    "diffusers",
    "Kandinsky3UNet",
    df(
        "Kandinsky3UNet",
        in_channels=3,
        time_embedding_dim=32,
        groups=4,
        attention_head_dim=8,
        layers_per_block=1,
        block_out_channels=(16, 32),
        cross_attention_dim=32,
        encoder_hid_dim=16,
    ),
    tries=[
        {
            "call": lambda n, x: n(
                x, torch.zeros(len(x)), torch.zeros(len(x), 4, 16), torch.ones(len(x), 4)
            )
        }
    ],
)
case(
    "diffusers",
    "StableCascadeUNet",
    df(
        "StableCascadeUNet",
        in_channels=3,
        out_channels=3,
        conditioning_dim=32,
        block_out_channels=(32, 32),
        num_attention_heads=(2, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        clip_text_pooled_in_channels=16,
        patch_size=2,
        timestep_ratio_embedding_dim=16,
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x)), torch.zeros(len(x), 1, 16))}],
)
case(
    "diffusers",
    "DiTTransformer2DModel",
    df(
        "DiTTransformer2DModel",
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        num_layers=2,
        sample_size=64,
        patch_size=4,
        norm_num_groups=1,
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x)).long(), torch.zeros(len(x)).long())}],
)
case(
    "diffusers",
    "PixArtTransformer2DModel",
    df(
        "PixArtTransformer2DModel",
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        out_channels=3,
        num_layers=2,
        sample_size=64,
        cross_attention_dim=16,
        caption_channels=16,
        norm_num_groups=1,
    ),
    tries=[
        {
            "call": lambda n, x: n(
                x,
                torch.zeros(len(x), 4, 16),
                torch.zeros(len(x)).long(),
                dict(resolution=None, aspect_ratio=None),
            )
        }
    ],
)
case(
    "diffusers",
    "SD3Transformer2DModel",
    df(
        "SD3Transformer2DModel",
        sample_size=64,
        in_channels=3,
        out_channels=3,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
    ),
    tries=[
        {
            "call": lambda n, x: n(
                x, torch.zeros(len(x), 4, 16), torch.zeros(len(x), 16), torch.zeros(len(x)).long()
            )
        }
    ],
)
case(
    "diffusers",
    "SanaTransformer2DModel",
    df(
        "SanaTransformer2DModel",
        in_channels=3,
        out_channels=3,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        patch_size=2,
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x), 4, 16), torch.zeros(len(x)).long())}],
)
case(
    "diffusers",
    "AuraFlowTransformer2DModel",
    df(
        "AuraFlowTransformer2DModel",
        in_channels=3,
        out_channels=3,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pos_embed_max_size=9216,
        sample_size=64,
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x), 4, 16), torch.zeros(len(x)))}],
)


def hw(x: Tensor) -> Tensor:
    return torch.tensor([list(x.shape[-2:])] * len(x)).float()


case(
    "diffusers",
    "CogView3PlusTransformer2DModel",
    df(
        "CogView3PlusTransformer2DModel",
        in_channels=3,
        out_channels=3,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
    ),
    tries=[
        {
            "call": lambda n, x: n(
                x, torch.zeros(len(x), 4, 16), torch.zeros(len(x)).long(), hw(x), hw(x), hw(x) * 0
            )
        }
    ],
)
case(
    "diffusers",
    "PRXTransformer2DModel",
    df(
        "PRXTransformer2DModel",
        in_channels=3,
        context_in_dim=16,
        hidden_size=32,
        num_heads=2,
        depth=1,
        axes_dim=[8, 8],
    ),
    tries=[{"call": lambda n, x: n(x, torch.zeros(len(x)), torch.zeros(len(x), 4, 16))}],
)
case("diffusers", "T2IAdapter", df("T2IAdapter", channels=[8, 16, 16, 16], num_res_blocks=1))
case(
    "diffusers",
    "ControlNetModel",
    df(
        "ControlNetModel",
        in_channels=3,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=8,
        conditioning_embedding_out_channels=(8, 16),
    ),
    tries=[{"call": lambda n, x: n(x[..., ::8, ::8], 0, torch.zeros(len(x), 4, 16), x)}],
)
