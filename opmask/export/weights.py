r"""The weights in an ONNX file: whether they fit, and in half precision.

Data flow: `(graph of torch) -> check_weights`, and `(ONNX graph) -> halve -> ONNX graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opmask.export.graphs import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["check_weights", "halve"]

LARGEST = 2**31 - 2**24
"""The most bytes of weights in a file: one of ONNX ends at 2 GB, and holds more than weights."""

LARGEST_HALF = 65504
"""The largest number of half precision."""


def check_weights(graph: Graph) -> None:
    """Raises if the weights do not fit into one file."""
    size = sum(4 * tensor.numel() for tensor in graph.state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"'model' must have at most {LARGEST / 1e9:.1f} GB of float32 weights to fit into "
            f"one ONNX file, got {size / 1e9:.1f} GB."
        )


def halve(graph: onnx.GraphProto) -> None:
    """Weights in half precision, each with a node that makes it what it was."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        if not abs(values).max(initial=0) <= LARGEST_HALF:
            raise ValueError(
                f"'half' wants weights that half precision holds, but those of {name!r} reach "
                f"{abs(values).max():.3g}. Export without it."
            )
        weight.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *rest])
