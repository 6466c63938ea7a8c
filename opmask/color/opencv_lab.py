r"""The 8-bit LAB of OpenCV: what "LAB" means in the paper's data and in its released files.

OpenCV converts 8-bit images with integer tables, and rounds on the way. The reference code trains
and scores on those codes, so whoever wants its numbers needs the same ones. Both functions here
give OpenCV's codes, bit for bit, on any device, without OpenCV; where it is installed, it does the
work on a CPU, three times as fast. They are for reproducing; to edit a photo, :data:`opmask.LAB`
loses nothing.

8-bit RGB -> ``rgb_to_lab8`` -> codes (perturbed, scored, saved) -> ``lab8_to_rgb`` -> 8-bit RGB.

References:
    | OpenCV, modules/imgproc/src/color_lab.cpp (OpenCV team, Apache License 2.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from opmask.color.opencv import opencv_if_equal

__all__ = ["lab8_to_rgb", "rgb_to_lab8"]

_WHITE = (0.950456, 1.0, 1.088754)
_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_TO_RGB = (
    (3.240479, -1.53715, -0.498535),
    (-0.969256, 1.875991, 0.041556),
    (0.055648, -0.204043, 1.057311),
)

# The integer that stands for 1 of each quantity.
_MATRIX_BITS = 12
_LIGHT = 255 * 2**3  # linear light, on the way to LAB
_ROOT_BITS = 15  # CIELAB's f, on the way to LAB
_XYZ_BITS = 14  # X, Y, Z and f, on the way back
_LIGHT_BITS = 12  # linear light, on the way back

_BLOCK = 2**15  # pixels that OpenCV converts at once


def rgb_to_lab8(image: Tensor) -> Tensor:
    r"""Converts 8-bit RGB to OpenCV's 8-bit LAB.

    .. math:: (L, a, b) \mapsto (2.55 L,\; a + 128,\; b + 128)

    Equals ``cv2.cvtColor(image, cv2.COLOR_RGB2LAB)`` for each of the :math:`2^{24}` colours. A
    code stands for about 0.4 units of :math:`L` and 1 of :math:`a` and :math:`b`.

    Args:
        image: The sRGB image, ``uint8``, with shape :math:`(*, 3, H, W)`, in 0-255.

    Returns:
        The codes of :math:`L`, :math:`a` and :math:`b`, with the type and shape of `image`.

    Example:
        >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)
        >>> rgb_to_lab8(red).flatten()
        tensor([136, 208, 195], dtype=torch.uint8)
    """
    cv2 = _opencv(image, _to_lab8, _to_lab8_with_opencv)
    return _to_lab8(image) if cv2 is None else _to_lab8_with_opencv(cv2, image)


def _to_lab8(image: Tensor) -> Tensor:
    to_light, to_root = _light_of_code().to(image.device), _root_of_light().to(image.device)
    light = [_look_up(to_light, channel) for channel in image.unbind(-3)]
    x, y, z = (
        _look_up(to_root, _descale(_dot(row, light), _MATRIX_BITS)) for row in _xyz_of_light()
    )
    # 296 is 2.55 * 116, rounded: so are the codes.
    scaled = (
        296 * y - (16 * 255 << _ROOT_BITS) // 100,
        500 * (x - y) + (128 << _ROOT_BITS),
        200 * (y - z) + (128 << _ROOT_BITS),
    )
    return torch.stack([_descale(code, _ROOT_BITS).to(torch.uint8) for code in scaled], dim=-3)


def lab8_to_rgb(codes: Tensor) -> Tensor:
    r"""Converts OpenCV's 8-bit LAB to 8-bit RGB.

    Equals ``cv2.cvtColor(codes, cv2.COLOR_LAB2RGB)`` for each of the :math:`2^{24}` codes. Colours
    out of gamut are clipped, in linear light.

    Args:
        codes: The codes of :math:`L`, :math:`a` and :math:`b`, ``uint8``, with shape
            :math:`(*, 3, H, W)`, as :func:`rgb_to_lab8` gives them.

    Returns:
        The sRGB image, with the type and shape of `codes`, in 0-255.

    Example:
        >>> codes = torch.tensor([136, 208, 195], dtype=torch.uint8).view(3, 1, 1)
        >>> lab8_to_rgb(codes).flatten()  # red, but for the rounding
        tensor([255,   2,   1], dtype=torch.uint8)
    """
    cv2 = _opencv(codes, _to_rgb, _to_rgb_with_opencv)
    return _to_rgb(codes) if cv2 is None else _to_rgb_with_opencv(cv2, codes)


def _to_rgb(codes: Tensor) -> Tensor:
    to_y, to_root = (table.to(codes.device) for table in _y_and_root_of_lightness())
    lightness, a, b = (channel.int() for channel in codes.unbind(-3))
    root = _look_up(to_root, lightness)
    # a / 500 and b / 200 as OpenCV rounds them.
    a = ((5 * 53687 * a + 2**7) >> 13) - (128 << _XYZ_BITS) // 500
    b = ((41943 * b + 2**4) >> 9) - (128 << _XYZ_BITS) // 200 + 1
    xyz = (_cube(root + a), _look_up(to_y, lightness), _cube(root - b))
    to_code, shift = _code_of_light().to(codes.device), _MATRIX_BITS + _XYZ_BITS - _LIGHT_BITS
    light = (_descale(_dot(row, xyz), shift) for row in _light_of_xyz())
    return torch.stack([_look_up(to_code, x.clamp_(0, 2**_LIGHT_BITS - 1)) for x in light], dim=-3)


def _opencv(image: Tensor, *forms: Callable[..., Tensor]) -> ModuleType | None:
    """OpenCV, if it can do the same to this image."""
    is_plain = image.device.type == "cpu" and image.dtype == torch.uint8
    return opencv_if_equal(*forms) if is_plain and image.numel() else None


def _to_lab8_with_opencv(cv2: ModuleType, image: Tensor) -> Tensor:
    return _convert(cv2, image, cv2.COLOR_RGB2LAB)


def _to_rgb_with_opencv(cv2: ModuleType, codes: Tensor) -> Tensor:
    return _convert(cv2, codes, cv2.COLOR_LAB2RGB)


def _convert(cv2: ModuleType, image: Tensor, code: int) -> Tensor:
    """Converts planes in blocks that stay in the cache, as rows, which one thread does."""
    result = torch.empty(image.shape, dtype=torch.uint8)
    shape = (-1, 3, 1, image.shape[-2] * image.shape[-1])
    for planes, made in zip(image.reshape(shape).numpy(), result.view(shape).numpy(), strict=True):
        for start in range(0, shape[-1], _BLOCK):
            block = slice(start, start + _BLOCK)
            pixels = cv2.cvtColor(cv2.merge(list(planes[..., block])), code)
            made[..., block] = cv2.split(pixels)
    return result


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    # Three times as fast as table[index].
    return table.index_select(0, index.flatten().int()).view(index.shape)


def _dot(weights: Sequence[int], planes: Sequence[Tensor]) -> Tensor:
    red, green, blue = (weight * plane for weight, plane in zip(weights, planes, strict=True))
    return red.add_(green).add_(blue)


def _descale(value: Tensor, bits: int) -> Tensor:
    """Divides by a power of two, rounding half up."""
    return (value + 2 ** (bits - 1)) >> bits


def _cube(root: Tensor) -> Tensor:
    """X or Z of its f: the cube, or below 6/29 a straight line."""
    offset = ((16 << _XYZ_BITS) // 116) * 108 // 841
    line = torch.div(108 * root, 841, rounding_mode="trunc") - offset
    cube = (((root * root) >> _XYZ_BITS) * root) >> _XYZ_BITS
    return torch.where(root <= (6 << _XYZ_BITS) // 29, line, cube)


@cache
def _xyz_of_light() -> list[list[int]]:
    """The matrix from linear RGB to X, Y, Z of white 1, row by row."""
    rows = zip(_FROM_RGB, _WHITE, strict=True)
    return [[round(x / white * 2**_MATRIX_BITS) for x in row] for row, white in rows]


@cache
def _light_of_xyz() -> list[list[int]]:
    """The matrix back, row by row."""
    scales = [white * 2**_MATRIX_BITS for white in _WHITE]
    return [[round(x * scale) for x, scale in zip(row, scales, strict=True)] for row in _TO_RGB]


# The tables are made once, and on the CPU, so that every device gets the same ones.


@cache
def _light_of_code() -> Tensor:
    code = torch.arange(256, dtype=torch.float64) / 255
    return _rounded(
        _LIGHT * torch.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    )


@cache
def _root_of_light() -> Tensor:
    light = torch.arange(_LIGHT + 1, dtype=torch.float64) / _LIGHT
    root = torch.where(light > (6 / 29) ** 3, light ** (1 / 3), light * 841 / 108 + 16 / 116)
    # OpenCV rounds to float32 in between, which moves two entries.
    return _rounded(root.float() * 2**_ROOT_BITS)


@cache
def _y_and_root_of_lightness() -> tuple[Tensor, Tensor]:
    lightness = torch.arange(256, dtype=torch.float64) * 100 / 255
    root = (lightness + 16) / 116
    y = torch.where(lightness > 8, root**3, lightness * 27 / 29**3)
    return _rounded(y * 2**_XYZ_BITS), _rounded(root * 2**_XYZ_BITS)


@cache
def _code_of_light() -> Tensor:
    light = torch.arange(2**_LIGHT_BITS, dtype=torch.float64) / 2**_LIGHT_BITS
    code = torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return _rounded(255 * code).to(torch.uint8)


def _rounded(values: Tensor) -> Tensor:
    return values.round().int()
