"""Operators: the editing operations that masks steer.

`__all__` is the one table of them. Files describe an operator by its name there.
"""

from opmask.operators.base import MaskRange, Operator
from opmask.operators.channel import Add, Affine, HueShift, Mul
from opmask.operators.color import (
    ChannelMixer,
    HueRotate,
    Saturation,
    SelectiveColor,
    Vibrance,
)
from opmask.operators.composition import Gated, LowResolution, Parallel
from opmask.operators.curves import CDL, ColorCurve, LiftGammaGain, ToneCurve
from opmask.operators.detail import Blur, Clarity, Denoise, Sharpen
from opmask.operators.grain import Grain
from opmask.operators.light import Dehaze, Exposure, Relight, ToneEqualizer
from opmask.operators.looks import BleachBypass, Duotone, PhotoFilter, Sepia, SplitToning
from opmask.operators.steering import Frozen, Tied
from opmask.operators.tone import Brightness, Contrast, Gamma, Levels, ToneMap
from opmask.operators.white import Temperature, Tint
from opmask.operators.zones import Blacks, ColorBalance, Highlights, Midtones, Shadows, Whites

__all__ = [
    "CDL",
    "Add",
    "Affine",
    "Blacks",
    "BleachBypass",
    "Blur",
    "Brightness",
    "ChannelMixer",
    "Clarity",
    "ColorBalance",
    "ColorCurve",
    "Contrast",
    "Dehaze",
    "Denoise",
    "Duotone",
    "Exposure",
    "Frozen",
    "Gamma",
    "Gated",
    "Grain",
    "Highlights",
    "HueRotate",
    "HueShift",
    "Levels",
    "LiftGammaGain",
    "LowResolution",
    "MaskRange",
    "Midtones",
    "Mul",
    "Operator",
    "Parallel",
    "PhotoFilter",
    "Relight",
    "Saturation",
    "SelectiveColor",
    "Sepia",
    "Shadows",
    "Sharpen",
    "SplitToning",
    "Temperature",
    "Tied",
    "Tint",
    "ToneCurve",
    "ToneEqualizer",
    "ToneMap",
    "Vibrance",
    "Whites",
]
