r"""What an ONNX file says of itself: sizes, operators and ranges, and no path of its maker.

Data flow: `(ONNX graph, model) -> tidy, describe -> ONNX graph with metadata`.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from opmask._version import __version__
from opmask.export.graphs import Graph, Parts, Size
from opmask.operators import MaskRange, Operator
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper

if TYPE_CHECKING:
    import onnx

__all__ = ["about_operator", "about_range", "describe", "tidy"]


def tidy(proto: onnx.ModelProto, fixed: Size | None) -> None:
    """Names the free dimensions, and takes out where on this machine the code lies."""
    _forget(proto.graph)
    del proto.graph.value_info[:]  # the sizes between nodes, which engines work out by themselves
    names = ["batch", None, *(fixed or ("height", "width"))]
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if isinstance(name, int):
                dimension.dim_value = name
            elif name is not None:
                dimension.dim_param = name


def _forget(graph: onnx.GraphProto) -> None:
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for attribute in (a for node in graph.node for a in node.attribute if a.HasField("g")):
        _forget(attribute.g)


def describe(
    proto: onnx.ModelProto,
    model: OperatorMaskWrapper | Retoucher,
    parts: Parts,
    graph: Graph,
    fixed: Size | None,
) -> None:
    """Says in the metadata what the file holds and what its masks mean, as JSON."""
    retoucher = model if isinstance(model, Retoucher) else model.retoucher
    about = {
        "version": __version__,
        "parts": parts,
        "operators": [about_operator(operator) for operator in retoucher.operators],
        "size": {"fixed": fixed, "smallest": graph.smallest, "multiple_of": graph.multiple},
    }
    entry = proto.metadata_props.add()
    entry.key, entry.value = "opmask", json.dumps(about)


def about_range(r: MaskRange) -> dict[str, float | None]:
    """The values that a mask may take, as for operators."""
    return {
        "identity": r.identity,
        "low": r.low if math.isfinite(r.low) else None,
        "high": r.high if math.isfinite(r.high) else None,
    }


def about_operator(operator: Operator) -> dict[str, Any]:
    """An operator; bounds that are infinite, which JSON does not have, are null."""
    inner: Any = getattr(operator, "operators", [])
    return {
        "type": type(operator).__name__,
        "space": operator.space.name,
        "masks": {name: about_range(r) for name, r in operator.ranges.items()},
        "arguments": operator.arguments,
        "operators": [about_operator(op) for op in inner],
    }
