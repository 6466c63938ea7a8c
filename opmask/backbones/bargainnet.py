r"""BargainNet: an attention U-Net that is told how the background looks, in a few numbers.

Data flow: `background, 1 - region -> DomainCodeExtractor -> code (B, 16)`, and
`image (B, 3, H, W), region (B, 1, H, W), code -> BargainNet -> image (B, 3, H, W)`.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from opmask.backbones._region import split
from opmask.backbones.attention_unet import GatedUNet, down
from opmask.backbones.dovenet import last, up
from opmask.backbones.partial import PartialConv2d, PartialLevel, PartialStack, check_size
from opmask.color import check_image

__all__ = ["BargainNet", "DomainCodeExtractor"]

LEAST = 0.001
"""The least factor that a code is multiplied by."""


class DomainCodeExtractor(nn.Module):
    r"""Describes the look of a region, its light and colours, in a few numbers.

    They are the mean of the features of some partial convolutions, which see nothing but the
    region, through one linear layer.

    Args:
        in_channels: The number of channels of the image.
        out_channels: How many numbers a code has.
        width: The number of channels after the first layer; those below have 2, 4 and then 8 times
            as many.
        depth: The number of partial convolutions, each of which halves the size, at least 2; 5 as
            published.

    Raises:
        ValueError: If `depth` is less than 2.

    References:
        | BargainNet: Background-Guided Domain Translation for Image Harmonization (Cong et al.,
          2021) https://arxiv.org/abs/2009.09169

    Example:
        >>> import torch
        >>> extractor = DomainCodeExtractor(width=8).eval()
        >>> image, region = torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)
        >>> region[..., :40] = 1
        >>> code = extractor(image, region)
        >>> code.shape
        torch.Size([2, 16])
        >>> torch.equal(code, extractor(image * region, region))
        True
        >>> sum(p.numel() for p in DomainCodeExtractor().parameters())
        3919376
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 16, *, width: int = 64, depth: int = 5
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"'depth' must be at least 2, got {depth}.")
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        widths = [width * min(2**level, 8) for level in range(depth)]
        self.levels = PartialStack()
        for level, (inputs, outputs) in enumerate(pairwise([in_channels, *widths])):
            norm = [nn.BatchNorm2d(outputs)] if 0 < level < depth - 1 else []
            after = [*norm, nn.ReLU()] if level < depth - 1 else []
            convolution = PartialConv2d(inputs, outputs, bias=level == 0)
            self.levels.append(PartialLevel(convolution, *after))
        self.out = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Describes a region of each image.

        Args:
            image: The images, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`, at least 63
                pixels high and wide at a depth of 5.
            region: What to describe, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`. If
                `None`, it is the last channel of `image`.

        Returns:
            The codes, with shape :math:`(B, C)`, unbounded.

        Raises:
            ValueError: If a shape is wrong, or the image is too small.
            TypeError: If the image is not of a floating-point type.
        """
        image, region = split(image, region, self.arguments["in_channels"])
        check_size(image, len(self.levels))
        features = self.levels(2 * image - 1, region)
        return self.out(features.mean((2, 3), keepdim=True)).flatten(1)


class BargainNet(GatedUNet):
    r"""BargainNet's generator: DoveNet's with batch norms, and a code of the background.

    .. math:: y = \frac{1 + \tanh f([2 x - 1, r, \max(s, 0.001) \, c])}{2}, \qquad
              c = e(b, 1 - r)

    with the composite :math:`x`, the region :math:`r`, the code :math:`c` of the background
    :math:`b` in every pixel, a learned factor :math:`s`, and a U-Net :math:`f`. It paints the
    whole image, its surroundings included.

    Args:
        out_channels: The number of output channels.
        width: The number of channels of the outermost level; the levels below have 2, 4 and then 8
            times as many.
        depth: The number of levels, at least 5; 8 as published.
        codes: How many numbers describe a background.
        code_width: The width of the :class:`DomainCodeExtractor`.
        code_depth: Its depth: images must be at least `2**(code_depth + 1) - 1` pixels high and
            wide.

    Input height and width must be multiples of `2**depth`.

    Attributes:
        extractor: The :class:`DomainCodeExtractor`, for losses too: see
            :func:`opmask.losses.domain_triplet_loss`.

    Raises:
        ValueError: If `depth` is less than 5, or `code_depth` less than 2.

    References:
        | BargainNet: Background-Guided Domain Translation for Image Harmonization (Cong et al.,
          2021) https://arxiv.org/abs/2009.09169

    Example:
        >>> import torch
        >>> net = BargainNet(width=8, depth=5, code_width=8).eval()
        >>> image, region = torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)
        >>> region[..., 50:] = 1
        >>> net(image, region).shape
        torch.Size([2, 3, 64, 96])
        >>> with torch.device("meta"):
        ...     net = BargainNet()
        >>> extractor = sum(p.numel() for p in net.extractor.parameters())
        >>> sum(p.numel() for p in net.parameters()) - extractor
        54776324
    """

    def __init__(
        self,
        out_channels: int = 3,
        *,
        width: int = 64,
        depth: int = 8,
        codes: int = 16,
        code_width: int = 64,
        code_depth: int = 5,
    ) -> None:
        layers = nn.BatchNorm2d, False
        super().__init__(4 + codes, width, depth, partial(down, *layers), partial(up, *layers))
        self.arguments = {
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
            "codes": codes,
            "code_width": code_width,
            "code_depth": code_depth,
        }
        self.out = last(width, out_channels)
        self.extractor = DomainCodeExtractor(3, codes, width=code_width, depth=code_depth)
        self.factor = nn.Parameter(torch.tensor([0.1]))

    def forward(
        self, image: Tensor, region: Tensor | None = None, background: Tensor | None = None
    ) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`;
                -1, unknown, counts as background. If `None`, it is the last channel of `image`, as
                a wrapper with `region=True` hands it on.
            background: The images whose background gives the code, with the shape and range of the
                composites. Default: the composites. The published code takes the real images, in
                tests too; outside of the region both should be the same.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`, in
            :math:`[0, 1]`.

        Raises:
            ValueError: If a shape is wrong, or the image is too small.
            TypeError: If the image is not of a floating-point type.
        """
        image, region = split(image, region)
        background = image if background is None else background
        check_image(background, "background")
        if background.shape != image.shape:
            raise ValueError(
                f"'background' must have the shape of 'image', {tuple(image.shape)}, "
                f"got {tuple(background.shape)}."
            )
        code = self.extractor(background, 1 - region.clamp(0, 1)) * self.factor.clamp(min=LEAST)
        planes = code[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        x = torch.cat([2 * image - 1, region, planes], 1)
        return (1 + self.out(self.decoded(x))) / 2
