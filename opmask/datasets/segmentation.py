r"""Regions for photos that nobody has labelled, so that they can be trained on, too.

Many small pieces of even colour are found first, then the most alike neighbours are joined until
a few are left. They are no objects with names, but mostly sky, ground, a coat, a wall.

Photograph -> :func:`segment` -> label map -> ``Photo`` -> ``Composites``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SMALLEST = 0.01
"""The least area of a region, as a share of the picture."""

# The pieces to start from: the smaller, the better they can be joined, but the more there are.
_PIECE = 0.003  # the least area of one, as a share of the picture
_SCALE = 200  # the larger, the larger they are
_SIGMA = 0.8  # of the blur that keeps the grain of film out, in pixels


def segment(image: Tensor, *, regions: int = 8) -> Tensor:
    r"""Divides a photo into a few regions by their colours.

    .. math:: \frac{n_i n_j}{n_i + n_j} \lVert c_i - c_j \rVert^2

    is the cost of joining the neighbours :math:`i` and :math:`j` of :math:`n` pixels with the mean
    CIELAB colours :math:`c`, which is by how much the squared deviation of all pixels from the
    mean of their region grows (Ward's criterion). The pair that costs least is joined until at
    most `regions` are left; then those below 1 % of the picture are joined with the neighbour
    that costs least, the smallest first. The pieces to start from are those of Felzenszwalb's
    method, in the implementation of scikit-image.

    Args:
        image: The RGB photo, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        regions: How many regions there may be, at least 1.

    Returns:
        The label map, ``int64``, with shape :math:`(H, W)`: integers from 1 on, in the order in
        which the rows of the picture meet them. It depends on the photo alone.

    Raises:
        ImportError: If scikit-image is not installed.
        TypeError: If `image` is not ``uint8``.
        ValueError: If `image` has another shape or `regions` is below 1.

    References:
        | Efficient Graph-Based Image Segmentation (Felzenszwalb and Huttenlocher, 2004)
        | Hierarchical Grouping to Optimize an Objective Function (Ward, 1963)

    Example:
        >>> image = torch.zeros(3, 4, 4, dtype=torch.uint8)
        >>> image[:, 1:, 2:] = 200
        >>> segment(image)
        tensor([[1, 1, 1, 1],
                [1, 1, 2, 2],
                [1, 1, 2, 2],
                [1, 1, 2, 2]])
    """
    _check(image, regions)
    codes = image.permute(1, 2, 0).contiguous().cpu().numpy()
    try:
        from skimage.color import rgb2lab
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise ImportError(
            "Finding regions needs scikit-image, which is not installed. "
            "Run: pip install 'opmask[train]'"
        ) from error
    least = int(_PIECE * codes[..., 0].size)
    pieces = felzenszwalb(codes, scale=_SCALE, sigma=_SIGMA, min_size=least)
    return torch.from_numpy(merge_pieces(pieces, rgb2lab(codes), regions))


def _check(image: Tensor, regions: int) -> None:
    if image.dtype != torch.uint8:
        raise TypeError(
            f"'image' must be uint8 in 0-255, got {image.dtype}. Multiply values in [0, 1] by 255."
        )
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"'image' must have shape (3, H, W), got {tuple(image.shape)}.")
    if regions < 1:
        raise ValueError(f"'regions' must be at least 1, got {regions}.")


def merge_pieces(pieces: np.ndarray, lab: np.ndarray, regions: int) -> np.ndarray:
    r"""Joins pieces of a picture until they are few and none is small, see :func:`segment`.

    Args:
        pieces: The number of the piece of each pixel, from 0, with shape :math:`(H, W)`.
        lab: The CIELAB colours, with shape :math:`(H, W, 3)`.
        regions: How many regions there may be, at least 1.

    Returns:
        The number of the region of each pixel, from 1, with shape :math:`(H, W)`.

    Example:
        >>> lab = np.array([0.0, 4, 7, 9])[None, :, None] * (1, 0, 0)
        >>> merge_pieces(np.arange(4)[None], lab, 3)
        array([[1, 2, 3, 3]])
    """
    sizes = np.bincount(pieces.ravel()).astype(float)
    sums = [np.bincount(pieces.ravel(), channel.ravel()) for channel in np.moveaxis(lab, -1, 0)]
    colors = np.stack(sums, 1) / sizes[:, None]
    touching = _touching(pieces, len(sizes))
    costs = np.stack([_costs(i, sizes, colors, touching) for i in range(len(sizes))])
    owner = np.arange(len(sizes))
    while (pair := _next_pair(sizes, costs, regions)) is not None:
        kept, gone = pair
        colors[kept] = np.average(colors[[kept, gone]], 0, sizes[[kept, gone]])
        sizes[kept], sizes[gone] = sizes[kept] + sizes[gone], 0
        touching[kept] |= touching[gone]
        touching[:, kept] = touching[kept]
        touching[gone] = touching[:, gone] = touching[kept, kept] = False
        costs[gone] = costs[:, gone] = np.inf
        costs[kept] = costs[:, kept] = _costs(kept, sizes, colors, touching)
        owner[owner == gone] = kept
    return _number(owner[pieces])


def _touching(pieces: np.ndarray, count: int) -> np.ndarray:
    """Which pieces share an edge of a pixel, with shape (N, N)."""
    touching = np.zeros((count, count), dtype=bool)
    touching[pieces[1:], pieces[:-1]] = touching[pieces[:, 1:], pieces[:, :-1]] = True
    np.fill_diagonal(touching, False)
    return touching | touching.T


def _costs(piece: int, sizes: np.ndarray, colors: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """What joining a piece with each of the others costs, infinite where they do not touch."""
    distances = np.square(colors - colors[piece]).sum(1)
    costs = sizes[piece] * sizes / (sizes[piece] + sizes) * distances
    return np.where(touching[piece], costs, np.inf)


def _next_pair(sizes: np.ndarray, costs: np.ndarray, regions: int) -> tuple[int, int] | None:
    """The pieces to join next, or None."""
    left = np.count_nonzero(sizes)
    if left > regions:
        kept, gone = divmod(int(costs.argmin()), len(sizes))
        return kept, gone
    smallest = int(np.where(sizes > 0, sizes, np.inf).argmin())
    if left == 1 or sizes[smallest] >= SMALLEST * sizes.sum():
        return None
    return int(costs[smallest].argmin()), smallest


def _number(labels: np.ndarray) -> np.ndarray:
    """The labels, renamed to 1, 2, ... in the order of their first pixels."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse].reshape(labels.shape) + 1
