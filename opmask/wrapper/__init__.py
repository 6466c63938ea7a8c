"""The wrapper: any image-to-image network becomes one that predicts operator masks."""

from opmask.wrapper.baseline import DirectRGB
from opmask.wrapper.calibration import Calibration
from opmask.wrapper.heads import OutputHead
from opmask.wrapper.model import OperatorMaskWrapper, Retouched

__all__ = [
    "Calibration",
    "DirectRGB",
    "OperatorMaskWrapper",
    "OutputHead",
    "Retouched",
]
