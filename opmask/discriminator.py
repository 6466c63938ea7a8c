r"""The discriminator: says for each patch of an image how real it looks.

Data flow: `image (B, 3, H, W) -> PatchDiscriminator -> logits (B, 1, h, w) -> relativistic loss`.
It sees an image alone, neither the composite nor the masks. Only training needs it.
"""

from __future__ import annotations

from torch import Tensor, nn

from opmask.color import check_image

__all__ = ["PatchDiscriminator"]


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
