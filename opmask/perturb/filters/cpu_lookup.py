r"""Look-up pipelines on a CPU, with NumPy: the same bits as the tensors of ``lookup.py``.

The same arithmetic in few calls, on blocks of pixels that stay in the caches: at 64x64 a call of
PyTorch costs more than what it does. Only integers are looked up and only single products and sums
are rounded, so that it does not matter who does it.

8-bit levels -> ``run_on_cpu`` -> 8-bit levels, for ``LookupPipeline.run`` and
:mod:`opmask.perturb.engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from opmask.perturb.filters.lookup import Bytes, LookupPipeline

BLOCK = 2**14
"""How many pixels go through a pipeline at once."""


def run_on_cpu(pipeline: LookupPipeline, levels: Bytes, keys: NDArray[np.int16] | None) -> Bytes:
    r"""Sends pixels through a pipeline.

    Args:
        pipeline: The pipeline.
        levels: The RGB levels, with shape :math:`(3, N)`.
        keys: The keys of the pixels with shape :math:`(N)`, if places differ.

    Returns:
        The new levels, with shape :math:`(3, N)`.
    """
    result = np.empty(levels.shape, np.uint8)
    for start in range(0, levels.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        result[:, block] = _run(pipeline, levels[:, block], None if keys is None else keys[block])
    return result


def _run(pipeline: LookupPipeline, levels: Bytes, keys: NDArray[np.integer] | None) -> Bytes:
    if pipeline.color_keys is not None:
        keys = _keys_of_colors(levels, pipeline.color_keys)
    if keys is None:
        levels = look_up_bytes(pipeline.first_tables[0], levels)
    else:
        levels = _look_up_keyed(pipeline.channel_tables, levels, keys)
    for stage in pipeline.stages:
        levels = look_up_bytes(stage.table, _multiply(stage.matrix, levels))
    return levels


def look_up_bytes(table: Bytes, levels: Bytes) -> Bytes:
    r"""Looks levels, with shape :math:`(3, N)`, up in a table of shape :math:`(3, 256)`.

    One row of levels will do for three equal ones.
    """
    rows = np.broadcast_to(levels, (3, levels.shape[1]))
    # Python's own table of bytes takes half as long as NumPy's indices.
    looked_up = (
        bytearray(row).translate(each.tobytes()) for row, each in zip(rows, table, strict=True)
    )
    return np.stack([np.frombuffer(row, np.uint8) for row in looked_up])


def _look_up_keyed(tables: Bytes, levels: Bytes, keys: NDArray[np.integer]) -> Bytes:
    """Looks levels up in tables of shape (3, 256 K), by keys of shape (N) or (3, N)."""
    index = keys.astype(np.intp) << 8 | levels
    return np.stack([table.take(places) for table, places in zip(tables, index, strict=True)])


def _multiply(matrix: NDArray[np.float32], levels: Bytes) -> Bytes:
    """Multiplies channels with a matrix, rounding as ``lookup.multiply`` does.

    Of a matrix whose rows are equal it gives one row of levels.
    """
    columns = (matrix[:1] if (matrix == matrix[0]).all() else matrix).T[..., None]
    red, green, blue = levels.astype(np.float32)
    total, product = columns[0] * red, columns[1] * green
    total += product
    total += np.multiply(columns[2], blue, out=product)
    total += np.float32(0.5)
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def _keys_of_colors(levels: Bytes, color_keys: Bytes) -> Bytes:
    """Keys that depend on a pixel's colour, with shape (3, N)."""
    red, green, blue = levels.astype(np.intp)
    lightness = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    saturation = levels.max(0) - levels.min(0)
    return color_keys.reshape(3, -1).take((saturation.astype(np.intp) << 8) + lightness, axis=1)
