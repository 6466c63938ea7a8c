r"""What one page of the editor works on: a photo, its edit, and what was done and undone.

It knows nothing of the page: files, numbers and names come in, pictures and words go out. All that
it writes lies in a folder of its own, which it removes in the end.

Data flow: `file -> Session -> Draft -> preview, maps, sentences`, and `-> file` at full size.
"""

from __future__ import annotations

import math
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from opmask.editor.labels import label
from opmask.editor.layers import Draft
from opmask.files.pictures import open_picture
from opmask.files.saving import SUFFIXES, check_writable
from opmask.inference import Edit, Photo, Source, plan, read_photo, write_photo
from opmask.inference.explain import NOTICEABLE, SMALLEST_SHARE, Explanation
from opmask.inference.refine import EMPTY
from opmask.retouch.pixels import profile_of, shrink_photo, to_stored
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.calibration import connected_regions
from opmask.wrapper.model import fit_longer_side, resize

__all__ = ["PREVIEW", "Session"]

PREVIEW = 1280
"""The longer side of the preview, in pixels."""

LONGEST_HISTORY = 500
"""How many steps can be undone."""

ONE_MOVE = 1.0
"""Moves of one control that follow each other within so many seconds are undone as one."""

SCOPES = ("model", "area", "photo")
"""Where changes may act, see :class:`opmask.editor.layers.Layer`."""


