r"""Nodes for ComfyUI: harmonize a picture, predict its masks, change them, apply them.

A file `__init__.py` in a folder of its own within ComfyUI's `custom_nodes` makes them known::

    from opmask.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

ComfyUI's IMAGE is a batch :math:`(B, H, W, 3)` of sRGB in :math:`[0, 1]`, its MASK
:math:`(B, H, W)` in :math:`[0, 1]`. A mask in ComfyUI is what opmask calls a region; it may have
any size, and one of a batch of one is for all pictures. One of zeros counts as none, because that
is what ComfyUI loads with a picture that has no alpha. Operator masks travel as `OPMASK_EDITS`, a
list of one :class:`opmask.Edit` for each picture.

Data flow: `IMAGE, MASK -> Harmonize -> IMAGE`, or
`IMAGE, MASK -> PredictMasks -> OPMASK_EDITS -> EditMask -> Retouch -> IMAGE`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from opmask.checkpoints.native import load
from opmask.inference import Edit, plan
from opmask.inference.regions import same_aspect
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.model import resize

__all__ = [
    "NODE_CLASS_MAPPINGS",
    "NODE_DISPLAY_NAME_MAPPINGS",
    "EditMask",
    "Harmonize",
    "ModelNode",
    "PredictMasks",
    "Retouch",
]

EDITS = "OPMASK_EDITS"
REFINE: dict[str, bool | str] = {"auto": "auto", "yes": True, "no": False, "grabcut": "grabcut"}
Inputs = dict[str, dict[str, tuple[Any, ...]]]


class _Node:
    """What ComfyUI asks of every node."""

    CATEGORY = "opmask"
    FUNCTION = "run"


class ModelNode(_Node):
    """What the nodes that run a model have in common."""

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What goes in: names, types and options of widgets."""
        return {
            "required": {"image": ("IMAGE",)},
            "optional": {
                "mask": ("MASK", {"tooltip": "where the picture was changed; none: it is found"}),
                "strength": ("STRING", {"default": "auto", "tooltip": "auto, or a factor"}),
                "refine": (list(REFINE), {"tooltip": "make a rough mask finer first"}),
                "work_size": ("INT", {"default": 256, "min": 16, "max": 8192}),
                "checkpoint": (
                    "STRING",
                    {"default": "", "tooltip": "a file; else the bundled"},
                ),
            },
        }

    def run(
        self,
        image: Tensor,
        mask: Tensor | None = None,
        strength: str | float = "auto",
        refine: str = "auto",
        work_size: int = 256,
        checkpoint: str = "",
    ) -> tuple[Any, ...]:
        r"""Runs the model.

        Args:
            image: The pictures, with shape :math:`(B, H, W, 3)`, or more channels, which are left
                aside; sRGB in :math:`[0, 1]`.
            mask: Where they were changed, with shape :math:`(B, h, w)`, :math:`(1, h, w)` or
                :math:`(h, w)`, in :math:`[0, 1]`. `None`, or all 0: the model finds out.
            strength: "auto" or a number, see :func:`opmask.plan`.
            refine: "auto", "yes", "no", or "grabcut", which needs OpenCV.
            work_size: The longer side at which masks are predicted, in pixels.
            checkpoint: A model's file; the bundled model if empty.

        Returns:
            What the node makes of the edits.

        Raises:
            ValueError: If something has another shape or range; the message says what is wanted.
            OSError: If the checkpoint cannot be read.
        """
        pictures = _pictures(image)
        regions = _regions(mask, pictures)
        finer, factor = _refine(refine), _strength(strength)
        model, edits = _model(checkpoint.strip()), []
        for picture, region in zip(pictures, regions, strict=True):
            edit = plan(
                model,
                picture,
                region=region,
                refine=finer,
                strength=factor,
                work_size=work_size,
            )
            assert isinstance(edit, Edit)  # of one picture
            edits.append(edit)
        return self._made(image, pictures, edits)

    def _made(self, image: Tensor, pictures: Tensor, edits: list[Edit]) -> tuple[Any, ...]:
        """What comes out of the node."""
        raise NotImplementedError


class PredictMasks(ModelNode):
    r"""Predicts the operator masks that harmonize pictures: :func:`opmask.plan`.

    An edit for each picture comes out, and in words what they do.

    Example:
        >>> image = torch.rand(2, 48, 64, 3)
        >>> edits, said = PredictMasks().run(image)
        >>> len(edits), edits[0].size
        (2, (48, 64))
    """

    RETURN_TYPES: ClassVar = (EDITS, "STRING")
    RETURN_NAMES: ClassVar = ("edits", "explanation")

    def _made(self, image: Tensor, pictures: Tensor, edits: list[Edit]) -> tuple[list[Edit], str]:
        told = (edit.explain(p).sentences for edit, p in zip(edits, pictures, strict=True))
        return edits, "\n\n".join("\n".join(sentences) for sentences in told)


class Harmonize(ModelNode):
    """Harmonizes pictures: predicts the masks and applies them.

    Example:
        >>> image = torch.rand(1, 48, 64, 3)
        >>> (harmonized,) = Harmonize().run(image, strength=0)
        >>> torch.equal(harmonized, image)
        True
    """

    RETURN_TYPES: ClassVar = ("IMAGE",)

    def _made(self, image: Tensor, pictures: Tensor, edits: list[Edit]) -> tuple[Tensor]:
        return Retouch().run(image, edits)


