"""Retouching: operator masks applied to an image, ready-made sets, and which masks are twins."""

from opmask.retouch.decoupling import Ambiguity, ambiguity
from opmask.retouch.presets import (
    hls_retoucher,
    lab_retoucher,
    paper_hls_retoucher,
    paper_lab_retoucher,
    photo_retoucher,
)
from opmask.retouch.retoucher import Retoucher

__all__ = [
    "Ambiguity",
    "Retoucher",
    "ambiguity",
    "hls_retoucher",
    "lab_retoucher",
    "paper_hls_retoucher",
    "paper_lab_retoucher",
    "photo_retoucher",
]
