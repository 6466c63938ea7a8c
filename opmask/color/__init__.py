"""Colour spaces, and OpenCV's 8-bit LAB."""

from opmask.color.spaces import (
    HLS,
    HLS_CLAMPED,
    HSV,
    LAB,
    LAB_CENTERED,
    LAB_UNIT,
    LAB_UNIT_CLAMPED,
    LINEAR_RGB,
    OKLAB,
    RGB,
    ColorSpace,
    check_image,
    check_region,
    to_levels,
    with_lab,
)

__all__ = [
    "HLS",
    "HLS_CLAMPED",
    "HSV",
    "LAB",
    "LAB_CENTERED",
    "LAB_UNIT",
    "LAB_UNIT_CLAMPED",
    "LINEAR_RGB",
    "OKLAB",
    "RGB",
    "ColorSpace",
    "check_image",
    "check_region",
    "to_levels",
    "with_lab",
]
