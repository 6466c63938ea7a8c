r"""Evaluation protocols: how 8-bit images become the numbers of a table.

Published harmonization code differs in rounding, peak, window and order of averaging, so that
tables cannot be compared without saying which protocol they follow. Both here score what a saved
picture holds: `"opmask"` against the untouched real image, `"reference"` as the script that made
the paper's tables, for which :func:`opmask.metrics.reference_panel` makes the pictures:

    float image -> to_uint8 -> score (one row per image) -> average (the row of the table)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from opmask.losses import LPIPS
from opmask.losses.perceptual import lpips_at_hand
from opmask.metrics.image import mse, psnr, psnr_from_mse, ssim
from opmask.metrics.reference import reference_ssim

PROTOCOLS = ("opmask", "reference")


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
        image = image.detach().cpu().double().movedim(-3, -1).numpy()
    if not np.isfinite(image).all():
        raise ValueError("'image' must be finite, got NaN or infinity.")
    return np.floor(255 * image.clip(0, 1).astype(np.float64) + 0.5).astype(np.uint8)


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

    The protocols differ in two values. `"opmask"` has the usual ones: the similarity of
    :func:`ssim`, and LPIPS on RGB. `"reference"` has those of the paper's script: a similarity
    with a uniform window of 7 x 7, sample covariances and, as data range, the largest less the
    smallest value of each channel of the *output*; and LPIPS on BGR, the order in which that
    script reads its pictures. Where a channel of the output is constant its data range is 0, and
    the script has no number; here it is the limit of small ranges.

    Args:
        output: The image :math:`x` to score, 8-bit RGB, with shape :math:`(H, W, 3)`.
        real: The ground truth :math:`y`, with the kind and shape of `output`.
        region: The changed area, with shape :math:`(H, W)`: bool, 0 and 1, or 8-bit with 255
            inside; cut at one half.
        protocol: `"opmask"` or `"reference"`: full image, 8-bit, peak 255, hard region in both.
        lpips: The networks to score with, in any number: `[LPIPS("vgg"), LPIPS("alex")]`. `None`:
            those whose weights lie in torchvision's cache, if the package `lpips` is installed, so
            that the row has `lpips_vgg` and `lpips_alex` exactly where they are. `()`: none.

    Returns:
        The values by name, `mse`, `psnr`, `ssim`, for each network `lpips_vgg` or `lpips_alex`,
        and with a region `fmse`, `fpsnr`.

    Raises:
        TypeError: If an image is not an 8-bit array, or `lpips` holds anything but
            :class:`opmask.losses.LPIPS`.
        ValueError: If the shapes do not fit, an image is smaller than a window (11 pixels, in the
            reference's protocol 7) or than a network needs (31 at most), the region is empty or
            the protocol is unknown.

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
        raise ValueError(f"'protocol' must be one of {PROTOCOLS}, got {protocol!r}.")
    _check_arrays(output, real)
    levels = [_planes(image) for image in (output, real)]
    images = [image / 255 for image in levels]
    row = {"mse": mse(*images), "psnr": psnr(*images)}
    if protocol == "reference":
        row["ssim"] = reference_ssim(*levels).mean()
        images = [image.flip(1) for image in images]  # BGR
    else:
        row["ssim"] = ssim(*images)
    for network in _networks(lpips):
        device = network.shift.device
        row[f"lpips_{network.net}"] = network(*[image.to(device) for image in images])
    if region is not None:
        inside = _binarize(region, output)
        error = np.square(output[inside].astype(np.float64) - real[inside]).mean()
        row["fmse"] = torch.tensor(error)
        row["fpsnr"] = psnr_from_mse(row["fmse"])
    return {name: value.item() for name, value in row.items()}


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


def _check_arrays(output: np.ndarray, real: np.ndarray) -> None:
    for name, image in (("output", output), ("real", real)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, "dtype", type(image).__name__)
            raise TypeError(
                f"'{name}' must be an 8-bit RGB array, got {kind}. "
                "Convert floats in [0, 1] with opmask.metrics.to_uint8."
            )
    if output.ndim != 3 or output.shape[2] != 3:
        raise ValueError(f"'output' must have shape (H, W, 3), got {output.shape}.")
    if real.shape != output.shape:
        raise ValueError(
            f"'real' must have the shape of 'output', {output.shape}, got {real.shape}."
        )


def _planes(image: np.ndarray) -> Tensor:
    """The levels of an 8-bit image as float64, with shape (1, 3, H, W)."""
    return torch.from_numpy(image.astype(np.float64)).movedim(-1, 0)[None]


def _networks(lpips: Iterable[LPIPS] | None) -> Iterable[LPIPS]:
    if lpips is None:
        return lpips_at_hand()
    networks = lpips if isinstance(lpips, str) else tuple(lpips)
    if not all(isinstance(network, LPIPS) for network in networks):
        raise TypeError(
            f"'lpips' must hold modules such as opmask.losses.LPIPS('vgg'), got {networks!r}."
        )
    return networks


def _binarize(region: np.ndarray, output: np.ndarray) -> np.ndarray:
    if region.shape != output.shape[:2]:
        raise ValueError(
            f"'region' must have the height and width of 'output', {output.shape[:2]}, "
            f"got {region.shape}."
        )
    inside = region > (127.5 if region.max() > 1 else 0.5)
    if not inside.any():
        raise ValueError("'region' must hold at least one pixel, got an empty one. Leave it out.")
    return inside
