r"""An explanation as one picture: before, after, where and by how much, and a sentence a region.

The colours of the maps mean the same in every picture: their scale is fixed, in units of CIELAB,
and what nobody notices is neutral. Drawn with Pillow alone.

Data flow: `Explanation -> draw_panel -> picture`.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from opmask.color import to_levels
from opmask.inference.explain import NOTICEABLE, Explanation
from opmask.visualize import mask_to_rgb

__all__ = ["LIMIT", "draw_panel"]

LIMIT = 25.0
"""The change of L*, a* or b* at which the colours of the maps end."""

MOST = 8
"""How many regions are numbered and named."""

CELL = 360  # pixels, the longer side of a picture
GAP = 12
LINE = 24
INK, QUIET, PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)
OUTLINE = (255, 64, 32)
TITLES = (
    "before",
    "after",
    "L*: red is lighter",
    "a*: red is redder",
    "b*: red is yellower",
)


def draw_panel(explanation: Explanation) -> Image.Image:
    r"""Draws what an edit does.

    Args:
        explanation: What :meth:`opmask.Edit.explain` says.

    Returns:
        A picture with the photo before, with a line around the region that was told; and after,
        with the largest changed regions numbered; the signed change of L*, a* and b*, in blue
        where it is less and in red where it is more; the scale of these maps; and the sentences.

    Example:
        >>> import opmask
        >>> photo = Image.new("RGB", (64, 48), "teal")
        >>> draw_panel(opmask.plan(opmask.load(), photo).explain(photo)).mode
        'RGB'
    """
    seen = explanation.distance > NOTICEABLE
    maps = (explanation.change * seen).split(1, 1)
    cells = [_picture(explanation.before), _picture(explanation.after)]
    if explanation.region is not None:
        cells[0] = _around(cells[0], explanation.region)
    cells += [_picture(mask_to_rgb(m, 0.0, LIMIT)) for m in maps]
    width, height = cells[0].size
    _outline(cells[1], explanation)
    said = _shortened(explanation)
    canvas = Image.new(
        "RGB",
        (len(cells) * (width + GAP) + GAP, height + 4 * LINE + 2 * GAP + LINE * len(said)),
        PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    for i, (title, cell) in enumerate(zip(TITLES, cells, strict=True)):
        left = GAP + i * (width + GAP)
        draw.text((left, GAP // 2), title, INK, _font(15))
        canvas.paste(cell, (left, LINE + GAP // 2))
    top = height + LINE + GAP
    _legend(draw, canvas, GAP + 2 * (width + GAP), top, 3 * width + 2 * GAP)
    for i, sentence in enumerate(said):
        draw.text((GAP, top + 2 * LINE + i * LINE), sentence, INK, _font(16))
    return canvas


def _shortened(explanation: Explanation) -> list[str]:
    """The sentences, of the largest regions only."""
    said, smaller = explanation.sentences, len(explanation.regions) - MOST
    if smaller > 0:
        said[MOST : MOST + smaller] = [f"{smaller} smaller regions are not named."]
    return said


def _picture(image: Tensor) -> Image.Image:
    picture = Image.fromarray(to_levels(image.cpu())[0].permute(1, 2, 0).numpy())
    scale = CELL / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _around(picture: Image.Image, region: Tensor) -> Image.Image:
    """The picture with a line around what is inside of a region: white, with a dark rim."""
    inside = Image.fromarray((region[0, 0] > 0.5).byte().mul(255).cpu().numpy())
    inside = inside.resize(picture.size, Image.Resampling.BICUBIC).point(lambda v: 255 * (v > 127))
    for width, color in (7, INK), (5, PAPER):
        rim = ImageChops.difference(inside, inside.filter(ImageFilter.MinFilter(width)))
        picture.paste(color, mask=rim)
    return picture


def _outline(picture: Image.Image, explanation: Explanation) -> None:
    """Frames the changed regions, and numbers them."""
    draw = ImageDraw.Draw(picture)
    for i, region in enumerate(explanation.regions[:MOST], 1):
        across, down = picture.width / explanation.size[1], picture.height / explanation.size[0]
        x0, y0, x1, y1 = region.box
        box = x0 * across, y0 * down, x1 * across - 1, y1 * down - 1
        draw.rectangle(box, outline=OUTLINE, width=2)
        tag = draw.textbbox((box[0] + 4, box[1] + 2), str(i), _font(14))
        draw.rectangle((box[0], box[1], tag[2] + 4, tag[3] + 4), OUTLINE)
        draw.text((box[0] + 4, box[1] + 2), str(i), PAPER, _font(14))


def _legend(
    draw: ImageDraw.ImageDraw, canvas: Image.Image, left: int, top: int, width: int
) -> None:
    ramp = mask_to_rgb(torch.linspace(-1, 1, width).view(1, 1, 1, -1), 0.0, 1.0)
    levels = to_levels(ramp)[0].permute(1, 2, 0).numpy()
    canvas.paste(Image.fromarray(np.repeat(levels, LINE // 2, 0)), (left, top))
    texts = (f"-{LIMIT:.0f}", "0", f"+{LIMIT:.0f}, in L*, a* or b*")
    for text, share, anchor in zip(texts, (0, 0.5, 1), ("la", "ma", "ra"), strict=True):
        at = left + share * width, top + LINE // 2 + 3
        draw.text(at, text, QUIET, _font(13), anchor=anchor)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