class Session:
    r"""A photo that is being edited.

    Args:
        model: The model, in evaluation mode.
        clock: What says the time, in seconds.

    Example:
        >>> import opmask
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp(), "sea.png")
        >>> Image.new("RGB", (64, 48), "teal").save(path)
        >>> session = Session(opmask.load())
        >>> session.open_photo(path, "sea.png")
        ()
        >>> session.set_scope("photo")
        >>> session.set_control("l_add", "offset", 0.1)
        >>> session.explanation.sentences[-1]
        'Region 1 (100% of the photo): lighter by 10 L*.'
        >>> session.undo()
        >>> session.close()
    """

    def __init__(
        self, model: OperatorMaskWrapper, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.model = model
        self.clock = clock
        self.lock = threading.RLock()
        self.downloads: dict[str, Path] = {}
        self.name = ""
        self._folder = tempfile.TemporaryDirectory(prefix="opmask-editor-")
        self._photo: Photo | None = None
        self._source: Source | None = None
        self._refused: Source | None = None
        self._small = torch.zeros(0)
        self._done: list[Draft] = []
        self._undone: list[Draft] = []
        self._last_move: tuple[str, float] = ("", -math.inf)
        self._explained: tuple[Draft, Explanation] | None = None

    @property
    def folder(self) -> Path:
        """The folder of this session alone."""
        return Path(self._folder.name)

    @property
    def photo(self) -> Photo:
        """The photo.

        Raises:
            ValueError: If none is open.
        """
        if self._photo is None:
            raise ValueError("no photo is open. Open one first.")
        return self._photo

    @property
    def is_open(self) -> bool:
        """Whether there is a photo."""
        return self._photo is not None

    @property
    def draft(self) -> Draft:
        """The edit in the making.

        Raises:
            ValueError: If no photo is open.
        """
        if not self._done:
            raise ValueError("no photo is open. Open one first.")
        return self._done[-1]

    @property
    def edit(self) -> Edit:
        """The edit as it is."""
        return self.draft.edit

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return len(self._done) > 1

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to do again."""
        return bool(self._undone)

    def open_photo(self, path: Path, name: str) -> tuple[str, ...]:
        """Opens a photo, and plans its edit; what was offered of the one before is removed.

        Args:
            path: The file.
            name: What the user calls it; only its last part counts.

        Returns:
            What reading had to decide, a sentence each.

        Raises:
            ValueError: If it cannot be read, or is too small. The photo before stays open.
            ImportError: If a package is missing that reads it.
        """
        photo = read_photo(path)
        edit = plan(self.model, photo)
        assert isinstance(edit, Edit)
        self._photo, self._source, self.name = photo, edit.source, _plain(name)
        self._refused = None
        for old in self.downloads.values():
            old.unlink(missing_ok=True)
        self.downloads = {}
        size = fit_longer_side(photo.size, PREVIEW)
        self._small = shrink_photo(to_stored(photo)[0], size, profile_of(photo)).float()
        self._begin(edit)
        return photo.remarks

    def open_region(self, path: Path) -> None:
        """Plans anew, told by a mask where the photo was changed; it is taken as it is.

        Args:
            path: A picture of the region, see :func:`opmask.plan`.

        Raises:
            ValueError: If it cannot be read, does not fit, or the model takes none.
        """
        edit = plan(self.model, self.photo, region=open_picture(path), refine=False)
        self._plan_again(edit)

    def match_area(self, refine: bool = False) -> tuple[str, ...]:
        """Plans anew, told that the chosen area is what was changed.

        Args:
            refine: Whether of the area only what the model sees was changed is taken; it is the
                chosen area from then on.

        Returns:
            What is to be said, a sentence each.

        Raises:
            ValueError: If no area is chosen, or the model takes none or has no gate.
        """
        area = self.draft.layer.area
        if area is None or not area.any():
            raise ValueError("no area is chosen. Brush over what was changed first.")
        edit = plan(self.model, self.photo, region=area, refine=bool(refine))
        assert isinstance(edit, Edit)
        if not refine or edit.region is None:
            self._step(Draft(edit))
            return ()
        self._step(Draft(edit).within("area", edit.region.float()))
        same = edit.region.equal(area.to(edit.region))
        return (EMPTY[0].upper() + EMPTY[1:],) if same else ()

    def open_edit(self, path: Path) -> None:
        """Opens a saved edit; its adjustments can be undone one by one.

        One of another photo is refused at first. Opened again, it is taken all the same.

        Args:
            path: The file.

        Raises:
            ValueError: If it is none, or of another photo. The edit before stays.
        """
        size = self.photo.size
        edit = Edit.load(path)
        if edit.source not in (self._source, self._refused):
            self._refused = edit.source
            height, width = edit.source.size
            raise ValueError(
                f"this edit is of another photo, of {width} by {height} pixels; this one has "
                f"{size[1]} by {size[0]}. Open the edit again to use it all the same."
            )
        self._begin(edit)

    def set_control(self, name: str, control: str, value: float | bool) -> None:
        """Moves a control of a mask.

        Args:
            name: The mask.
            control: `"strength"`, 0 to 2; `"offset"`, within the reach that its label says; or
                `"on"`.
            value: Where to.

        Raises:
            ValueError: If there is no such mask or control, or it does not go so far.
        """
        edit = self.draft.base
        if name not in edit.predicted:
            raise ValueError(f"'name' must be one of {[*edit.predicted]}, got {name!r}.")
        if control == "on":
            value = bool(value)
        elif control == "strength":
            value = _within(control, value, 0.0, 2.0)
        elif control == "offset":
            reach = label(edit.retoucher, name).reach
            value = _within(control, value, -reach, reach)
        else:
            raise ValueError(f"'control' must be strength, offset or on, got {control!r}.")
        self._step(self.draft.change(name, **{control: value}), f"{name} {control}")

    def set_whole(self, value: float) -> None:
        """Sets the strength of the whole, 0 to 2.

        Raises:
            ValueError: If it is another number.
        """
        whole = _within("whole", value, 0.0, 2.0)
        self._step(Draft(self.draft.base, self.draft.layers, whole), "whole")

    def set_scope(self, scope: str) -> None:
        """Says where the changes to come act, see :class:`opmask.editor.layers.Layer`.

        Raises:
            ValueError: If it is none of them.
        """
        if scope not in SCOPES:
            raise ValueError(f"'scope' must be one of {', '.join(SCOPES)}, got {scope!r}.")
        if scope != self.draft.layer.scope:
            self._step(self.draft.within(scope))

    def paint(self, area: Tensor) -> None:
        """Paints the area in which changes act.

        Args:
            area: The area, with shape :math:`(1, 1, h, w)`, in :math:`[0, 1]`; of any size.
        """
        self._step(self.draft.painted(resize(area, self.draft.base.size)))

    def clear_area(self) -> None:
        """Begins an empty area."""
        self._step(self.draft.within("area", torch.zeros(1, 1, *self.draft.base.size)))

    def pick(self, x: float, y: float) -> None:
        """Limits the changes to come to the changed region at a place.

        Args:
            x: How far from the left, in :math:`[0, 1]`.
            y: How far from the top, likewise.

        Raises:
            ValueError: If nothing is visibly changed there.
        """
        _within("x", x, 0.0, 1.0)
        _within("y", y, 0.0, 1.0)
        labels = self._labels()
        height, width = labels.shape
        number = labels[min(int(y * height), height - 1), min(int(x * width), width - 1)]
        if number == 0:
            raise ValueError("nothing is changed here. Choose another place, or use the brush.")
        self._choose(labels == number)

    def pick_region(self, index: int) -> None:
        """Limits the changes to come to a region of the explanation, counted from 0.

        Raises:
            ValueError: If there is no such region.
        """
        labels = self._labels()
        numbers, counts = labels[labels > 0].unique(return_counts=True)
        kept = [
            (-count, number)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
            if count >= SMALLEST_SHARE * labels.numel()
        ]
        if not 0 <= index < len(kept):
            raise ValueError(f"'index' must be that of one of {len(kept)} regions, got {index}.")
        number = sorted(kept)[index][1]
        self._choose(labels == number)

    def undo(self) -> None:
        """Goes back one step.

        Raises:
            ValueError: If there is none.
        """
        if not self.can_undo:
            raise ValueError("there is nothing to undo.")
        self._undone.append(self._done.pop())
        self._last_move = ("", -math.inf)

    def redo(self) -> None:
        """Does again what was undone last.

        Raises:
            ValueError: If nothing was.
        """
        if not self.can_redo:
            raise ValueError("there is nothing to do again.")
        self._done.append(self._undone.pop())
        self._last_move = ("", -math.inf)

    @property
    def before(self) -> Tensor:
        """The preview of the photo, with shape (1, 3, h, w), sRGB in [0, 1]."""
        return self._small

    def after(self) -> Tensor:
        """The preview of the edited photo, likewise; no network is involved."""
        return self.edit.render(self._small, force=True)

    @property
    def explanation(self) -> Explanation:
        """What the edit does."""
        if self._explained is None or self._explained[0] is not self.draft:
            self._explained = self.draft, self.edit.explain(self._small, force=True)
        return self._explained[1]

    def render(self) -> Photo:
        """The edited photo at full size, with all its bits."""
        return self.edit.render(self.photo, force=self.edit.source != self._source)

    def save_edit(self) -> Path:
        """Writes the edit into the folder.

        Returns:
            The file.
        """
        path = self.folder / f"{Path(self.name).stem}.opmask"
        self.edit.save(path)
        return path

    def save_photo(self) -> tuple[Path, tuple[str, ...]]:
        """Writes the edited photo into the folder: of its own format, if that can be written.

        Returns:
            The file, and a sentence for each thing that its format cannot hold.
        """
        path, suffix = self.folder / f"{Path(self.name).stem}-edited", Path(self.name).suffix
        suffix = suffix.lower() if suffix.lower() in SUFFIXES else ".png"
        try:
            check_writable(self.photo, path.with_name(path.name + suffix))
        except (ValueError, ImportError):
            suffix = ".png"
        path = path.with_name(path.name + suffix)
        return path, write_photo(self.render(), path)

    def offer(self, path: Path) -> str:
        """Offers a file of the folder for download.

        Returns:
            The key that it is asked for by, which nobody guesses.
        """
        key = secrets.token_urlsafe(24)
        self.downloads = {k: p for k, p in self.downloads.items() if p != path} | {key: path}
        return key

    def close(self) -> None:
        """Removes the folder, with all that is in it."""
        self.downloads.clear()
        self._folder.cleanup()

    def _begin(self, edit: Edit) -> None:
        """The history of an edit: each of its adjustments is a step."""
        steps = [edit]
        while steps[-1].adjustments and len(steps) < LONGEST_HISTORY:
            steps.append(steps[-1].undo())
        self._done, self._undone = [Draft(step) for step in reversed(steps)], []
        self._last_move = ("", -math.inf)

    def _plan_again(self, edit: Edit | list[Edit]) -> None:
        assert isinstance(edit, Edit)
        self._step(Draft(edit))

    def _step(self, draft: Draft, move: str = "") -> None:
        """One more step; moves of the same control in a row are one."""
        last, when = self._last_move
        now = self.clock()
        if move and move == last and now - when < ONE_MOVE and self.can_undo:
            self._done.pop()
        self._done = [*self._done[1 - LONGEST_HISTORY :], draft]
        self._undone = []
        self._last_move = (move, now)

    def _labels(self) -> Tensor:
        """Numbers of the regions that are visibly changed, 0 elsewhere, with shape (h, w)."""
        return connected_regions(self.explanation.distance > NOTICEABLE)[0, 0]

    def _choose(self, inside: Tensor) -> None:
        area = resize(inside.float()[None, None], self.draft.base.size)
        self._step(self.draft.within("area", area))


def _within(name: str, value: float, low: float, high: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and low <= value <= high):
        raise ValueError(f"{name!r} must be a number in [{low:g}, {high:g}], got {value!r}.")
    return float(value)


def _plain(name: str) -> str:
    """The last part of a name, without what file systems and headers dislike."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = last.rpartition(".")
    stem = re.sub(r"[^\w \-().]+", "_", stem if dot else last).strip(". ")[:80]
    return f"{stem or 'photo'}{dot}{re.sub(r'[^A-Za-z0-9]+', '', suffix if dot else '')[:8]}"
