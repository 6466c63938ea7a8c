r"""The paper's baseline: a network that paints the harmonized image itself, without masks.

Data flow: `image -> backbone -> Retouched(image, {})`. It exists to be compared with: it has
nothing to explain or edit, and must first learn to copy its input. (A residual network, `image +
backbone(image)`, needs no class: it is `OperatorMaskWrapper` with `Retoucher(Add(RGB,
range=MaskRange(0.0)))`.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opmask.retouch.retoucher import saturate
from opmask.wrapper.checks import check_multiple
from opmask.wrapper.heads import precision
from opmask.wrapper.model import Retouched, check_inputs, pad_to_multiple, with_region
from opmask.wrapper.sizes import SizeRule

__all__ = ["DirectRGB"]


class DirectRGB(nn.Module):
    r"""Direct RGB regression, "RGB" in the paper's tables.

    The paper's network works in :math:`[-1, 1]` on both sides, and so does this one.

    Args:
        backbone: A network that maps :math:`(B, 3, H, W)` to :math:`(B, 3, H, W)`.
        region: Whether the network gets a fourth input channel, as in
            :class:`OperatorMaskWrapper`.
        multiple_of: The number that the network's height and width must be multiples of.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import opmask, torch
        >>> model = DirectRGB(opmask.backbones.SmallUNet(), multiple_of=32)
        >>> image, masks = model(torch.rand(2, 3, 40, 50))
        >>> image.shape, masks
        (torch.Size([2, 3, 40, 50]), {})
    """

    def __init__(self, backbone: nn.Module, *, region: bool = False, multiple_of: int = 1) -> None:
        super().__init__()
        check_multiple(multiple_of)
        self.backbone = backbone
        self.region = region
        self.multiple_of = multiple_of

    def forward(self, image: Tensor, region: Tensor | None = None) -> Retouched:
        r"""Paints the harmonized image.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`; height and
                width at least 16. The network gets it in the precision of its weights.
            region: Where it was changed, as for :meth:`OperatorMaskWrapper.predict`.

        Returns:
            The painted image, and no masks.

        Raises:
            ValueError: If a shape is wrong, or a region is handed to a model that is blind to it.
            TypeError: If the image is not of a floating-point type.
        """
        check_inputs(image, region, self.region)
        rule = SizeRule(self.multiple_of, self.multiple_of)
        dtype = precision(self.backbone, image)
        x = 2 * pad_to_multiple(image.to(torch.promote_types(dtype, torch.float32)), rule) - 1
        if self.region:
            x = with_region(x, None if region is None else pad_to_multiple(region, rule))
        output = self.backbone(x.to(dtype))[..., : image.shape[-2], : image.shape[-1]]
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        return Retouched(saturate((output + 1) / 2), {})
