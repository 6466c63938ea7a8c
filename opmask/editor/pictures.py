r"""Pictures within the page: as data, so that no file is served.

Data flow: `image -> data URI -> page`, and `strokes painted in the page -> area`.
"""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.color import to_levels
from opmask.visualize import mask_to_rgb
from opmask.wrapper.model import resize

__all__ = ["area_uri", "map_uri", "photo_uri", "read_area"]

LONGEST_URI = 4 * 2**20
"""The longest data URI that is read, in characters."""

LARGEST_SIDE = 2048
"""The longest side of painted strokes, in pixels."""

THUMBNAIL = 160
"""The longer side of the picture of a mask, in pixels."""


def photo_uri(image: Tensor) -> str:
    r"""A preview of a photo as a data URI.

    Args:
        image: The preview, with shape :math:`(1, 3, h, w)`, in :math:`[0, 1]`.

    Returns:
        A JPEG as text.

    Example:
        >>> photo_uri(torch.rand(1, 3, 8, 8))[:23]
        'data:image/jpeg;base64,'
    """
    return _uri(_picture(image), "JPEG", quality=92, subsampling=0)


def map_uri(mask: Tensor, identity: float, limit: float) -> str:
    r"""A mask as a small picture: blue below its identity, red above.

    Args:
        mask: The mask, with shape :math:`(1, 1, h, w)`, in operator units.
        identity: The value at which it does nothing.
        limit: The distance from it at which the colours end.

    Returns:
        A PNG as a data URI.
    """
    height, width = mask.shape[-2:]
    scale = min(1.0, THUMBNAIL / max(height, width))
    small = resize(mask, (max(1, round(height * scale)), max(1, round(width * scale))))
    return _uri(_picture(mask_to_rgb(small, identity, limit)), "PNG")


def area_uri(area: Tensor) -> str:
    r"""An area as strokes, white on a transparent ground.

    Args:
        area: The area, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`.

    Returns:
        A PNG as a data URI, which :func:`read_area` reads.

    Example:
        >>> read_area(area_uri(torch.ones(1, 1, 6, 8)), (6, 8)).mean()
        tensor(1.)
    """
    alpha = to_levels(area.cpu())[0, 0].numpy()
    white = Image.new("L", alpha.shape[::-1], 255)
    return _uri(Image.merge("LA", [white, Image.fromarray(alpha)]), "PNG")


def read_area(uri: str, size: tuple[int, int]) -> Tensor:
    r"""What was painted in the page, as an area.

    Args:
        uri: A PNG as a data URI; what is opaque is inside.
        size: Height and width of the area, in pixels.

    Returns:
        The area, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`.

    Raises:
        ValueError: If it is no such picture, or larger than a page paints.
    """
    start = "data:image/png;base64,"
    if not (isinstance(uri, str) and uri.startswith(start) and len(uri) <= LONGEST_URI):
        raise ValueError("what was painted must be a small PNG. Reload the page.")
    try:
        with Image.open(
            io.BytesIO(base64.b64decode(uri[len(start) :])), formats=["PNG"]
        ) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise ValueError("it is too large")
            alpha = np.array(picture.convert("RGBA").getchannel("A"))
    except (OSError, ValueError, SyntaxError, binascii.Error) as error:
        raise ValueError(f"what was painted cannot be read: {error}. Reload the page.") from error
    return resize(torch.from_numpy(alpha)[None, None].float() / 255, size).clamp(0, 1)


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(to_levels(image.cpu())[0].permute(1, 2, 0).numpy())


def _uri(picture: Image.Image, kind: str, **how: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
