"""Transformers with a map at their end: transformers."""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import nn

from zoo.case import Build, case, cat_plane, squares


def tf(name: str, settings: str, **options: object) -> Build:
    def build() -> nn.Module:
        return getattr(transformers(), name)(getattr(transformers(), settings)(**options))

    return build


def transformers() -> ModuleType:
    return importlib.import_module("transformers")


VIT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
VIT_DET = {key: value for key, value in VIT.items() if key != "intermediate_size"}
SEG = dict(
    num_encoder_blocks=4,
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 16, 16, 32],
    num_attention_heads=[1, 1, 2, 2],
    decoder_hidden_size=16,
)
case(
    "transformers",
    "SegformerForSemanticSegmentation",
    tf("SegformerForSemanticSegmentation", "SegformerConfig", **SEG),
    whole=True,
)
case(
    "transformers",
    "GLPNForDepthEstimation",
    tf(
        "GLPNForDepthEstimation",
        "GLPNConfig",
        depths=[1] * 4,
        hidden_sizes=[8, 16, 16, 32],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    ),
    whole=True,
)
case(
    "transformers",
    "Swin2SRForImageSuperResolution",
    tf(
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        embed_dim=24,
        depths=[1],
        num_heads=[2],
        window_size=8,
    ),
    whole=True,
)
case(
    "transformers",
    "BeitForSemanticSegmentation",
    tf(
        "BeitForSemanticSegmentation",
        "BeitConfig",
        **{**VIT, "num_hidden_layers": 4},
        image_size=64,
        out_indices=[1, 2, 3, 4],
        use_auxiliary_head=True,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "Data2VecVisionForSemanticSegmentation",
    tf(
        "Data2VecVisionForSemanticSegmentation",
        "Data2VecVisionConfig",
        **{**VIT, "num_hidden_layers": 4},
        image_size=64,
        out_indices=[0, 1, 2, 3],
    ),
    tries=squares(64),
)
case(
    "transformers",
    "DPTForDepthEstimation",
    tf(
        "DPTForDepthEstimation",
        "DPTConfig",
        **{**VIT, "num_hidden_layers": 4},
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "DPTForSemanticSegmentation",
    tf(
        "DPTForSemanticSegmentation",
        "DPTConfig",
        **{**VIT, "num_hidden_layers": 4},
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
    ),
    tries=squares(64),
    whole=True,
)
case(
    "transformers",
    "MobileNetV2ForSemanticSegmentation",
    tf("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", depth_multiplier=0.35),
)
MV = dict(
    hidden_sizes=[16, 16, 16],
    neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32],
    num_attention_heads=2,
    aspp_out_channels=16,
)
case(
    "transformers",
    "MobileViTForSemanticSegmentation",
    tf("MobileViTForSemanticSegmentation", "MobileViTConfig", **MV),
)
case(
    "transformers",
    "MobileViTV2ForSemanticSegmentation",
    tf(
        "MobileViTV2ForSemanticSegmentation",
        "MobileViTV2Config",
        width_multiplier=0.5,
        aspp_out_channels=16,
    ),
)


def upernet() -> nn.Module:
    T = transformers()

    return T.UperNetForSemanticSegmentation(
        T.UperNetConfig(
            backbone_config=T.ConvNextConfig(
                depths=[1] * 4,
                hidden_sizes=[8, 16, 16, 32],
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            hidden_size=16,
            auxiliary_channels=8,
            auxiliary_in_channels=16,
        )
    )


case("transformers", "UperNetForSemanticSegmentation", upernet)


def upernet_swin() -> nn.Module:
    T = transformers()

    return T.UperNetForSemanticSegmentation(
        T.UperNetConfig(
            backbone_config=T.SwinConfig(
                embed_dim=8,
                depths=[1] * 4,
                num_heads=[1, 1, 2, 2],
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            hidden_size=16,
            auxiliary_channels=8,
            auxiliary_in_channels=32,
        )
    )


case("transformers", "UperNet/Swin", upernet_swin)


def depthany() -> nn.Module:
    T = transformers()

    return T.DepthAnythingForDepthEstimation(
        T.DepthAnythingConfig(
            backbone_config=T.Dinov2Config(
                **{**VIT, "num_hidden_layers": 4},
                image_size=56,
                out_features=["stage1", "stage2", "stage3", "stage4"],
                reshape_hidden_states=False,
            ),
            reassemble_hidden_size=32,
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
        )
    )


case("transformers", "DepthAnythingForDepthEstimation", depthany, whole=True)


def zoe() -> nn.Module:
    T = transformers()

    return T.ZoeDepthForDepthEstimation(
        T.ZoeDepthConfig(
            backbone_config=T.BeitConfig(
                **{**VIT, "num_hidden_layers": 4},
                image_size=64,
                out_features=["stage1", "stage2", "stage3", "stage4"],
                reshape_hidden_states=False,
            ),
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
            bottleneck_features=16,
        )
    )


case("transformers", "ZoeDepthForDepthEstimation", zoe, tries=squares(64))
case(
    "transformers",
    "ViTMAEForPreTraining",
    tf(
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        **VIT,
        image_size=64,
        patch_size=8,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        mask_ratio=0.0,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "ViTForMaskedImageModeling",
    tf(
        "ViTForMaskedImageModeling",
        "ViTConfig",
        **VIT,
        image_size=64,
        patch_size=8,
        encoder_stride=8,
    ),
    tries=[*squares(64), {"call": lambda n, x: n(x, interpolate_pos_encoding=True)}],
)
case(
    "transformers",
    "DeiTForMaskedImageModeling",
    tf(
        "DeiTForMaskedImageModeling",
        "DeiTConfig",
        **VIT,
        image_size=64,
        patch_size=8,
        encoder_stride=8,
    ),
    tries=squares(64),
)
SW = dict(embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
case(
    "transformers",
    "SwinForMaskedImageModeling",
    tf("SwinForMaskedImageModeling", "SwinConfig", **SW, image_size=64, encoder_stride=8),
    tries=squares(64),
)
case(
    "transformers",
    "Swinv2ForMaskedImageModeling",
    tf("Swinv2ForMaskedImageModeling", "Swinv2Config", **SW, image_size=64, encoder_stride=8),
    tries=squares(64),
)
case(
    "transformers",
    "FocalNetForMaskedImageModeling",
    tf(
        "FocalNetForMaskedImageModeling",
        "FocalNetConfig",
        embed_dim=16,
        depths=[1, 1],
        focal_levels=[1, 1],
        focal_windows=[3, 3],
        hidden_sizes=[16, 32],
        image_size=64,
        encoder_stride=8,
    ),
    tries=squares(64),
)


def m2f() -> nn.Module:
    T = transformers()

    return T.Mask2FormerForUniversalSegmentation(
        T.Mask2FormerConfig(
            backbone_config=T.SwinConfig(
                embed_dim=16,
                depths=[1] * 4,
                num_heads=[2] * 4,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=32,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=2,
            dim_feedforward=32,
            num_queries=4,
        )
    )


case("transformers", "Mask2Former", m2f)


def mf() -> nn.Module:
    T = transformers()

    return T.MaskFormerForInstanceSegmentation(
        T.MaskFormerConfig(
            backbone_config=T.SwinConfig(
                embed_dim=16,
                depths=[1] * 4,
                num_heads=[2] * 4,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            decoder_config=T.DetrConfig(
                d_model=16,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=16,
                decoder_ffn_dim=16,
                num_queries=4,
            ),
            fpn_feature_size=32,
            mask_feature_size=32,
        )
    )


case("transformers", "MaskFormer", mf)


def vitmatte() -> nn.Module:
    T = transformers()
    trunk = T.VitDetConfig(
        **VIT_DET,
        mlp_ratio=2,
        num_channels=4,
        image_size=64,
        patch_size=8,
        out_features=["stage2"],
    )
    return T.VitMatteForImageMatting(
        T.VitMatteConfig(backbone_config=trunk, hidden_size=32, fusion_hidden_sizes=[16, 16, 8, 8])
    )


case(
    "transformers",
    "VitMatteForImageMatting(4ch)",
    vitmatte,
    tries=[
        {"region": True},
        {"preprocess": cat_plane},
        {"region": True, "example": (2, 3, 64, 64)},
    ],
)
case(
    "transformers",
    "SegGptForImageSegmentation",
    tf(
        "SegGptForImageSegmentation",
        "SegGptConfig",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=[128, 64],
        patch_size=8,
        decoder_hidden_size=8,
        intermediate_hidden_state_indices=[0, 1],
        merge_index=0,
        pretrain_image_size=64,
        mlp_dim=64,
    ),
    tries=[{"call": lambda n, x: n(x, x, x), "example": (2, 3, 64, 64)}],
)
case(
    "transformers",
    "EomtForUniversalSegmentation",
    tf(
        "EomtForUniversalSegmentation",
        "EomtConfig",
        **VIT_DET,
        image_size=64,
        patch_size=8,
        num_blocks=1,
        num_queries=4,
        num_upscale_blocks=1,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "Dinov2Backbone",
    tf(
        "Dinov2Backbone",
        "Dinov2Config",
        **VIT_DET,
        image_size=56,
        out_features=["stage2"],
    ),
)
case(
    "transformers",
    "PvtV2Backbone",
    tf(
        "PvtV2Backbone",
        "PvtV2Config",
        hidden_sizes=[8, 16, 16, 32],
        depths=[1] * 4,
        num_attention_heads=[1, 1, 2, 2],
        out_features=["stage4"],
    ),
)
case(
    "transformers",
    "HieraForPreTraining",
    tf(
        "HieraForPreTraining",
        "HieraConfig",
        embed_dim=16,
        image_size=[64, 64],
        depths=[1, 1, 1],
        num_heads=[1, 1, 2],
        query_stride=[2, 2],
        masked_unit_size=[4, 4],
        num_query_pool=2,
        decoder_hidden_size=16,
        decoder_depth=1,
        decoder_num_heads=2,
        mask_ratio=0.0,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "SamVisionModel",
    tf(
        "SamVisionModel",
        "SamVisionConfig",
        **VIT_DET,
        mlp_dim=64,
        image_size=64,
        patch_size=8,
        output_channels=16,
        global_attn_indexes=[1],
        window_size=4,
    ),
    tries=squares(64),
)
case(
    "transformers",
    "SuperPointForKeypointDetection",
    tf(
        "SuperPointForKeypointDetection",
        "SuperPointConfig",
        encoder_hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        descriptor_decoder_dim=16,
    ),
)


def prompt_depth() -> nn.Module:
    T = transformers()
    trunk = T.Dinov2Config(
        **{**VIT, "num_hidden_layers": 4},
        image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    return T.PromptDepthAnythingForDepthEstimation(
        T.PromptDepthAnythingConfig(
            backbone_config=trunk,
            reassemble_hidden_size=32,
            neck_hidden_sizes=[8, 8, 16, 16],
            fusion_hidden_size=16,
        )
    )


case(
    "transformers",
    "PromptDepthAnythingForDepthEstimation",
    prompt_depth,
)
case(
    "transformers",
    "ViTForImageClassification",
    tf("ViTForImageClassification", "ViTConfig", **VIT, image_size=64, patch_size=8),
    tries=squares(64),
)
case(
    "transformers",
    "CvtForImageClassification",
    tf(
        "CvtForImageClassification",
        "CvtConfig",
        embed_dim=[8, 16, 32],
        num_heads=[1, 2, 2],
        depth=[1, 2, 10],
    ),
)

# Networks that give features of several sizes, as heads of others are built on.
STAGES = dict(out_features=["stage1", "stage2"])
SMALL = dict(hidden_sizes=[8, 16, 16, 32], depths=[1] * 4, **STAGES)
WINDOWS = dict(embed_dim=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4, **STAGES)
PLAIN = dict(image_size=64, patch_size=8, **VIT_DET, **STAGES)
FOCAL = dict(embed_dim=12, hidden_sizes=[12, 24, 48, 96], depths=[1] * 4, **STAGES)
BIT = dict(embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1] * 4, num_groups=4)
for n, settings in {
    "ConvNext": SMALL,
    "ConvNextV2": SMALL,
    "ResNet": dict(embedding_size=8, **SMALL),
    "RTDetrResNet": dict(embedding_size=8, **SMALL),
    "Bit": BIT | STAGES,
    "Swin": WINDOWS,
    "Swinv2": WINDOWS,
    "FocalNet": FOCAL,
    "Beit": PLAIN,
    "Dinov2WithRegisters": PLAIN,
    "TextNet": STAGES,
    "HGNetV2": STAGES,
}.items():
    case("transformers", f"{n}Backbone", tf(f"{n}Backbone", f"{n}Config", **settings))
case(
    "transformers",
    "VitPoseForPoseEstimation",
    tf(
        "VitPoseForPoseEstimation",
        "VitPoseConfig",
        backbone_config=dict(
            model_type="vitpose_backbone",
            image_size=[64, 64],
            patch_size=[8, 8],
            out_features=["stage2"],
            **VIT_DET,
        ),
    ),
    tries=squares(64),
)
