r"""Masks as colours: neutral at the identity, blue below, red above.

Data flow: `mask -> mask_to_rgb -> picture`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["COLORS", "mask_to_rgb"]

# From -limit to +limit: dark blue, blue, neutral, red, dark red, with equal lightness on the two
# sides and the middle neutral, so that an untouched pixel has no hue.
COLORS = (
    (0.05, 0.31, 0.64),
    (0.46, 0.70, 0.88),
    (0.96, 0.96, 0.96),
    (0.94, 0.58, 0.46),
    (0.64, 0.08, 0.13),
)


def mask_to_rgb(mask: Tensor, identity: float, limit: float | None = None) -> Tensor:
    r"""Colour an operator mask: neutral at its identity, blue below, red above.

    Args:
        mask: The operator mask, with shape :math:`(B, 1, H, W)`, in operator units.
        identity: The value at which the operator does nothing, in operator units.
        limit: The distance from the identity at which the colours end, in operator units. By
            default the largest in the batch, so give one where pictures are to be compared.

    Returns:
        The picture, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.

    Raises:
        ValueError: If `mask` is not :math:`(B, 1, H, W)` or `limit` is not positive.

    Example:
        >>> mask = torch.tensor([0.5, 1.0, 1.5]).reshape(1, 1, 1, 3)
        >>> mask_to_rgb(mask, identity=1.0)[0, :, 0].T
        tensor([[0.0500, 0.3100, 0.6400],
                [0.9600, 0.9600, 0.9600],
                [0.6400, 0.0800, 0.1300]])
    """
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"'mask' must have shape (B, 1, H, W), got {tuple(mask.shape)}.")
    offset = mask.detach().float() - identity
    colors = torch.tensor(COLORS, device=mask.device)
    stops = torch.linspace(-1, 1, len(colors), device=mask.device).reshape(1, -1, 1, 1)
    position = (offset / limit_of([offset], limit)).clamp(-1, 1)
    # Linear between neighbouring stops, which lie half a unit apart.
    weights = (1 - 2 * (position - stops).abs()).clamp(min=0)
    return torch.einsum("bshw,sc->bchw", weights, colors)


def limit_of(offsets: Sequence[Tensor], limit: float | None) -> float:
    """The end of the colour scale: as given, or the largest finite offset, or 1 if that is 0."""
    if limit is None:
        return max(offset.nan_to_num(0, 0, 0).abs().max().item() for offset in offsets) or 1.0
    if not limit > 0:
        raise ValueError(f"'limit' must be positive, got {limit}.")
    return limit
