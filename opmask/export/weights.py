r"""The weights in an ONNX file: whether they fit, and in half precision.

Data flow: `(graph of torch) -> check_weights`, and `(ONNX graph) -> halve -> ONNX graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opmask.export.graphs import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["check_weights", "halve"]

LARGEST = 2**31 - 2**24
"""The most bytes of weights in a file: one of ONNX ends at 2 GB, and holds more than weights."""

LARGEST_HALF = 65504
"""The largest number of half precision."""

LONG = 1000
"""How many whole numbers a list has that is worth making smaller."""


def check_weights(graph: Graph) -> None:
    """Raises if the weights do not fit into one file."""
    size = sum(4 * tensor.numel() for tensor in graph.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"'model' must have at most {LARGEST / 1e9:.1f} GB of float32 weights to fit into "
            f"one ONNX file, got {size / 1e9:.1f} GB."
        )


def halve(graph: onnx.GraphProto) -> None:
    """Weights in half precision, and long lists of whole numbers in fewer bytes.

    Each gets a node that makes it what it was.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        name, values = weight.name, numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) >= 2:
            if not abs(values).max(initial=0) <= LARGEST_HALF:
                raise ValueError(
                    f"'half' wants weights that half precision holds, but those of {name!r} reach "
                    f"{abs(values).max():.3g}. Export without it."
                )
            small = values.astype("float16")
        elif weight.data_type == TensorProto.INT64 and values.size >= LONG:
            small = _narrow(values)
        else:
            continue
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=weight.data_type))
        weight.CopyFrom(numpy_helper.from_array(small, f"{name}.half"))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *rest])


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same whole numbers, of the smallest type that holds them."""
    ranges = [np.iinfo(kind) for kind in (np.int8, np.int16, np.int32, np.int64)]
    fitting = (r.dtype for r in ranges if r.min <= values.min() and values.max() <= r.max)
    return values.astype(next(fitting))
