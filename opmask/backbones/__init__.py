"""Backbones: plain image-to-image networks. They know nothing of masks."""

from opmask.backbones.attention_unet import AttentionUNet
from opmask.backbones.dovenet import DoveNet
from opmask.backbones.region_unet import RegionUNet
from opmask.backbones.small_unet import SmallUNet

__all__ = ["AttentionUNet", "DoveNet", "RegionUNet", "SmallUNet"]
