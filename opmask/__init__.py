"""Operator masks: editable maps that say where and how much to change a photo.

Data flow: `image -> backbone + mask head -> logits -> masks -> retoucher -> image`. See `docs/`
for the five nouns.
"""

from opmask import backbones, checkpoints, datasets, export, losses, metrics, perturb, testing
from opmask._version import __version__
from opmask.checkpoints import load, save
from opmask.color import (
    HLS,
    HLS_CLAMPED,
    HSV,
    LAB,
    LAB_CENTERED,
    LAB_UNIT,
    LINEAR_RGB,
    RGB,
    ColorSpace,
)
from opmask.discriminator import PatchDiscriminator
from opmask.fitting import fit_masks
from opmask.inference import harmonize
from opmask.operators import Add, Gated, MaskRange, Mul, Operator
from opmask.retouch import Retoucher, hls_retoucher, lab_retoucher, paper_hls_retoucher
from opmask.wrapper import OperatorMaskWrapper, Retouched
from opmask.wrapper.baseline import DirectRGB
from opmask.wrapper.calibration import Calibration
from opmask.wrapper.heads import OutputHead

__all__ = [
    "HLS",
    "HLS_CLAMPED",
    "HSV",
    "LAB",
    "LAB_CENTERED",
    "LAB_UNIT",
    "LINEAR_RGB",
    "RGB",
    "Add",
    "Calibration",
    "ColorSpace",
    "DirectRGB",
    "Gated",
    "MaskRange",
    "Mul",
    "Operator",
    "OperatorMaskWrapper",
    "OutputHead",
    "PatchDiscriminator",
    "Retouched",
    "Retoucher",
    "__version__",
    "backbones",
    "checkpoints",
    "datasets",
    "export",
    "fit_masks",
    "harmonize",
    "hls_retoucher",
    "lab_retoucher",
    "load",
    "losses",
    "metrics",
    "paper_hls_retoucher",
    "perturb",
    "save",
    "testing",
]
