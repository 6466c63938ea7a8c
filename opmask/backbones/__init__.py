"""Backbones: plain image-to-image networks. They know nothing of masks.

Two functions go with them: one gives a network a channel for the region, the other pastes what a
network makes of the region into the image.
"""

from opmask.backbones._region import paste
from opmask.backbones.attention_unet import AttentionUNet
from opmask.backbones.bargainnet import BargainNet, DomainCodeExtractor
from opmask.backbones.dht import DHT
from opmask.backbones.dirl import DIRL
from opmask.backbones.dovenet import DoveNet
from opmask.backbones.harmony_transformer import HarmonyTransformer, HarmonyTransformerPlus
from opmask.backbones.rainnet import RainNet
from opmask.backbones.region_input import with_region_input
from opmask.backbones.region_unet import RegionUNet
from opmask.backbones.s2ad import S2AD
from opmask.backbones.small_unet import SmallUNet

__all__ = [
    "DHT",
    "DIRL",
    "S2AD",
    "AttentionUNet",
    "BargainNet",
    "DomainCodeExtractor",
    "DoveNet",
    "HarmonyTransformer",
    "HarmonyTransformerPlus",
    "RainNet",
    "RegionUNet",
    "SmallUNet",
    "paste",
    "with_region_input",
]
