r"""Planning the edit of a photo of any size and kind, with a model that was trained on small ones.

Masks, unlike pixels, survive being enlarged: they are predicted on a small copy and applied to the
photo itself.

Data flow: `photo -> small copy, region -> refine -> model -> masks -> half precision -> Edit ->
render -> photo`.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from opmask.files.photo import Photo
from opmask.files.reading import shorten
from opmask.inference.edit import LARGEST_MASK, Adjustment, Edit, Source, check_number
from opmask.inference.grabcut import need_opencv
from opmask.inference.refine import refined, to_refine, told_roughly, told_strengths
from opmask.inference.regions import shrink, tells_where, to_plane, within
from opmask.inference.warning import warn
from opmask.retouch.pil import as_photo, as_pil
from opmask.retouch.pixels import Picture, profile_of, shrink_photo, to_stored
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.model import fit_longer_side
from opmask.wrapper.sizes import SMALLEST

__all__ = [
    "check_model",
    "check_options",
    "check_size",
    "for_inference",
    "harmonize",
    "plan",
    "plan_each",
]

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)


@overload
def plan(
    model: OperatorMaskWrapper,
    image: Photo | Image.Image | np.ndarray,
    *,
    region: Image.Image | np.ndarray | Tensor | None = None,
    refine: bool | str = "auto",
    strength: float | str = "auto",
    work_size: int = 256,
) -> Edit: ...


@overload
def plan(
    model: OperatorMaskWrapper,
    image: Tensor,
    *,
    region: Image.Image | np.ndarray | Tensor | None = None,
    refine: bool | str = "auto",
    strength: float | str = "auto",
    work_size: int = 256,
) -> Edit | list[Edit]: ...


@torch.no_grad()
def plan(
    model: OperatorMaskWrapper,
    image: Picture,
    *,
    region: Image.Image | np.ndarray | Tensor | None = None,
    refine: bool | str = "auto",
    strength: float | str = "auto",
    work_size: int = 256,
) -> Edit | list[Edit]:
    r"""Plans how to harmonize a photo: predicts its operator masks at a small size.

    What comes back is a document: it renders the photo, shows what would be changed, is adjusted
    and saved, all without the model.

    Args:
        model: The model. It runs where it is, in evaluation mode, and is not changed: several
            threads may share it. Of one in training mode each call runs a copy that shares its
            weights, so call `model.eval()` before many.
        image: A :class:`~opmask.files.photo.Photo`; a PIL image of mode RGB, RGBA, L, LA, P, PA or
            I;16; an array, with shape :math:`(H, W, 3)`, or :math:`(H, W)` for grey; or a tensor,
            with shape :math:`(3, H, W)` or :math:`(B, 3, H, W)`. Arrays and tensors are ``uint8``
            in 0-255, ``uint16`` in 0-65535, or floating point in :math:`[0, 1]`. Height and width
            at least 16.
        region: Where the photo was changed: 1 inside, 0 outside, soft between, -1 unknown. A PIL
            image of any mode and orientation that is grey or a cut-out, see
            :func:`opmask.files.regions.to_region`; or an array or a tensor, with shape
            :math:`(H, W)`, :math:`(1, H, W)` or :math:`(B, 1, H, W)`: bool, floating point, or
            ``uint8`` or ``uint16``, where 0 and one other value are outside and inside, and more
            values are soft, see :func:`opmask.files.regions.soft`. Another size is fine if the
            aspect ratio is the same. Nothing but the region and its soft edge is changed. All 0:
            nothing was changed, and the photo comes back as it is. All 1: everything was changed,
            and the model has nothing to compare with. All -1: the same as `None`, the model finds
            out by itself. Only for models built with `region=True`.
        refine: Whether the region is made finer first: the model says which part of it was
            changed, and masks are predicted for that. "auto": where the region is rough, boxes or
            strokes (:func:`opmask.inference.refine.is_rough`), by models that were found fit for
            it (`model.calibration.refines`). "grabcut": where it is rough, by any model with a
            gate, and then GrabCut goes over it, which follows edges; needs OpenCV, the extra
            `fast`. False: the region is exact, whatever its shape. If the model finds nothing
            there, the region is taken as it is, with a warning. What came
            of it is the edit's `region`. Where nothing is told to be inside, there is nothing to
            refine.
        strength: A factor on the distance of every mask from its identity, so that the output
            moves from the input by about as much: 0 changes nothing, 1 does what the model says.
            At most what its calibration allows (`model.calibration.limit`), which is taken of
            more, with a warning.
            "auto" is what the model's calibration says: of regions that are told, exactly or
            roughly, see `refine`, and by how much the model would change them
            (:meth:`opmask.Calibration.told_strengths`); and of each region that the model had to
            find. Without a calibration it is 1. It is the edit's first adjustment, so that it can
            be undone.
        work_size: The longer side at which masks are predicted, in pixels, at least 16. Smaller
            photos are not enlarged. At most 8192. A network whose model has a height and a width
            as its own `size` runs at that.

    Returns:
        The edit; of a tensor with a batch, one for each image.

    Raises:
        TypeError: If `model` predicts no masks, or `image`, `region`, `refine`, `strength` or
            `work_size` is of another kind or data type.
        ValueError: If a mode, shape, range or size is another one, the sizes of region and photo
            do not fit, the model is blind and a region is given, it is to refine one and has no
            gate, or its weights or masks are not finite.
        ImportError: If `refine` is "grabcut" and OpenCV is not installed.

    Example:
        >>> import opmask
        >>> photo = Image.new("RGB", (640, 480), "teal")
        >>> edit = plan(opmask.load(), photo)
        >>> edit.size, edit.render(photo).size
        ((192, 256), (640, 480))
    """
    check_model(model, region is not None)
    check_options(strength, work_size, refine)
    if isinstance(image, Image.Image):
        image = as_photo(image)
    edits = plan_each(
        model, to_stored(image), profile_of(image), region, refine, strength, work_size
    )
    return edits if isinstance(image, Tensor) and image.ndim == 4 else edits[0]


def harmonize(
    model: OperatorMaskWrapper,
    image: T,
    *,
    region: Image.Image | np.ndarray | Tensor | None = None,
    refine: bool | str = "auto",
    strength: float | str = "auto",
    work_size: int = 256,
) -> T:
    r"""Harmonizes a photo: :func:`plan` and :meth:`opmask.Edit.render`, and nothing else.

    What comes back is of the kind, type and size of what was handed in, on the same device. Where
    the masks are at their identity, pixels stay exactly as they are.

    Colours are what the ICC profile of a photo or a PIL image says; those that sRGB does not have
    are kept. A PIL image comes back upright, with its EXIF orientation applied and removed; its
    alpha, ICC profile, EXIF, XMP and resolution are kept. Grey photos stay grey, and palettes
    become RGB or RGBA, see :func:`opmask.retouch.pil.as_photo`.

    Args:
        model: As for :func:`plan`.
        image: As for :func:`plan`.
        region: As for :func:`plan`.
        refine: As for :func:`plan`.
        strength: As for :func:`plan`.
        work_size: As for :func:`plan`.

    Returns:
        The harmonized photo, without gradient.

    Raises:
        TypeError: As for :func:`plan`.
        ValueError: As for :func:`plan`.
        ImportError: As for :func:`plan`.

    Example:
        >>> import opmask
        >>> model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
        >>> photo = Image.new("RGB", (640, 480), "teal")
        >>> harmonize(model, photo) == photo  # the model is untrained
        True
    """
    if isinstance(image, Image.Image):
        photo = as_photo(image)
        made = harmonize(
            model, photo, region=region, refine=refine, strength=strength, work_size=work_size
        )
        return as_pil(made, image)
    edits = plan(
        model, image, region=region, refine=refine, strength=strength, work_size=work_size
    )
    if isinstance(edits, Edit):
        return edits.render(image)
    pairs = zip(edits, image, strict=True)
    return torch.stack([edit.render(one) for edit, one in pairs])


def check_model(model: OperatorMaskWrapper, guided: bool) -> None:
    """Raises unless :func:`harmonize` takes this model, with a region if `guided`."""
    if not isinstance(model, OperatorMaskWrapper):
        raise TypeError(
            f"'model' must be an OperatorMaskWrapper, got {type(model).__name__}. Others have no "
            "masks to apply at another size, or hide them."
        )
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(
                f"'model' must have finite weights, but {name!r} has other values. Half precision "
                "cannot hold all numbers: use model.bfloat16() or single precision."
            )
    if guided and not model.region:
        raise ValueError(
            "'region' must be None for a blind model, one that was built without region=True."
        )


def check_options(strength: float | str, work_size: int, refine: bool | str = "auto") -> None:
    """Raises unless :func:`harmonize` takes these."""
    if isinstance(refine, str) and refine not in ("auto", "grabcut"):
        raise ValueError(f"'refine' must be 'auto', 'grabcut', True or False, got {refine!r}.")
    if not isinstance(refine, bool | np.bool_ | str):
        raise TypeError(
            f"'refine' must be 'auto', 'grabcut', True or False, got {type(refine).__name__}."
        )
    if isinstance(refine, str) and refine == "grabcut":
        need_opencv()
    if isinstance(strength, str):
        if strength != "auto":
            raise ValueError(f"'strength' must be 'auto' or a number, got {strength!r}.")
    else:
        check_number("strength", strength, 0.0, "'auto' or at least 0 and finite")
    if not hasattr(work_size, "__index__"):
        raise TypeError(f"'work_size' must be a whole number, got {type(work_size).__name__}.")
    if work_size < SMALLEST:
        raise ValueError(f"'work_size' must be at least {SMALLEST} pixels, got {work_size}.")
    if work_size > LARGEST_MASK:
        raise ValueError(
            f"'work_size' must be at most {LARGEST_MASK} pixels, got {shorten(work_size)}."
        )


def check_size(size: tuple[int, int]) -> None:
    """Raises unless :func:`harmonize` takes images of that height and width."""
    if min(size) < SMALLEST:
        raise ValueError(
            f"'image' must be at least {SMALLEST}x{SMALLEST} pixels, got {size[0]}x{size[1]}."
        )


def plan_each(
    model: OperatorMaskWrapper,
    stored: Tensor,
    profile: bytes | None,
    region: Image.Image | np.ndarray | Tensor | None,
    refine: bool | str,
    strength: float | str,
    work_size: int,
) -> list[Edit]:
    """An edit for each picture of a batch of stored pixels, with shape (B, H, W, C).

    `refine` may also be "never": boxes and strokes are taken for what they are, but not refined.
    """
    full = stored.shape[1], stored.shape[2]
    check_size(full)
    size = fit_longer_side(full, work_size)
    device = next(model.backbone.parameters()).device
    small = torch.cat([shrink_photo(one, size, profile) for one in stored]).to(device)
    given, rough = None, [False] * len(stored)
    if region is not None:
        told_plane = to_plane(region, full, len(stored)).to(device)
        rough = told_roughly(told_plane, refine)
        given = shrink(told_plane, size)
    network = for_inference(model)
    # A size of the model's own, height and width, is the one that its network was made for.
    working = None if isinstance(model.size, tuple) else size
    if given is not None:
        chosen = to_refine(model, rough, refine)
        given = refined(network, small, given, chosen, working, grabcut=refine == "grabcut")
    masks = network.predict(small, given, size=working)
    if given is not None:
        masks = within(model.retoucher, masks, given)
    predicted = {name: mask.half() for name, mask in masks.items()}
    for name, mask in predicted.items():
        if not mask.isfinite().all():
            raise ValueError(
                f"'model' must predict masks that half precision holds, but {name!r} has values "
                "beyond 65504, or NaN."
            )
    trusted = None
    if strength == "auto" and given is not None:
        trusted = told_strengths(model, small, masks, given, rough)
    edits = []
    for i, one in enumerate(stored):
        own = {name: mask[i : i + 1] for name, mask in predicted.items()}
        known = given is not None and bool((given[i] >= 0).any())
        # Told only what is outside, the model has to find the region as well.
        told = given is not None and tells_where(given[i])
        share = None if trusted is None or not told else trusted[i].item()
        first = _first_adjustment(model, own, strength, share)
        used = given[i : i + 1].half() if given is not None and known else None
        edits.append(Edit(own, model.retoucher, Source.of(one), first, used))
    return edits


def _first_adjustment(
    model: OperatorMaskWrapper,
    masks: dict[str, Tensor],
    strength: float | str,
    trusted: float | None,
) -> tuple[Adjustment, ...]:
    """The strength of a plan as an adjustment; none where it is 1.

    `trusted` is the strength of a region that is told.
    """
    factor, trust = 1.0, model.calibration
    if strength != "auto":
        factor = _within_limit(model, float(strength))
    elif trusted is not None:
        factor = trusted
    elif trust is not None and "gate" in masks:
        # Back to the identity, by as much as the found region is not trusted.
        doubt = 1 - trust.strengths(masks["gate"].float())
        return (Adjustment(strength=0.0, region=doubt.half()),)
    return () if factor == 1 else (Adjustment(strength=factor),)


def _within_limit(model: OperatorMaskWrapper, strength: float) -> float:
    """The strength, or what the model's calibration allows."""
    limit = None if model.calibration is None else model.calibration.limit
    if limit is None or strength <= limit:
        return strength
    warn(
        f"{limit:g} is taken for a strength of {strength:g}: beyond it, results of this model "
        "were found worse than the photo, or of another hue."
    )
    return limit


def for_inference(model: M) -> M:
    r"""A model in evaluation mode that may be run in any thread.

    Args:
        model: The model, in any mode. It is not changed.

    Returns:
        The model itself if each of its modules is in evaluation mode; otherwise a copy in
        evaluation mode that shares its weights.

    Raises:
        ValueError: If the model is in training mode and holds what cannot be copied.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        >>> ready = for_inference(model)
        >>> ready.training, model.training, ready[0].weight is model[0].weight
        (False, True, True)
        >>> for_inference(ready) is ready
        True
    """
    if not any(module.training for module in model.modules()):
        return model
    # What the memo holds counts as copied already. Attributes are in it as well, because weights
    # that a spectral norm computed are some, and deepcopy refuses a tensor with a history.
    attributes = (vars(module).values() for module in model.modules())
    held = chain(model.parameters(), model.buffers(), *attributes)
    memo = {id(tensor): tensor for tensor in held if isinstance(tensor, Tensor)}
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # whatever a network's own attributes raise
        raise ValueError(
            "'model' must be in evaluation mode, or a network that copy.deepcopy can copy, got "
            f"{type(error).__name__}: {error}. Call model.eval() first."
        ) from error
