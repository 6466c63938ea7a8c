r"""The edit of a photo: its masks, what they do, and what was adjusted since.

An edit is a document. It renders the photo it was planned for at full size, is changed by
adjustments that can be undone, and is saved and read again without the network.

Data flow: `plan -> Edit -> adjust, undo -> Edit -> render(photo) -> photo`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.files.reading import shorten
from opmask.inference.explain import Explanation, compare
from opmask.inference.regions import same_aspect, shrink, to_plane
from opmask.inference.warning import warn
from opmask.operators import MaskRange
from opmask.retouch import Retoucher
from opmask.retouch.pil import as_photo, as_pil
from opmask.retouch.pixels import Picture, like, profile_of, strips, to_stored

__all__ = ["Adjustment", "Edit", "Source"]

T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)

LARGEST_MASK = 8192
"""The longest side of a mask, in pixels."""

LARGEST_NUMBER = 1e6
"""The largest strength or offset; files with larger ones are refused, too."""


SHUT = 0.05
"""How far a gate must be open, of 1, for what it lets through to count."""


@dataclass(frozen=True)
class Source:
    r"""What is known of the photo that an edit was planned for.

    Args:
        size: Its height and width, in pixels.
        sha256: The SHA-256 of its pixels, decoded and upright, in hexadecimal digits.
    """

    size: tuple[int, int]
    sha256: str

    @classmethod
    def of(cls, stored: Tensor) -> Source:
        r"""The source whose stored pixels are given, with shape :math:`(H, W, C)`, of any range.

        The same levels give the same sum, whether they came as an image, an array or a tensor.

        Example:
            >>> Source.of(torch.zeros(4, 6, 3, dtype=torch.uint8)).sha256[:8]
            'ed15b7ab'
        """
        height, width, channels = stored.shape
        kind = f"{height}x{width}x{channels} {str(stored.dtype).removeprefix('torch.')} "
        digest = hashlib.sha256(kind.encode())
        for rows in strips((height, width)):
            bits = stored[rows].contiguous().cpu().flatten().view(torch.uint8)
            digest.update(memoryview(bits.numpy()))  # type: ignore[arg-type]
        return cls((height, width), digest.hexdigest())


@dataclass(frozen=True, eq=False)
class Adjustment:
    r"""One change of an edit's masks, see :meth:`Edit.adjust`.

    Args:
        name: The mask to change. If `None`, all but the gates.
        strength: A factor on the distance from the identity.
        offset: A constant to add, in operator units.
        region: Where, in half precision, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`;
            everywhere if `None`.
    """

    name: str | None = None
    strength: float = 1.0
    offset: float = 0.0
    region: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    r"""Masks for a photo, and what was adjusted in them; never changed in place.

    :func:`opmask.plan` makes one.

    Args:
        predicted: The masks by name as the model predicted them, in half precision, each with
            shape :math:`(1, 1, h, w)`, in operator units.
        retoucher: What the masks do.
        source: The photo that they were predicted for.
        adjustments: What was changed since, in order. :func:`opmask.plan` begins with one where
            the strength is not 1.
        region: The region that the masks were predicted for, in half precision, with shape
            :math:`(1, 1, h, w)`: 1 inside, 0 outside, -1 unknown. It is what was told, or what the
            model refined of it; `None` if nothing was told.

    Example:
        >>> import opmask
        >>> photo = Image.new("RGB", (640, 480), "teal")
        >>> edit = opmask.plan(opmask.load(), photo)
        >>> brighter = edit.adjust("l_add", offset=0.1)  # by L* = 10
        >>> brighter.render(photo).getpixel((0, 0)) > photo.getpixel((0, 0))
        True
        >>> brighter.undo().render(photo) == edit.render(photo)
        True
    """

    predicted: Mapping[str, Tensor]
    retoucher: Retoucher
    source: Source
    adjustments: tuple[Adjustment, ...] = ()
    region: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the masks, in pixels."""
        mask = next(iter(self.predicted.values()))
        return mask.shape[-2], mask.shape[-1]

    def masks(self, effective: bool = False) -> dict[str, Tensor]:
        r"""The masks with all adjustments.

        Args:
            effective: Whether gates are multiplied in, and left out. What a gated model says
                where its gate is shut has no effect, and misleads.

        Returns:
            New masks by name, each ``float32``, with shape :math:`(1, 1, h, w)`, in operator
            units.
        """
        ranges = self.retoucher.ranges
        masks = {name: _in_single(mask, ranges[name]) for name, mask in self.predicted.items()}
        masks = self._adjusted(masks, self.adjustments)
        return self.retoucher.effective(masks) if effective else masks

    def _adjusted(
        self, masks: dict[str, Tensor], adjustments: Iterable[Adjustment]
    ) -> dict[str, Tensor]:
        """Masks after adjustments, in order."""
        for a in adjustments:
            region = 1.0 if a.region is None else a.region.float()
            masks = self.retoucher.edit(
                masks, a.name, strength=a.strength, offset=a.offset, region=region
            )
        return masks

    def adjust(
        self,
        name: str | None = None,
        *,
        strength: float = 1.0,
        offset: float = 0.0,
        region: Image.Image | np.ndarray | Tensor | None = None,
    ) -> Edit:
        r"""Changes one mask, or all of them, see :meth:`opmask.Retoucher.edit`.

        Args:
            name: The mask to change. If `None`, all of them but the gates.
            strength: A factor on the distance from the identity: 0 switches the operator off, 2
                doubles it, -1 does the opposite.
            offset: A constant to add, in operator units: 0.1 of `l_add` is 10 L*. Where a gate is
                shut it has no effect; ``adjust("gate", offset=1.0, region=...)`` opens it first.
            region: Where, as for :func:`opmask.plan`, without unknown pixels. Everywhere if
                `None`.

        Returns:
            A new edit with one more adjustment.

        Warns:
            UserWarning: If a gate is shut wherever an offset is to be added.

        Raises:
            KeyError: If there is no mask of that name.
            ValueError: If a number is not finite, or beyond a million; an offset is larger than
                the whole range of its mask; or the region is not one of this photo.
            TypeError: If a number or the region is of another kind.

        Example:
            >>> import opmask
            >>> edit = opmask.plan(opmask.load(), Image.new("RGB", (64, 48), "teal"))
            >>> edit.adjust("b_add", strength=0).masks()["b_add"].abs().max()
            tensor(0.)
        """
        if name is not None and name not in self.predicted:
            raise KeyError(f"no mask named {name!r}; this edit has {list(self.predicted)}.")
        for argument, value in (("strength", strength), ("offset", offset)):
            check_number(argument, value, -LARGEST_NUMBER, "finite")
        if name is not None:
            r = self.retoucher.ranges[name]
            if abs(offset) > r.high - r.low:
                raise ValueError(
                    f"'offset' must be at most {r.high - r.low:g}, as {name!r} goes from "
                    f"{r.low:g} to {r.high:g}, got {offset:g}. It is in units of the operator."
                )
        where = None if region is None else self._shrunk(region)
        if name is not None and offset and self._is_shut(name, where):
            warn(
                f"{name!r} has no effect there, as the gate is shut. To open it, adjust the gate "
                "by an offset of 1 in the same region."
            )
        new = Adjustment(name, float(strength), float(offset), where)
        return replace(self, adjustments=(*self.adjustments, new))

    def _is_shut(self, name: str, where: Tensor | None) -> bool:
        """Whether a gate of a mask is shut nearly all over a region, or all over the photo."""
        if where is not None and not where.any():
            return False
        operator = next(op for op in self.retoucher.operators if name in op.ranges)
        for gate in operator.gates:
            if gate == name:
                continue
            masks = {gate: _in_single(self.predicted[gate], self.retoucher.ranges[gate])}
            masks = self._adjusted(masks, (a for a in self.adjustments if a.name == gate))
            if where is None:
                opened = masks[gate].max()
            else:
                opened = (masks[gate] * where.float()).sum() / where.float().sum()
            if opened < SHUT:
                return True
        return False

    def _shrunk(self, region: Image.Image | np.ndarray | Tensor) -> Tensor:
        plane = to_plane(region, self.source.size)
        if (plane < 0).any():
            raise ValueError("'region' must lie in [0, 1] to confine an adjustment, got -1.")
        like = next(iter(self.predicted.values()))
        return shrink(plane, self.size).to(like)

    def undo(self) -> Edit:
        """The edit without its last adjustment.

        Raises:
            ValueError: If there is none.
        """
        if not self.adjustments:
            raise ValueError("there is no adjustment to undo.")
        return replace(self, adjustments=self.adjustments[:-1])

    @torch.no_grad()
    def render(self, image: T, *, force: bool = False, compile: bool = False) -> T:
        r"""Applies the masks to the photo, at its full size.

        Pixels all of whose masks are at their identity stay as they are, to the last bit. The
        masks are enlarged and applied to a strip of the photo at a time, where they are: on the
        device of the model that predicted them.

        Args:
            image: The photo that the edit was planned for, of any kind that :func:`opmask.plan`
                takes; of tensors one image, with shape :math:`(3, H, W)` or :math:`(1, 3, H, W)`.
            force: Renders any photo, such as a resized copy; the masks are stretched to its size.
            compile: Whether the retoucher is compiled: the first strip takes longer, all others
                less.

        Returns:
            The retouched photo, of the kind and type of `image`.

        Raises:
            ValueError: If it is another photo, unless `force` is set, or more than one.
            TypeError: If `image` is of another kind.
        """
        if isinstance(image, Image.Image):
            return as_pil(self.render(as_photo(image), force=force, compile=compile), image)
        stored, profile = self._opened(image, force)
        result = stored.clone(memory_format=torch.contiguous_format)
        self.retoucher.apply_(result, self.masks(), profile, compile=compile)
        return like(image, result[None])

    @torch.no_grad()
    def explain(self, image: Picture, *, force: bool = False) -> Explanation:
        r"""Says what the edit does to its photo: where, by how much, and in words.

        Args:
            image: As for :meth:`render`.
            force: As for :meth:`render`.

        Returns:
            The explanation; :func:`opmask.inference.panel.draw_panel` draws it.

        Raises:
            ValueError: As for :meth:`render`.
            TypeError: As for :meth:`render`.

        Example:
            >>> import opmask
            >>> photo = Image.new("RGB", (64, 48), "teal")
            >>> model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
            >>> edit = opmask.plan(model, photo)
            >>> edit.adjust("l_add", offset=0.1).explain(photo).sentences
            ['Region 1 (100% of the photo): lighter by 10 L*.']
        """
        if isinstance(image, Image.Image):
            image = as_photo(image)
        return compare(self, *self._opened(image, force))

    def __repr__(self) -> str:
        """What it is of, without the numbers in its masks."""
        (height, width), (own, other) = self.source.size, self.size
        return (
            f"Edit(photo of {width} by {height} pixels; masks {', '.join(self.predicted)} of "
            f"{other} by {own}; {len(self.adjustments)} adjustments)"
        )

    def _opened(self, image: Picture, force: bool) -> tuple[Tensor, bytes | None]:
        """The stored pixels of the photo and its profile, once it is known to be the right one."""
        stored = to_stored(image)
        if len(stored) != 1:
            raise ValueError(f"'image' must hold one image, got {len(stored)}. Render each.")
        if not force:
            self._check_source(stored[0])
        elif not same_aspect(self.source.size, (stored.shape[1], stored.shape[2])):
            (height, width), found = self.source.size, stored.shape
            warn(
                f"the photo of {found[2]} by {found[1]} pixels has another aspect ratio than the "
                f"one that the edit was planned for, {width} by {height}: its masks are stretched."
            )
        return stored[0], profile_of(image)

    def _check_source(self, stored: Tensor) -> None:
        found = Source.of(stored)
        if found != self.source:
            (height, width), (own, other) = self.source.size, found.size
            raise ValueError(
                f"'image' must be the photo that the edit was planned for, of {width} by {height} "
                f"pixels, got another one of {other} by {own}. Pass force=True to edit it all the "
                "same."
            )

    def save(self, path: str | Path) -> None:
        r"""Saves the edit to one file, whole or not at all.

        Args:
            path: The file to write, best with the suffix ``.opmask``.

        Raises:
            OSError: If it cannot be written.
        """
        from opmask.inference.document import save_edit

        save_edit(self, path)

    @staticmethod
    def load(path: str | Path, *, retoucher: Retoucher | None = None) -> Edit:
        r"""Reads what :meth:`save` wrote. Nothing in the file is executed.

        Args:
            path: The file.
            retoucher: The retoucher; needed if it has operators of your own.

        Returns:
            The edit, on the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no edit, damaged, of a newer version, or needs a `retoucher`.
        """
        from opmask.inference.document import load_edit

        return load_edit(path, retoucher=retoucher)


def check_number(argument: str, value: float, low: float, rule: str) -> None:
    """Raises unless a strength or an offset is a number that a file holds, of `low` or more."""
    if not hasattr(value, "__float__"):
        raise TypeError(f"{argument!r} must be a number, got {type(value).__name__}.")
    if not low <= value <= LARGEST_NUMBER:
        raise ValueError(
            f"{argument!r} must be {rule}, got {shorten(value)}. The largest is "
            f"{LARGEST_NUMBER:,.0f}."
        )


def _in_single(mask: Tensor, range: MaskRange) -> Tensor:
    """A mask in single precision; where it is at its identity, which half precision rounds."""
    return torch.where(mask == mask.new_tensor(range.identity), range.identity, mask.float())
