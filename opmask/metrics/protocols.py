r"""Scores of one picture, under the protocol that a table names.

Published harmonization code differs in rounding, peak, window and order of averaging, so that
tables cannot be compared without saying which protocol they follow. All of them are in
:data:`opmask.metrics.PROTOCOLS`::

    float image -> to_uint8 -> score (one row per image) -> average (the row of the table)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from opmask.losses import LPIPS
from opmask.losses.perceptual import lpips_at_hand
from opmask.metrics.definitions import PROTOCOLS, Levels, Protocol, through_jpeg
from opmask.metrics.image import psnr_from_mse, ssim
from opmask.metrics.reference import reference_ssim


def to_uint8(image: Tensor | np.ndarray) -> np.ndarray:
    r"""Round an image to 8 bits.

    .. math:: \lfloor 255 x + \tfrac{1}{2} \rfloor

    The reference code truncates instead, which lowers one value in four by a level.

    Args:
        image: The image :math:`x`, a tensor of shape :math:`(*, 3, H, W)` or an array of shape
            :math:`(*, H, W, 3)`, in :math:`[0, 1]`; values outside are clipped.

    Returns:
        The 8-bit image, an array with shape :math:`(*, H, W, 3)`.

    Raises:
        TypeError: If `image` is not floating point.
        ValueError: If `image` has no three channels where they belong, or is not finite.

    Example:
        >>> to_uint8(torch.tensor([0.0, 0.5, 1.2]).reshape(3, 1, 1))
        array([[[  0, 128, 255]]], dtype=uint8)
    """
    channels, layout = (-3, "(3, H, W)") if isinstance(image, Tensor) else (-1, "(H, W, 3)")
    if image.ndim < 3 or image.shape[channels] != 3:
        raise ValueError(f"'image' must have shape {layout}, got {tuple(image.shape)}.")
    if "float" not in str(image.dtype):
        raise TypeError(f"'image' must be floating point in [0, 1], got {image.dtype}.")
    if isinstance(image, Tensor):
        image = to_array(image)
    if not np.isfinite(image).all():
        raise ValueError("'image' must be finite, got NaN or infinity.")
    return np.floor(255 * image.clip(0, 1).astype(np.float64) + 0.5).astype(np.uint8)


def to_array(image: Tensor) -> np.ndarray:
    """An image with shape (*, 3, H, W) as float64 with shape (*, H, W, 3)."""
    return image.detach().cpu().double().movedim(-3, -1).numpy()


def score(
    output: np.ndarray,
    real: np.ndarray,
    region: np.ndarray | None = None,
    *,
    protocol: str = "opmask",
    lpips: Iterable[LPIPS] | None = None,
) -> dict[str, float]:
    r"""Score one 8-bit image against the real one.

    `mse`, `psnr` and `ssim` are over the whole image. Given a region :math:`R`, `fmse` and `fpsnr`
    are over its pixels only:

    .. math:: \mathrm{fMSE} = \frac{1}{3 |R|} \sum_{c} \sum_{(h,w) \in R}
              (x_{chw} - y_{chw})^2

    That is the protocol `"opmask"`. The others follow published code, for comparing with its
    numbers: see :data:`opmask.metrics.PROTOCOLS` for what each of them changes.

    In `"reference"` the data range of SSIM is the largest less the smallest value of each channel
    of the *output*. Where a channel is constant the paper's script has no number; here it is the
    limit of small ranges. Where the peak is 0, as for a constant output in `"dovenet"`, PSNR is
    minus infinity. In `"reference-ih4"` the two pictures are compressed each by itself; the
    published code puts them side by side first, which matters to the colour of two columns of
    pixels. Values of JPEG depend on the version of Pillow.

    Args:
        output: The image :math:`x` to score, 8-bit RGB, with shape :math:`(H, W, 3)`. The
            protocols that do not round, `"idih"`, `"masked"` and `"masked-dccf"`, also take
            floats in :math:`[0, 1]`.
        real: The ground truth :math:`y`, with the shape of `output`, 8-bit or, there, float.
        region: The changed area, with shape :math:`(H, W)`: bool, in :math:`[0, 1]`, or 8-bit with
            255 inside; cut at one half, but in the protocols that do not round.
        protocol: One of :data:`opmask.metrics.PROTOCOLS`.
        lpips: The networks to score with, in any number: `[LPIPS("vgg"), LPIPS("alex")]`. `None`:
            those whose weights lie in torchvision's cache, if the package `lpips` is installed, so
            that the row has `lpips_vgg` and `lpips_alex` exactly where they are. `()`: none.

    Returns:
        The values by name, `mse`, `psnr`, `ssim`, for each network `lpips_vgg` or `lpips_alex`,
        and with a region `fmse`, `fpsnr`.

    Raises:
        TypeError: If an image is not an 8-bit array (or, in a protocol that does not round, of
            floats), or `lpips` holds anything but :class:`opmask.losses.LPIPS`.
        ValueError: If the shapes do not fit, an image is smaller than a window (11 pixels, in the
            reference's protocol 7) or than a network needs (31 at most), the region is empty, or
            missing where the protocol needs it, floats are not finite, or the protocol is unknown.

    Example:
        >>> real = np.zeros((16, 16, 3), dtype=np.uint8)
        >>> region = np.zeros((16, 16), dtype=bool)
        >>> region[:4] = True
        >>> output = real.copy()
        >>> output[region] = 10
        >>> row = score(output, real, region, lpips=())
        >>> row["mse"], row["fmse"]
        (25.0, 100.0)
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"'protocol' must be one of {tuple(PROTOCOLS)}, got {protocol!r}.")
    how = PROTOCOLS[protocol]
    _check_arrays(output, real, how)
    if region is None and how.foreground_only:
        raise ValueError(
            f"'region' must be given where 'protocol' is {protocol!r}, which scores its pixels "
            "only, got None."
        )
    weight = None if region is None else _weights(region, output, how)
    mine, theirs = _levels(output), _levels(real)
    if how.jpeg is not None:
        mine, theirs = (through_jpeg(levels, how.jpeg) for levels in (mine, theirs))
    errors = _errors(mine, theirs, weight, how)
    row = {name: errors.pop(name) for name in ("mse", "psnr")}
    return {**row, **_similarities(mine, theirs, weight, how, _networks(lpips)), **errors}