class EditMask(_Node):
    """Changes a mask by hand, everywhere or within a region: :meth:`opmask.Edit.adjust`."""

    RETURN_TYPES: ClassVar = (EDITS,)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What goes in: names, types and options of widgets."""
        number = {"default": 0.0, "min": -100.0, "max": 100.0, "step": 0.01}
        return {
            "required": {
                "edits": (EDITS,),
                "name": ("STRING", {"default": "", "tooltip": "such as l_add; empty: all masks"}),
                "strength": ("FLOAT", {**number, "default": 1.0}),
                "offset": ("FLOAT", number),
            },
            "optional": {"mask": ("MASK", {"tooltip": "where; else everywhere"})},
        }

    def run(
        self,
        edits: list[Edit],
        name: str = "",
        strength: float = 1.0,
        offset: float = 0.0,
        mask: Tensor | None = None,
    ) -> tuple[list[Edit]]:
        """Changes one mask of each edit, or all of them.

        Args:
            edits: The edits.
            name: The mask; all of them if empty.
            strength: A factor on the distance from the identity.
            offset: A constant to add, in operator units.
            mask: Where, as for :meth:`ModelNode.run`; everywhere if `None`. Zeros are nowhere.

        Returns:
            New edits.

        Raises:
            ValueError: If there is no mask of that name, or something has another shape or range.
        """
        regions: list[Tensor | None] = [None] * len(edits)
        if mask is not None:
            sizes = [edit.source.size for edit in edits]
            planes = _planes(mask, len(edits))
            regions = [_resized(plane, size) for plane, size in zip(planes, sizes, strict=True)]
        try:
            changed = [
                edit.adjust(name.strip() or None, strength=strength, offset=offset, region=region)
                for edit, region in zip(edits, regions, strict=True)
            ]
        except KeyError as error:
            raise ValueError(f"'name' must be one of the edit's masks: {error.args[0]}") from None
        return (changed,)


class Retouch(_Node):
    """Applies edits to pictures, also to larger ones than they were planned on."""

    RETURN_TYPES: ClassVar = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What goes in: names, types and options of widgets."""
        return {"required": {"image": ("IMAGE",), "edits": (EDITS,)}}

    def run(self, image: Tensor, edits: list[Edit]) -> tuple[Tensor]:
        """Renders each picture (B, H, W, 3) with its edit; further channels stay as they are."""
        pictures = _pictures(image)
        if len(edits) not in (1, len(pictures)):
            raise ValueError(
                f"'edits' must hold one edit, or one for each of {len(pictures)} pictures, got "
                f"{len(edits)}."
            )
        each = edits * len(pictures) if len(edits) == 1 else edits
        pairs = zip(each, pictures, strict=True)
        made = torch.stack([edit.render(picture, force=True) for edit, picture in pairs])
        return (torch.cat([made.movedim(1, 3).to(image), image[..., 3:]], 3),)


def _pictures(image: Tensor) -> Tensor:
    """The pictures as (B, 3, H, W), `float32`, within [0, 1]."""
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[3] not in (3, 4):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"'image' must be an IMAGE of shape (B, H, W, 3), got {got}.")
    return image[..., :3].movedim(3, 1).float().clamp(0, 1).cpu()


def _regions(mask: Tensor | None, pictures: Tensor) -> list[Tensor | None]:
    """What each picture's mask says of where it was changed; `None` where it is empty."""
    if mask is None:
        return [None] * len(pictures)
    size = pictures.shape[2], pictures.shape[3]
    planes = _planes(mask, len(pictures))
    # As it was drawn, whether it is a box can be seen; ComfyUI also has masks of another shape.
    fits = same_aspect(size, (planes.shape[-2], planes.shape[-1]))
    return [(m if fits else _resized(m, size)) if m.any() else None for m in planes]


def _planes(mask: Tensor, count: int) -> Tensor:
    """A mask for each picture, (B, h, w)."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"'mask' must be a MASK of shape (B, H, W), got {got}.")
    planes = mask.float().cpu().view(-1, *mask.shape[-2:])
    if len(planes) not in (1, count):
        raise ValueError(
            f"'mask' must hold one mask, or one for each of {count} pictures, got {len(planes)}."
        )
    return planes.clamp(0, 1).expand(count, -1, -1)


def _resized(plane: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(plane[None, None], size)[0, 0]


def _refine(text: str) -> bool | str:
    if text not in REFINE:
        raise ValueError(f"'refine' must be {', '.join(REFINE)}, got {text!r}.")
    return REFINE[text]


def _strength(text: str | float) -> float | str:
    try:
        return "auto" if str(text).strip() == "auto" else float(text)
    except ValueError:
        raise ValueError(f"'strength' must be auto or a number, got {text!r}.") from None


@lru_cache(maxsize=2)
def _loaded(path: str, changed: int) -> OperatorMaskWrapper:
    model = load(path or None)
    if not isinstance(model, OperatorMaskWrapper):
        raise ValueError(f"'checkpoint' must be a model with operator masks, got {path}.")
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _model(path: str) -> OperatorMaskWrapper:
    """The model of a file, which is read anew when it has changed."""
    return _loaded(path, Path(path).stat().st_mtime_ns if path else 0)


NODE_CLASS_MAPPINGS = {
    "OpmaskHarmonize": Harmonize,
    "OpmaskPredictMasks": PredictMasks,
    "OpmaskEditMask": EditMask,
    "OpmaskRetouch": Retouch,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "OpmaskHarmonize": "Harmonize (opmask)",
    "OpmaskPredictMasks": "Predict operator masks (opmask)",
    "OpmaskEditMask": "Edit an operator mask (opmask)",
    "OpmaskRetouch": "Retouch with operator masks (opmask)",
}
