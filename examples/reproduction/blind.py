"""Ways to say what is to be changed, each as masks of a retoucher, for one and the same network.

Published networks of these kinds are given the region. Here each way is what the network predicts
at every pixel, with no region at all:

    features of the backbone -> masks of a retoucher of BLIND -> image
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import opmask
from opmask.backbones import S2AD, SmallUNet
from opmask.operators import HueRotate, Saturation, ToneCurve

UNBOUNDED = opmask.MaskRange(0.0)
CHANNELS = ("red", "green", "blue")


class ColorTransform(opmask.Operator):
    r"""An affine map of colours for each pixel, twelve masks: what PCT-Net predicts.

    .. math:: y_c = \sum_d m_{c,d}\,x_d + m_{c,0}

    References:
        | PCT-Net: Full Resolution Image Harmonization Using Pixel-Wise Color Transformations
          (Guerreiro et al., 2023)
    """

    space = opmask.RGB
    ranges = {
        f"{c}_from_{d}": opmask.MaskRange(float(c == d), low=-2.0, high=3.0)
        for c in CHANNELS
        for d in (*CHANNELS, "one")
    }
    pixelwise = True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        with_one = torch.cat([image, torch.ones_like(image[:, :1])], 1)
        return torch.cat([(with_one * row).sum(1, keepdim=True) for row in mask.split(4, 1)], 1)


class MixedTables(opmask.Operator):
    r"""A sum of learned 3-D tables of colour changes, mixed by masks.

    .. math:: y = x + \sum_k m_k\,D_k(x)

    with :math:`D_k` read off trilinearly; colours out of gamut are changed as the nearest one in
    it. The published network predicts one weight for the whole picture and each table, of which
    the first begins as the identity and is mixed in too; the identity here is exact, whatever the
    tables. They begin as smooth random changes, as tables of 0 would get no gradient.

    Args:
        count: The number of tables.
        size: The number of nodes of each along each colour, at least 2.
        whole: Whether a mask acts by its mean, as one weight for the whole picture.
        seed: The integer that decides how the tables begin.

    References:
        | Learning Image-adaptive 3D Lookup Tables for High Performance Photo Enhancement in
          Real-time (Zeng et al., 2020)
    """

    space = opmask.RGB

    def __init__(
        self, count: int = 6, size: int = 9, *, whole: bool = False, seed: int = 0
    ) -> None:
        self.ranges = {f"table_{k}": opmask.MaskRange(0.0, -1.0, 1.0) for k in range(1, count + 1)}
        super().__init__()
        self.count, self.size, self.whole, self.seed = count, size, whole, seed
        self.pixelwise, self.spreads = not whole, whole
        generator = torch.Generator().manual_seed(seed)
        coarse = 0.2 * torch.randn(1, 3 * count, 3, 3, 3, generator=generator)
        tables = F.interpolate(coarse, (size,) * 3, mode="trilinear", align_corners=True)
        self.tables = nn.Parameter(tables)  # (1, 3 K, S, S, S): blue, green, red

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        weights = mask.mean((2, 3), keepdim=True) if self.whole else mask
        places = 2 * image.clamp(0, 1).permute(0, 2, 3, 1)[:, None] - 1  # (B, 1, H, W, 3)
        tables = self.tables.to(image.dtype).expand(len(image), -1, -1, -1, -1)
        read = F.grid_sample(tables, places, padding_mode="border", align_corners=True)
        changes = read[:, :, 0].unflatten(1, (self.count, 3))
        return image + (weights[:, :, None] * changes).sum(1)


def dccf() -> opmask.Retoucher:
    """Four filters for each pixel, as DCCF: value, saturation, hue, and how much of them.

    DCCF's attention is one map for all; gated operators share a colour space, so hue has its own.

    References:
        | DCCF: Deep Comprehensible Color Filter Learning Framework for High-Resolution Image
          Harmonization (Xue et al., 2022)
    """
    return opmask.Retoucher(
        opmask.Gated(ToneCurve(knots=8), Saturation()), opmask.Gated(HueRotate(), prefix="hue_")
    )


BLIND: dict[str, Callable[[], opmask.Retoucher]] = {
    # What a network paints is added to the image.
    "rgb-residual": lambda: opmask.Retoucher(opmask.Add(opmask.RGB, range=UNBOUNDED)),
    # The same, and apart from it where: the network says so by a mask of its own.
    "rgb-attention": lambda: opmask.Retoucher(
        opmask.Gated(opmask.Add(opmask.RGB, range=UNBOUNDED))
    ),
    # The network of S2AM without a mask: in its decoder it looks for the region by itself.
    "s2ad": lambda: opmask.Retoucher(opmask.Add(opmask.RGB, range=UNBOUNDED)),
    "pct": lambda: opmask.Retoucher(ColorTransform()),
    "dccf": dccf,
    "lut": lambda: opmask.Retoucher(MixedTables(whole=True)),
    "lut-pixel": lambda: opmask.Retoucher(MixedTables()),
    "om": opmask.lab_retoucher,  # the paper's six masks
}
"""The retouchers by name, for a network that is not given the region."""


def network(name: str, width: int) -> nn.Module:
    """The network of a baseline: the same for all but S2AD, which is one; both take any 32 n."""
    return S2AD(3, width=width, depth=5) if name == "s2ad" else SmallUNet(width=width)
