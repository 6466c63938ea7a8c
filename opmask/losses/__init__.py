r"""Training losses, each a pure function with a thin module of the same settings.

Output image and real image (and the region), or a discriminator's logits of both, go in, a number
to minimise comes out; nothing here knows of operators, masks or the network that is trained:

    restored, real, region -> loss          real_logits, fake_logits -> loss
"""

from __future__ import annotations

from opmask.losses.charbonnier import Charbonnier, charbonnier
from opmask.losses.perceptual import LPIPS, lpips
from opmask.losses.region_normalized import RegionNormalizedMSE, region_normalized_mse
from opmask.losses.relativistic import (
    RelativisticDiscriminatorLoss,
    RelativisticGeneratorLoss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from opmask.losses.vgg19 import VGG19Perceptual, vgg19_perceptual

__all__ = [
    "LPIPS",
    "Charbonnier",
    "RegionNormalizedMSE",
    "RelativisticDiscriminatorLoss",
    "RelativisticGeneratorLoss",
    "VGG19Perceptual",
    "charbonnier",
    "lpips",
    "region_normalized_mse",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "vgg19_perceptual",
]
