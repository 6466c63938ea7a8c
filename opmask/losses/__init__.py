r"""Training losses, each a pure function with a thin module of the same settings.

Output image and real image (and the region) go in, a number to minimise comes out; nothing here
knows of operators, masks or networks:

    restored, real, region -> loss
"""

from __future__ import annotations

from opmask.losses.charbonnier import Charbonnier, charbonnier
from opmask.losses.region_normalized import RegionNormalizedMSE, region_normalized_mse

__all__ = ["Charbonnier", "RegionNormalizedMSE", "charbonnier", "region_normalized_mse"]
