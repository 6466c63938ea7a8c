r"""Training losses, each a pure function with a thin module of the same settings.

Output image and real image (and the region), a discriminator's logits of both, codes of a look, or
masks go in, a number to minimise comes out; nothing here knows of operators or the network that is
trained::

    restored, real, region -> loss      real_logits, fake_logits -> loss      masks -> loss
    maps of where the region is, region -> loss
"""

from __future__ import annotations

from opmask.losses.charbonnier import Charbonnier, charbonnier
from opmask.losses.hinge import (
    GradientPenalty,
    HingeDiscriminatorLoss,
    WassersteinGeneratorLoss,
    gradient_penalty,
    hinge_discriminator_loss,
    wasserstein_generator_loss,
)
from opmask.losses.localization import LocalizationLoss, localization_loss
from opmask.losses.masks import (
    MaskSparsity,
    MaskSupervision,
    MaskTotalVariation,
    RegionSupervision,
    mask_sparsity,
    mask_supervision,
    mask_total_variation,
    region_supervision,
)
from opmask.losses.perceptual import LPIPS, lpips
from opmask.losses.region_normalized import RegionNormalizedMSE, region_normalized_mse
from opmask.losses.relativistic import (
    RelativisticDiscriminatorLoss,
    RelativisticGeneratorLoss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from opmask.losses.triplet import DomainTripletLoss, domain_triplet_loss
from opmask.losses.vgg19 import VGG19Perceptual, vgg19_perceptual

__all__ = [
    "LPIPS",
    "Charbonnier",
    "DomainTripletLoss",
    "GradientPenalty",
    "HingeDiscriminatorLoss",
    "LocalizationLoss",
    "MaskSparsity",
    "MaskSupervision",
    "MaskTotalVariation",
    "RegionNormalizedMSE",
    "RegionSupervision",
    "RelativisticDiscriminatorLoss",
    "RelativisticGeneratorLoss",
    "VGG19Perceptual",
    "WassersteinGeneratorLoss",
    "charbonnier",
    "domain_triplet_loss",
    "gradient_penalty",
    "hinge_discriminator_loss",
    "localization_loss",
    "lpips",
    "mask_sparsity",
    "mask_supervision",
    "mask_total_variation",
    "region_normalized_mse",
    "region_supervision",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "vgg19_perceptual",
    "wasserstein_generator_loss",
]