def average(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the rows of a data set, name by name.

    The mean PSNR is the mean of the images' PSNRs, as in the papers' tables, and not the PSNR of
    the mean error, which is several dB lower.

    Args:
        rows: What :func:`score` returned for each image.

    Returns:
        The arithmetic mean of each value.

    Raises:
        ValueError: If there are no rows, or they differ in their names.

    Example:
        >>> average([{"psnr": 30.0}, {"psnr": 40.0}])
        {'psnr': 35.0}
    """
    if not rows:
        raise ValueError("'rows' must hold the scores of at least one image, got none.")
    for row in rows:
        if row.keys() != rows[0].keys():
            raise ValueError(
                f"'rows' must all have the same names, got {list(rows[0])} and {list(row)}."
            )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _errors(
    output: Levels, real: Levels, weight: Levels | None, how: Protocol
) -> dict[str, float]:
    squares = np.square(output - real)
    weighted = squares if weight is None else weight * squares
    peak = how.peak(output, real)
    row = {"mse": float((weighted if how.foreground_only else squares).mean())}
    row["psnr"] = float(psnr_from_mse(row["mse"], peak=peak, epsilon=how.epsilon))
    if weight is not None:
        row["fmse"] = float(weighted.sum() / (how.divisor * weight.sum() + how.fmse_epsilon))
        row["fpsnr"] = float(psnr_from_mse(row["fmse"], peak=peak, epsilon=how.epsilon))
    return row


def _similarities(
    output: Levels, real: Levels, weight: Levels | None, how: Protocol, networks: Iterable[LPIPS]
) -> dict[str, float]:
    if how.foreground_only and weight is not None:
        output = weight * output + (1 - weight) * real
    levels = [_planes(image) for image in (output, real)]
    images = [image / 255 for image in levels]
    similarity = reference_ssim(*levels) if how.similarity == "reference" else ssim(*images)
    row = {"ssim": similarity.mean().item()}
    if how.bgr:
        images = [image.flip(1) for image in images]
    for network in networks:
        device = network.shift.device
        row[f"lpips_{network.net}"] = network(*[image.to(device) for image in images]).item()
    return row


def _check_arrays(output: np.ndarray, real: np.ndarray, how: Protocol) -> None:
    for name, image in (("output", output), ("real", real)):
        kind = getattr(image, "dtype", type(image).__name__)
        exact = isinstance(image, np.ndarray) and image.dtype.kind == "f" and not how.rounded
        if not exact and (not isinstance(image, np.ndarray) or image.dtype != np.uint8):
            raise TypeError(
                f"'{name}' must be an 8-bit RGB array, got {kind}. "
                "Convert floats in [0, 1] with opmask.metrics.to_uint8."
            )
        if not np.isfinite(image).all():
            raise ValueError(f"'{name}' must be finite, got NaN or infinity.")
    if output.ndim != 3 or output.shape[2] != 3:
        raise ValueError(f"'output' must have shape (H, W, 3), got {output.shape}.")
    if real.shape != output.shape:
        raise ValueError(
            f"'real' must have the shape of 'output', {output.shape}, got {real.shape}."
        )


def _levels(image: np.ndarray) -> Levels:
    return image.astype(np.float64) * (255 if image.dtype.kind == "f" else 1)


def _planes(image: Levels) -> Tensor:
    """The levels of an image, with shape (1, 3, H, W)."""
    return torch.from_numpy(image).movedim(-1, 0)[None]


def _networks(lpips: Iterable[LPIPS] | None) -> Iterable[LPIPS]:
    if lpips is None:
        return lpips_at_hand()
    networks = lpips if isinstance(lpips, str) else tuple(lpips)
    if not all(isinstance(network, LPIPS) for network in networks):
        raise TypeError(
            f"'lpips' must hold modules such as opmask.losses.LPIPS('vgg'), got {networks!r}."
        )
    return networks


def _weights(region: np.ndarray, output: np.ndarray, how: Protocol) -> Levels:
    """How much each pixel counts, with shape (H, W, 1), in [0, 1]."""
    if region.shape != output.shape[:2]:
        raise ValueError(
            f"'region' must have the height and width of 'output', {output.shape[:2]}, "
            f"got {region.shape}."
        )
    weight = region.astype(np.float64) / (255 if region.max() > 1 else 1)
    if not how.soft:
        weight = (weight > 0.5).astype(np.float64)
    if not weight.any():
        raise ValueError("'region' must hold at least one pixel, got an empty one. Leave it out.")
    return weight[..., None]
