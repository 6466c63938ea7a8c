r"""A network that paints the harmonized image itself, without masks: the paper's baseline.

Data flow: `image -> backbone -> Retouched(image, {})`. It exists to be compared with: it has
nothing to explain or edit, and must first learn to copy its input. The published networks that
are given the region, such as :class:`opmask.backbones.DoveNet`, paint likewise. (A residual
network, `image + backbone(image)`, needs no class: it is `OperatorMaskWrapper` with
`Retoucher(Add(RGB, range=MaskRange(0.0)))`.)
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from opmask.retouch.retoucher import saturate
from opmask.wrapper.checks import check_multiple
from opmask.wrapper.heads import precision
from opmask.wrapper.model import Retouched, check_inputs, pad_to_multiple, with_region
from opmask.wrapper.sizes import SizeRule

__all__ = ["PASTES", "DirectRGB", "Paste"]

Paste = Literal["never", "evaluation", "always"]
PASTES: tuple[Paste, ...] = get_args(Paste)
"""When a painted image is pasted into the composite."""


class DirectRGB(nn.Module):
    r"""Direct RGB regression, "RGB" in the paper's tables.

    The paper's network works in :math:`[-1, 1]` on both sides, and by default so does this one.

    Args:
        backbone: A network that maps :math:`(B, 3, H, W)` to :math:`(B, 3, H, W)`.
        region: Whether the network gets a fourth input channel, as in
            :class:`OperatorMaskWrapper`.
        multiple_of: The number that the network's height and width must be multiples of.
        centered: Whether the network works in :math:`[-1, 1]`; else in :math:`[0, 1]`, as those of
            :mod:`opmask.backbones` that are given the region.
        paste: When what it paints is pasted into the image, :math:`r y + (1 - r) x`: `"never"`;
            in `"evaluation"` mode, as Harmony Transformer, whose losses see all that it paints; or
            `"always"`, as RainNet. Where the region :math:`r` is unknown, all is painted.

    Raises:
        ValueError: If `multiple_of` is less than 1, there is no such `paste`, or it needs a
            `region`.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import opmask, torch
        >>> model = DirectRGB(opmask.backbones.SmallUNet(), multiple_of=32)
        >>> image, masks = model(torch.rand(2, 3, 40, 50))
        >>> image.shape, masks
        (torch.Size([2, 3, 40, 50]), {})

        A published network, of which only the region is seen:

        >>> net = opmask.backbones.DoveNet(width=8, depth=5)
        >>> model = DirectRGB(net, region=True, multiple_of=32, centered=False, paste="always")
        >>> image, region = torch.rand(1, 3, 40, 50), torch.zeros(1, 1, 40, 50)
        >>> torch.equal(model(image, region).image, image)
        True
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        region: bool = False,
        multiple_of: int = 1,
        centered: bool = True,
        paste: Paste = "never",
    ) -> None:
        super().__init__()
        check_multiple(multiple_of)
        if paste not in PASTES:
            raise ValueError(f"'paste' must be one of {', '.join(PASTES)}, got {paste!r}.")
        if paste != "never" and not region:
            raise ValueError(
                f"'paste' must be 'never' without a region, got {paste!r}. Pass region=True."
            )
        self.backbone = backbone
        self.region = region
        self.multiple_of = multiple_of
        self.centered = centered
        self.paste = paste

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
        x = pad_to_multiple(image.to(torch.promote_types(dtype, torch.float32)), rule)
        x = 2 * x - 1 if self.centered else x
        if self.region:
            x = with_region(x, None if region is None else pad_to_multiple(region, rule))
        output = self.backbone(x.to(dtype))[..., : image.shape[-2], : image.shape[-1]]
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        painted = saturate((output + 1) / 2 if self.centered else output)
        pastes = self.paste == "always" or (self.paste == "evaluation" and not self.training)
        if pastes and region is not None:
            # -1, unknown, is painted too.
            painted = torch.lerp(image.to(painted), painted, region.to(painted).abs())
        return Retouched(painted, {})
