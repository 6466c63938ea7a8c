"""Backbones: plain image-to-image networks. They know nothing of masks."""

from opmask.backbones.attention_unet import AttentionUNet
from opmask.backbones.dht import DHT
from opmask.backbones.dovenet import DoveNet
from opmask.backbones.harmony_transformer import HarmonyTransformer, HarmonyTransformerPlus
from opmask.backbones.region_unet import RegionUNet
from opmask.backbones.small_unet import SmallUNet

__all__ = [
    "DHT",
    "AttentionUNet",
    "DoveNet",
    "HarmonyTransformer",
    "HarmonyTransformerPlus",
    "RegionUNet",
    "SmallUNet",
]
