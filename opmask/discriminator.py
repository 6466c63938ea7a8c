r"""Discriminators: they say how real an image looks. Only training needs them.

Data flow: `image (B, 3, H, W) -> PatchDiscriminator -> logits (B, 1, h, w) -> relativistic loss`.
It sees an image alone, neither the composite nor the masks. The other is told the region:
`image, region -> DomainVerificationDiscriminator -> two logits -> hinge loss of each`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from opmask.backbones._region import split
from opmask.backbones.partial import PartialConv2d, PartialLevel, PartialStack, check_size
from opmask.color import check_image

__all__ = ["DomainVerificationDiscriminator", "PatchDiscriminator"]


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 4, stride, 1)
    return [convolution, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]


class PatchDiscriminator(nn.Module):
    r"""The 70x70 PatchGAN discriminator.

    Each logit judges one square of the image. With :math:`d` halvings its side is

    .. math:: 9 \cdot 2^d - 2

    pixels: 70 for a depth of 3, where an image of 256x256 has 30x30 logits.

    Args:
        in_channels: The number of channels of the image.
        width: The number of channels after the first layer; it doubles with each of the next
            layers, up to 8 times.
        depth: The number of layers that halve the size, at least 1.

    Raises:
        ValueError: If `depth` is less than 1.

    References:
        | Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017)
          https://arxiv.org/abs/1611.07004

    Example:
        >>> import torch
        >>> discriminator = PatchDiscriminator()
        >>> discriminator(torch.rand(2, 3, 256, 256)).shape
        torch.Size([2, 1, 30, 30])
        >>> sum(p.numel() for p in discriminator.parameters())
        2764737
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"'depth' must be at least 1, got {depth}.")
        self.in_channels = in_channels
        self.smallest = 3 * 2**depth
        widths = [width * min(2**level, 8) for level in range(depth + 1)]
        layers = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, depth + 1):
            layers += _block(widths[level - 1], widths[level], stride=2 if level < depth else 1)
        self.model = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        r"""Judges the patches of an image.

        Args:
            image: The image, with shape :math:`(B, C, H, W)`, in the range it is trained with: RGB
                in :math:`[0, 1]`, or `LAB_CENTERED` in :math:`[-1, 1]` as in the paper's code.

        Returns:
            The logits, with shape :math:`(B, 1, H / 2^d - 2, W / 2^d - 2)`, unbounded: the higher,
            the more real.

        Raises:
            ValueError: If the number of channels is another one, or the image is too small.
            TypeError: If the image is not of a floating-point type.
        """
        check_image(image, channels=self.in_channels)
        if min(image.shape[-2:]) < self.smallest:
            raise ValueError(
                f"'image' must be at least {self.smallest}x{self.smallest} pixels, got "
                f"{tuple(image.shape[-2:])}. A smaller depth= takes smaller images."
            )
        return self.model(image)


class DomainVerificationDiscriminator(nn.Module):
    r"""DoveNet's discriminator: is the image real, and are foreground and background of one kind?

    Two stacks of convolutions :math:`g` and :math:`l` with spectral norms look at the image. The
    first sees all of it. The second is made of partial convolutions, and runs for the region
    :math:`r` and for the rest:

    .. math::
        \text{whole} = w \cdot g(x), \qquad
        \text{verification} = h\left( l(x; r) \odot l(x; 1 - r) \right)

    with a linear layer :math:`w` and three layers :math:`h`, all of them 1x1 convolutions.

    Args:
        in_channels: The number of channels of the image.
        width: The number of channels after the first layer; it doubles with each of the next
            layers, up to 8 times.
        depth: The number of layers that halve the size, at least 2; 6 as published.

    Raises:
        ValueError: If `depth` is less than 2.

    References:
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)
          https://arxiv.org/abs/1911.13239
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018)
          https://arxiv.org/abs/1802.05957

    Example:
        >>> import torch
        >>> discriminator = DomainVerificationDiscriminator(width=8, depth=4)
        >>> image, region = torch.rand(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)
        >>> region[..., 50:] = 1
        >>> whole, verification = discriminator(2 * image - 1, region)
        >>> whole.shape, verification.shape
        (torch.Size([2, 1, 1, 3]), torch.Size([2, 1, 1, 3]))
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in DomainVerificationDiscriminator().parameters())
        17787138
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, depth: int = 6) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"'depth' must be at least 2, got {depth}.")
        self.in_channels = in_channels
        self.depth = depth
        channels = width * min(2**depth, 8)
        self.whole = _stack(in_channels, width, depth)
        self.parts = _stack(in_channels, width, depth)
        self.judge_whole = nn.Conv2d(channels, 1, 1)
        self.judge_parts = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, channels, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(channels, channels, 1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, image: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        r"""Judges images, and whether their regions belong in them.

        In training mode each call makes the estimates of the spectral norms better, as usual.

        Args:
            image: The image, with shape :math:`(B, C, H, W)`, in the range it is trained with: the
                published one sees RGB in :math:`[-1, 1]`.
            region: The foreground, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.

        Returns:
            The logits of the whole and those of the verification, each with shape
            :math:`(B, 1, h, w)`, unbounded: the higher, the more real. There is one for an image
            of 256x256.

        Raises:
            ValueError: If a shape is wrong, or the image is too small.
            TypeError: If the image is not of a floating-point type.
        """
        image, region = split(image, region, self.in_channels)
        check_size(image, self.depth + 1)
        whole = self.whole(image, torch.ones_like(region))
        # At once: a norm looks at one image alone, and the estimates are made better once.
        both = torch.cat([region, 1 - region])
        foreground, background = self.parts(image.repeat(2, 1, 1, 1), both).chunk(2)
        return self.judge_whole(whole), self.judge_parts(foreground * background)


def _stack(inputs: int, width: int, depth: int) -> PartialStack:
    """Convolutions of which all but the last one halve the size."""
    widths = [inputs, *(width * min(2**level, 8) for level in range(depth + 1))]
    stack = PartialStack()
    for level, (a, b) in enumerate(pairwise(widths)):
        convolution = spectral_norm(PartialConv2d(a, b, stride=2 if level < depth else 1))
        norm = [nn.InstanceNorm2d(b)] if 0 < level < depth else []
        after = [*norm, nn.LeakyReLU(0.2)] if level < depth else []
        stack.append(PartialLevel(convolution, *after))
    return stack
