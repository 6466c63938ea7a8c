r"""Harmonizing clips: masks are planned for each frame and smoothed over time.

A model that sees one frame at a time answers a little differently each time, and the picture
flickers. What is smoothed is the masks as they act, with gates multiplied in; pixels never are.
A frame's masks become a mean of its own and those of the `lag` frames before and after it, each
shifted by the one step that the camera moved, and weighted by how alike the small frames are
around each pixel. No optical flow is computed: where something moves by itself, the frames are not
alike, and the frame keeps its own masks. No mean reaches across a cut.

Data flow: `frames -> plan -> masks -> smooth_masks -> retouch -> frames`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.inference.plan import check_model, check_options, plan_each
from opmask.retouch import Retoucher
from opmask.retouch.pixels import Picture, like, profile_of, shrink_photo, to_stored
from opmask.wrapper import OperatorMaskWrapper

__all__ = ["LAG", "Moment", "harmonize_frames", "is_cut", "named_masks", "smooth_masks"]

T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)
Region = Image.Image | np.ndarray | Tensor

LAG = 2
"""How many frames before and after a frame its masks are smoothed over; so many are waited for."""

ALIKE = 0.1
"""The root mean square difference of small frames, in [0, 1], at which a frame counts 1/e."""

AROUND = 5
"""The width of the square over which differences are averaged, an odd number of mask pixels."""

CUT = 0.1
"""The mean difference of coarse frames, in [0, 1], above which a new scene begins."""

COARSE = 8
"""The height and width to which frames are shrunk to find cuts, so that motion does not count."""


class Moment(NamedTuple):
    r"""A frame, as smoothing sees it.

    Args:
        small: The frame at the size of its masks, with shape :math:`(1, 3, h, w)`, in
            :math:`[0, 1]`.
        masks: The masks as they act, with shape :math:`(1, M, h, w)`, in operator units.
    """

    small: Tensor
    masks: Tensor


@torch.no_grad()
def harmonize_frames(
    model: OperatorMaskWrapper,
    frames: Iterable[T],
    *,
    regions: Iterable[Region] | None = None,
    strength: float | str = "auto",
    work_size: int = 256,
    lag: int = LAG,
) -> Iterator[T]:
    r"""Harmonizes the frames of a clip, with masks that are smoothed over time.

    It holds :math:`\text{lag} + 1` frames, and the masks of :math:`2\,\text{lag} + 1`, however
    long the clip is.

    Args:
        model: As for :func:`opmask.plan`.
        frames: The frames in their order, each of a kind that :func:`opmask.plan` takes (of
            tensors one image), all of one size.
        regions: The region of each frame, as for :func:`opmask.plan`. `itertools.repeat(region)`
            is one that stands still.
        strength: As for :func:`opmask.plan`.
        work_size: As for :func:`opmask.plan`.
        lag: How many frames before and after each frame are smoothed over; 0 for none. So many
            frames are read before the first one comes back.

    Yields:
        The harmonized frames, of the kind, type and size of `frames`.

    Raises:
        TypeError: As for :func:`opmask.plan`.
        ValueError: As for :func:`opmask.plan`; also if `lag` is negative, the frames differ in
            size, or there are fewer regions than frames.

    Example:
        >>> import opmask
        >>> frames = (Image.new("RGB", (64, 48), (i, 128, 128)) for i in range(8))
        >>> len(list(harmonize_frames(opmask.load(), frames)))
        8
    """
    if lag < 0:
        raise ValueError(f"'lag' must be at least 0, got {lag}.")
    check_model(model, regions is not None)
    check_options(strength, work_size)
    waiting: deque[T] = deque()

    def moments() -> Iterator[Moment]:
        size = None
        for frame, region in _paired(frames, regions):
            stored = to_stored(frame)[0]
            if (size := size or stored.shape[:2]) != stored.shape[:2]:
                raise ValueError(
                    f"'frames' must have one size, got {tuple(size)} and "
                    f"{tuple(stored.shape[:2])}."
                )
            waiting.append(frame)
            yield _moment(model, frame, region, strength, work_size)

    for masks in smooth_masks(moments(), lag=lag, confined=_identities(model.retoucher, regions)):
        frame = waiting.popleft()
        named = named_masks(model.retoucher, masks)
        result = to_stored(frame)[0].clone(memory_format=torch.contiguous_format)
        model.retoucher.apply_(result, named, profile_of(frame))
        yield like(frame, result[None])


def smooth_masks(
    moments: Iterable[Moment], *, lag: int = LAG, confined: Tensor | None = None
) -> Iterator[Tensor]:
    r"""Smooths masks over time.

    .. math:: \bar m_t = m_t + \frac{\sum_s w_s\,(m_s - m_t)}{\sum_s w_s}, \qquad
              w_s = \exp(-d_{st}^2 / h^2), \qquad |s - t| \le \text{lag}

    where :math:`d_{st}` is the root mean square difference of the small frames over a square of
    `AROUND` pixels, :math:`h` is `ALIKE`, and frame :math:`s` and its masks are
    shifted by what the camera moved since :math:`t`. Masks that stay the same stay so to the bit.

    Args:
        moments: The frames and their masks, in order, of one size.
        lag: How many frames before and after each frame are smoothed over.
        confined: The identity of each mask, with shape :math:`(1, M, 1, 1)`, if pixels whose masks
            are all at it are to stay there.

    Yields:
        The masks of each frame, with the shape of `masks`; :math:`\text{lag}` frames late.

    Example:
        >>> moments = [Moment(torch.rand(1, 3, 8, 8), torch.ones(1, 6, 8, 8)) for _ in range(4)]
        >>> all(torch.equal(masks, moments[0].masks) for masks in smooth_masks(moments))
        True
    """
    window: list[Moment] = []  # of one scene
    current = 0
    for moment in moments:
        if window and is_cut(window[-1].small, moment.small):
            yield from (_mean(window, i, lag, confined) for i in range(current, len(window)))
            window, current = [], 0
        window.append(moment)
        if len(window) > current + lag:
            yield _mean(window, current, lag, confined)
            current += 1
        if current > lag:
            del window[0]
            current -= 1
    yield from (_mean(window, i, lag, confined) for i in range(current, len(window)))


def is_cut(before: Tensor, after: Tensor) -> bool:
    r"""Whether a new scene begins between two frames.

    Args:
        before: The first frame, with shape :math:`(1, 3, h, w)`, in :math:`[0, 1]`.
        after: The one that follows, of the same size.

    Returns:
        Whether their copies of `COARSE` pixels a side differ by more than `CUT` on
        average.

    Example:
        >>> black = torch.zeros(1, 3, 48, 64)
        >>> is_cut(black, black + 0.05), is_cut(black, black + 0.5)
        (False, True)
    """
    coarse = (F.adaptive_avg_pool2d(frame, COARSE) for frame in (before, after))
    return bool((next(coarse) - next(coarse)).abs().mean() > CUT)


def _mean(window: list[Moment], i: int, lag: int, confined: Tensor | None) -> Tensor:
    """The weighted mean over a frame's neighbours."""
    now = window[i]
    total, weights = torch.zeros_like(now.masks), torch.ones_like(now.masks[:, :1])
    for s in range(max(0, i - lag), min(len(window), i + lag + 1)):
        if s != i:
            step = camera_step(now.small, window[s].small)
            there = torch.cat([*window[s], torch.ones_like(weights)], 1)
            small, masks, known = shifted(there, step).split([3, now.masks.shape[1], 1], 1)
            far = (small - now.small).square().mean(1, keepdim=True)
            weight = known * torch.exp(-_around(far) / ALIKE**2)
            total += weight * (masks - now.masks)
            weights += weight
    mean = now.masks + total / weights
    if confined is None:
        return mean
    return torch.where((now.masks != confined.to(now.masks)).any(1, keepdim=True), mean, now.masks)


