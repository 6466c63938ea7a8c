"""Operator masks: editable maps that say where and how much to change a photo.

Data flow: `image -> backbone + mask head -> logits -> masks -> retoucher -> image`. See `docs/`
for the five nouns.

A name is imported when it is first asked for (PEP 562), so that `import opmask` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from opmask._version import __version__

# For type checkers. Python finds the same by `_HOMES`; a test compares the two.
if TYPE_CHECKING:
    from opmask import backbones, checkpoints, datasets, export, losses, metrics, perturb, testing
    from opmask.checkpoints import load, save
    from opmask.color import (
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
    )
    from opmask.discriminator import DomainVerificationDiscriminator, PatchDiscriminator
    from opmask.fitting import fit_masks
    from opmask.inference import Edit, Photo, harmonize, read_photo, write_photo
    from opmask.inference.plan import plan  # of the module, whose name mypy confuses with it
    from opmask.operators import Add, Gated, MaskRange, Mul, Operator
    from opmask.retouch import (
        Retoucher,
        hls_retoucher,
        lab_retoucher,
        paper_hls_retoucher,
        paper_lab_retoucher,
        photo_retoucher,
    )
    from opmask.wrapper import Calibration, DirectRGB, OperatorMaskWrapper, OutputHead, Retouched

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
    "Add",
    "Calibration",
    "ColorSpace",
    "DirectRGB",
    "DomainVerificationDiscriminator",
    "Edit",
    "Gated",
    "MaskRange",
    "Mul",
    "Operator",
    "OperatorMaskWrapper",
    "OutputHead",
    "PatchDiscriminator",
    "Photo",
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
    "paper_lab_retoucher",
    "perturb",
    "photo_retoucher",
    "plan",
    "read_photo",
    "save",
    "testing",
    "write_photo",
]

# The rooms, which are names of the package themselves (`opmask.color` needs no import of its own),
# and what each of them gives to the package. (The package lazy_loader does the same, but would be
# one more to install, for these few lines.)
_HOMES: dict[str, tuple[str, ...]] = {
    "backbones": (),
    "checkpoints": ("load", "save"),
    "color": (
        *("HLS", "HLS_CLAMPED", "HSV", "LAB", "LAB_CENTERED", "LAB_UNIT", "LAB_UNIT_CLAMPED"),
        *("LINEAR_RGB", "OKLAB", "RGB", "ColorSpace"),
    ),
    "datasets": (),
    "discriminator": ("DomainVerificationDiscriminator", "PatchDiscriminator"),
    "export": (),
    "files": (),
    "fitting": ("fit_masks",),
    "inference": ("Edit", "Photo", "harmonize", "plan", "read_photo", "write_photo"),
    "losses": (),
    "markdown": (),
    "metrics": (),
    "operators": ("Add", "Gated", "MaskRange", "Mul", "Operator"),
    "perturb": (),
    "retouch": (
        *("Retoucher", "hls_retoucher", "lab_retoucher", "paper_hls_retoucher"),
        *("paper_lab_retoucher", "photo_retoucher"),
    ),
    "testing": (),
    "wrapper": ("Calibration", "DirectRGB", "OperatorMaskWrapper", "OutputHead", "Retouched"),
}

if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Imports a room, or what it gives to the package, when it is first asked for."""
        room = name if name in _HOMES else _room_of(name)
        module = import_module(f"opmask.{room}")  # once, however many threads ask
        if room == name:
            return module
        value = globals()[name] = getattr(module, name)
        return value


def _room_of(name: str) -> str:
    for room, names in _HOMES.items():
        if name in names:
            return room
    raise AttributeError(f"module 'opmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *__all__})
