r"""What exports of a rendered edit begin with: the photo before and after, and its regions.

Data flow: `(Edit, picture) -> rendered -> photos before and after`, and
`labels of changed regions -> nearest_regions -> which region each pixel goes with`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.inference import Edit
from opmask.retouch.pixels import Picture, to_stored

__all__ = ["nearest_regions", "rendered"]


def rendered(edit: Edit, picture: Picture, *, force: bool = False) -> tuple[Photo, Photo]:
    r"""A picture of any kind, and what an edit makes of it.

    Args:
        edit: The edit.
        picture: As for :meth:`opmask.Edit.render`.
        force: As for :meth:`opmask.Edit.render`.

    Returns:
        The photos before and after, of the same size, type and channels.

    Raises:
        ValueError, TypeError: As for :meth:`opmask.Edit.render`.
    """
    result = edit.render(picture, force=force)  # type: ignore[type-var]
    return _as_photo(picture), _as_photo(result)


def _as_photo(picture: Picture) -> Photo:
    if isinstance(picture, Photo):
        return picture
    if isinstance(picture, Image.Image):
        return Photo.from_image(picture)
    pixels = to_stored(picture)[0].cpu()
    pixels = pixels.float() if pixels.is_floating_point() else pixels
    return Photo(pixels.contiguous().numpy())


def nearest_regions(labels: Tensor) -> Tensor:
    r"""The region that each pixel is nearest to, in steps to one of eight neighbours.

    Args:
        labels: The number of the region of each pixel, and 0 outside of all, ``int64``, with
            shape :math:`(1, 1, h, w)`.

    Returns:
        The numbers, likewise, without 0 if there is any region.

    Example:
        >>> nearest_regions(torch.tensor([[[[0, 1, 0, 0, 0, 2]]]])).tolist()
        [[[[1, 1, 1, 2, 2, 2]]]]
    """
    if not labels.any():
        return labels
    while not labels.all():
        grown = F.max_pool2d(labels.double(), 3, stride=1, padding=1).long()
        labels = torch.where(labels == 0, grown, labels)
    return labels