def camera_step(before: Tensor, after: Tensor) -> tuple[int, int]:
    r"""By how much the picture as a whole moved between two frames, by phase correlation.

    A step that does not make them more alike than none is none.

    Args:
        before: A frame, with shape :math:`(1, 3, h, w)`.
        after: Another one, of the same size.

    Returns:
        Steps down and to the right, in pixels: what was at `(y, x)` is at `(y + down, x + right)`.

    References:
        | The Phase Correlation Image Alignment Method (Kuglin and Hines, 1975)

    Example:
        >>> frame = torch.rand(1, 3, 48, 64)
        >>> camera_step(frame, frame.roll((3, -5), (2, 3)))
        (3, -5)
    """
    height, width = before.shape[-2:]
    fade = torch.hann_window(height)[:, None] * torch.hann_window(width)
    first, second = (
        torch.fft.rfft2((frame.mean((0, 1)) - frame.mean()).cpu() * fade)
        for frame in (before, after)
    )
    cross = second * first.conj()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-6), (height, width))
    down, right = divmod(int(peaks.argmax()), width)
    step = down - height * (down > height // 2), right - width * (right > width // 2)
    return min((0, 0), step, key=lambda step: _difference(before, after, step))


def _difference(before: Tensor, after: Tensor, step: tuple[int, int]) -> float:
    """How unlike two frames are where both show the same, if the camera moved by a step."""
    known = shifted(torch.ones_like(before), step)
    return float(((shifted(after, step) - before).abs() * known).sum() / known.sum())


def shifted(maps: Tensor, step: tuple[int, int]) -> Tensor:
    """Moves maps of shape (1, C, h, w) back by a step; 0 comes in."""
    down, right = step
    height, width = maps.shape[-2:]
    return F.pad(maps, (-right, right, -down, down))[..., :height, :width]


def _around(values: Tensor) -> Tensor:
    reach = AROUND // 2
    return F.avg_pool2d(values, AROUND, 1, reach, count_include_pad=False)


def _moment(
    model: OperatorMaskWrapper,
    frame: Picture,
    region: Region | None,
    strength: float | str,
    work_size: int,
) -> Moment:
    stored, profile = to_stored(frame), profile_of(frame)
    # Refined one by one, the regions of frames would differ.
    edits = plan_each(model, stored, profile, region, "never", strength, work_size)
    if len(edits) != 1:
        raise ValueError("'frames' must be one image each, got a batch.")
    masks = torch.cat([*edits[0].masks(effective=True).values()], 1)
    small = shrink_photo(stored[0], edits[0].size, profile)
    return Moment(small.to(masks), masks)


def _paired(
    frames: Iterable[T], regions: Iterable[Region] | None
) -> Iterator[tuple[T, Region | None]]:
    """Each frame with its region."""
    areas = None if regions is None else iter(regions)
    for i, frame in enumerate(frames):
        try:
            yield frame, None if areas is None else next(areas)
        except StopIteration:
            raise ValueError(f"'regions' must be one for each frame, got {i}.") from None


def _identities(retoucher: Retoucher, regions: object) -> Tensor | None:
    """The identity of each mask, where regions confine what is changed."""
    if regions is None:
        return None
    names = [name for name in retoucher.ranges if name not in retoucher.gates]
    return torch.tensor([retoucher.ranges[name].identity for name in names]).view(1, -1, 1, 1)


def named_masks(retoucher: Retoucher, masks: Tensor) -> dict[str, Tensor]:
    """Masks as they act by name, with all gates open."""
    names = [name for name in retoucher.ranges if name not in retoucher.gates]
    named = dict(zip(names, masks.split(1, 1), strict=True))
    return named | {gate: torch.ones_like(masks[:, :1]) for gate in retoucher.gates}
