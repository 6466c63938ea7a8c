r"""The paper's network: a U-Net whose outer skips pass through attention gates.

Data flow: `image (B, 3, H, W) -> AttentionUNet -> (B, C, H, W)`. What the published code does by
nesting modules and by changing tensors in place is written out here: each encoder level hands on
one tensor, *after* its leaky ReLU, to the next level and to the decoder alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["AttentionUNet"]

GATED = 3
"""How many decoder levels have a gate, counted from the outermost concatenation."""


class _Gate(nn.Module):
    """Weighs every feature by a number in (0, 1) that depends on all features of its place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()


def down(
    norm: type[nn.Module], bias: bool, inputs: int, outputs: int, normalized: bool
) -> nn.Sequential:
    """An encoder level: half the size, and the norm where there is one."""
    after = norm(outputs) if normalized else nn.Identity()
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)
    return nn.Sequential(convolution, after, nn.LeakyReLU(0.2))


def _enlarge(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
    return nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2), convolution)


def _up(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return _enlarge(inputs, outputs).extend([nn.InstanceNorm2d(outputs), nn.Dropout(dropout)])


class GatedUNet(nn.Module):
    """What U-Nets with attention gates share: all but the last layer.

    Args:
        inputs: The number of input channels.
        width: The number of channels of the outermost level.
        depth: The number of levels, at least 5.
        down: Makes an encoder level of its numbers of channels in and out, and whether it is
            normalised, as the outermost and the innermost are not.
        up: Makes a decoder level of its numbers of channels in and out and its dropout.
        gate: Makes what the three outermost concatenations pass through, of their channels.

    Raises:
        ValueError: If `depth` is less than 5.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int,
        down: Callable[[int, int, bool], nn.Sequential],
        up: Callable[[int, int, float], nn.Module],
        gate: Callable[[int], nn.Module] = _Gate,
    ) -> None:
        super().__init__()
        if depth < 5:
            raise ValueError(f"'depth' must be at least 5, got {depth}.")
        self.multiple_of = 2**depth
        widths = [width * min(2**level, 8) for level in range(depth)]
        innermost, levels = depth - 1, range(depth - 1, 0, -1)
        self.encoder = nn.ModuleList(
            down(a, b, 0 < level < innermost)
            for level, (a, b) in enumerate(pairwise([inputs, *widths]))
        )
        # From the innermost level to the outermost, as they run.
        self.decoder = nn.ModuleList(
            up(
                widths[level] * (1 if level == innermost else 2),
                widths[level - 1],
                0.5 if GATED < level < innermost else 0.0,
            )
            for level in levels
        )
        self.gates = nn.ModuleList(
            gate(2 * widths[level - 1]) if level <= GATED else nn.Identity() for level in levels
        )

    def decoded(
        self, x: Tensor, *, up: tuple[Tensor, ...] = (), gate: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """What the last layer gets: (B, 2 * width, H / 2, W / 2) of (B, inputs, H, W).

        What decoder levels and gates are told besides, such as the region, is in `up` and `gate`.
        """
        height, width = x.shape[-2:]
        if height % self.multiple_of or width % self.multiple_of:
            raise ValueError(
                f"'image' must have a height and width that are multiples of {self.multiple_of}, "
                f"got {(height, width)}. Wrap the network in opmask.OperatorMaskWrapper, which "
                "pads."
            )
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = skips.pop()
        for level, gated in zip(self.decoder, self.gates, strict=True):
            x = torch.cat([skips.pop(), level(x, *up)], 1)
            x = x if isinstance(gated, nn.Identity) else gated(x, *gate)
        return x


class AttentionUNet(GatedUNet):
    r"""The attention U-Net of the paper, after DoveNet's.

    Where :math:`E_k` is an encoder level after its norm, and :math:`D_k` a decoder level:

    .. math::
        e_k = \operatorname{LeakyReLU}_{0.2}(E_k(e_{k-1})), \qquad
        z = [e_{k-1}, D_k(\operatorname{ReLU}(d_{k+1}))], \qquad
        d_k = \sigma(W z + b) \odot z \text{ if } k \le 3, \text{ else } z

    The paper draws plain skips :math:`E_k`. Its code changes them in place, so that the gates see
    :math:`e_k`; this is what its checkpoints were trained with, and what happens here.

    There is no activation after the last layer. The ReLU that the published code applies to its
    multiplicative masks is, here, a :class:`~opmask.MaskRange` with `low=0.0`.

    Args:
        in_channels: The number of input channels.
        out_channels: The number of output channels.
        width: The number of channels of the outermost level; the levels below have 2, 4 and then 8
            times as many.
        depth: The number of levels, at least 5. The levels between the gated ones and the
            innermost have a dropout of one half.

    Input height and width must be multiples of `2**depth`. On an image of just that size the
    innermost level is idle, in the published network too: a single place, enlarged and normalised,
    is 0.

    Raises:
        ValueError: If `depth` is less than 5.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)
          https://arxiv.org/abs/1911.13239

    Example:
        >>> import torch
        >>> net = AttentionUNet(width=8, depth=5)
        >>> net(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 6, 64, 96])
        >>> sum(p.numel() for p in AttentionUNet().parameters())
        39501830
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 6, *, width: int = 64, depth: int = 8
    ) -> None:
        super().__init__(in_channels, width, depth, partial(down, nn.InstanceNorm2d, True), _up)
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        self.out = _enlarge(2 * width, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        r"""Maps an image to as many maps as there are output channels.

        Args:
            image: The image, with shape :math:`(B, C, H, W)`, in the range it is trained with: the
                published one sees :data:`opmask.LAB_CENTERED`, in :math:`[-1, 1]`.

        Returns:
            The maps, with shape :math:`(B, M, H, W)`, unbounded.

        Raises:
            ValueError: If height or width is no multiple of `2**depth`.
        """
        return self.out(self.decoded(image))
