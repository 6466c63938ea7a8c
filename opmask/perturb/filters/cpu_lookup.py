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
    from opmask.perturb.filters.lookup import Bytes, LookupPipeline, Stage

BLOCK = 2**14
"""How many pixels go through a pipeline at once."""

_HALF = np.float32(0.5)


def run_on_cpu(pipeline: LookupPipeline, levels: Bytes, keys: NDArray[np.int16] | None) -> Bytes:
    r"""Sends pixels through a pipeline.

    Args:
        pipeline: The pipeline.
        levels: The RGB levels, with shape :math:`(3, N)`.
        keys: The keys of the pixels with shape :math:`(N)`, if places differ.

    Returns:
        The new levels, with shape :math:`(3, N)`.
    """
    if levels.shape[1] <= BLOCK:
        return _run(pipeline, levels, keys)
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
        levels = _multiply(stage, levels)
        if len(levels) == 1 or not stage.is_identity:
            levels = look_up_bytes(stage.table, levels)
    return levels


def look_up_bytes(table: Bytes, levels: Bytes) -> Bytes:
    r"""Looks levels up in a table with Python's own tables of bytes, twice as fast as NumPy.

    Args:
        table: The new levels, with shape :math:`(3, 256)`.
        levels: The levels, with shape :math:`(3, N)`, or :math:`(1, N)` for three equal rows.

    Returns:
        The new levels, with shape :math:`(3, N)`.
    """
    rows = [bytearray(row) for row in levels] * (3 // len(levels))
    looked_up = [row.translate(each.tobytes()) for row, each in zip(rows, table, strict=True)]
    return np.frombuffer(bytearray().join(looked_up), np.uint8).reshape(3, -1)


def _look_up_keyed(tables: Bytes, levels: Bytes, keys: NDArray[np.integer]) -> Bytes:
    """Looks levels up in tables of shape (3, 256 K), by keys of shape (N) or (3, N)."""
    index, result = keys.astype(np.intp) << 8 | levels, np.empty(levels.shape, np.uint8)
    for table, places, made in zip(tables, index, result, strict=True):
        table.take(places, out=made, mode="clip")  # faster than the mode that checks
    return result


def _multiply(stage: Stage, levels: Bytes) -> Bytes:
    """Multiplies channels with a matrix, rounding as ``lookup.multiply`` does.

    Of a matrix whose rows are equal it gives one row of levels.
    """
    columns = stage.columns
    red, green, blue = levels.astype(np.float32)
    total, product = columns[0] * red, columns[1] * green
    total += product
    total += np.multiply(columns[2], blue, out=product)
    total += _HALF
    return total.clip(0, 255, out=total).astype(np.uint8)


def _keys_of_colors(levels: Bytes, color_keys: Bytes) -> Bytes:
    """Keys that depend on a pixel's colour, with shape (3, N)."""
    red, green, blue = levels.astype(np.intp)
    lightness = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    saturation = levels.max(0) - levels.min(0)
    return color_keys.reshape(3, -1).take((saturation.astype(np.intp) << 8) + lightness, axis=1)
