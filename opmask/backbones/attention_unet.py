r"""The paper's network: a U-Net whose outer skips pass through attention gates.

Data flow: `image (B, 3, H, W) -> AttentionUNet -> (B, C, H, W)`. What the published code does by
nesting modules and by changing tensors in place is written out here: each encoder level hands on
one tensor, *after* its leaky ReLU, to the next level and to the decoder alike.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["AttentionUNet"]

GATED = 3
"""How many decoder levels have a gate, counted from the outermost concatenation."""


class Gate(nn.Module):
    """Weighs every feature by a number in (0, 1) that depends on all features of its place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()


def _down(inputs: int, outputs: int, normalized: bool) -> nn.Sequential:
    norm = nn.InstanceNorm2d(outputs) if normalized else nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1), norm, nn.LeakyReLU(0.2))


def _enlarge(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
    return nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2), convolution)


def _up(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return _enlarge(inputs, outputs).extend([nn.InstanceNorm2d(outputs), nn.Dropout(dropout)])


class AttentionUNet(nn.Module):
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
        super().__init__()
        if depth < 5:
            raise ValueError(f"'depth' must be at least 5, got {depth}.")
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        self.multiple_of = 2**depth
        widths = [width * min(2**level, 8) for level in range(depth)]
        innermost, levels = depth - 1, range(depth - 1, 0, -1)
        self.encoder = nn.ModuleList(
            _down(a, b, normalized=0 < level < innermost)
            for level, (a, b) in enumerate(pairwise([in_channels, *widths]))
        )
        # From the innermost level to the outermost, as they run.
        self.decoder = nn.ModuleList(
            _up(
                widths[level] * (1 if level == innermost else 2),
                widths[level - 1],
                dropout=0.5 if GATED < level < innermost else 0.0,
            )
            for level in levels
        )
        self.gates = nn.ModuleList(
            Gate(2 * widths[level - 1]) if level <= GATED else nn.Identity() for level in levels
        )
        self.out = _enlarge(2 * width, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H, W)."""
        check_size(image, self.multiple_of)
        x, skips = image, []
        for down in self.encoder:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up, gate in zip(self.decoder, self.gates, strict=True):
            x = gate(torch.cat([skips.pop(), up(x)], 1))
        return self.out(x)


def check_size(image: Tensor, multiple: int) -> None:
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"'image' must have a height and width that are multiples of {multiple}, got "
            f"{(height, width)}. Wrap the network in opmask.OperatorMaskWrapper, which pads."
        )
