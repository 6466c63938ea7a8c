r"""ONNX: a model, or a part of it, as a file for ONNX Runtime and other engines.

The file has named, flat inputs and outputs, takes batches and images of any size, and says in its
metadata what the masks mean. It is compared with the model in ONNX Runtime before it is written,
because exporters have bugs that give another picture without a word.

Data flow: `model -> build_graph -> torch.export -> ONNX -> ONNX Runtime -> file`.
"""

from __future__ import annotations

import copy
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from opmask.export.graphs import (
    IMAGE_OUT,
    Graph,
    Parts,
    Size,
    base_side,
    build_graph,
    draw_inputs,
)
from opmask.export.metadata import describe, tidy
from opmask.export.weights import check_weights, halve
from opmask.files import replacing
from opmask.operators import MaskRange
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper

if TYPE_CHECKING:
    import onnx
    import onnx_ir

__all__ = ["OPSET", "TOLERANCE", "to_onnx"]

OPSET = 18
"""The version of ONNX's operators: the first with antialiased resizing."""

TOLERANCE = 1e-2
"""By how much the file may differ from the model, of 1 or of the largest value. Rounding was seen
to make up to 0.0014 of it, and wrong exports from 0.09 on."""

ATTEMPTS = 3
"""On how many draws a file may fail. One that is wrong fails on all; networks that decide, such as
which pieces of a picture are one, may decide otherwise once, for a rounding error."""

RACE = (
    "the file adds to places of a tensor by ScatterND, which ONNX Runtime does wrongly if it has "
    "several threads. Use scatter_add instead of index_add in the network, or give the "
    "SessionOptions intra_op_num_threads = 1."
)

CHATTER = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def to_onnx(
    model: OperatorMaskWrapper | Retoucher,
    path: str | Path,
    parts: Parts = "both",
    *,
    size: Size | None = None,
    half: bool = False,
    check: bool = True,
) -> None:
    r"""Exports a model, or a part of it, to an ONNX file.

    ============= ============================== ==========================
    `parts`       inputs                         outputs
    ============= ============================== ==========================
    `"predictor"` `image`, `region`              one by mask name
    `"retoucher"` `image` and one by mask name   `image_out`
    `"both"`      `image`, `region`              `image_out`, one by mask name
    ============= ============================== ==========================

    All are float32: images :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`; masks :math:`(B, 1, H,
    W)`, in operator units; the region :math:`(B, 1, H, W)`, 1 inside, 0 outside, -1 unknown. It is
    an input only of models built with `region=True`, and then -1 everywhere says that nothing is
    known. Height, width and batch are free; a network that needs multiples of a number gets them
    by padding within the file.

    The metadata hold, under the key `"opmask"`, JSON with the version of opmask, the operators in
    order with their colour spaces, masks and ranges, and the sizes.

    Args:
        model: The model, in any mode, on any device, in any precision; or a retoucher on its own.
            It is not changed: a copy in evaluation mode, in float32 and on the CPU is exported.
        path: The file to write, best with the suffix `.onnx`. It appears whole or not at all.
        parts: `"predictor"`, `"retoucher"` or `"both"`.
        size: The height and width of the images, in pixels, if they are not to be free. Networks
            whose graph depends on the size need it.
        half: Whether weights are stored in half precision, for half the size; they are computed
            with in float32, as engines make them when they read the file.
        check: Whether the file is compared with the model in ONNX Runtime, on random images,
            before it is written.

    Warns:
        UserWarning: If ONNX Runtime will compute the file wrongly with several threads.

    Raises:
        TypeError: If `model` is of another kind.
        ValueError: If `parts` or `size` is out of its range, the model does not have the part,
            it cannot be exported, or half precision does not hold its weights; the message says
            why.
        RuntimeError: If the file would compute something else than the model.
        ImportError: If `onnx`, `onnxscript` or `onnxruntime` is not installed.
        OSError: If the file cannot be written.

    Example:
        >>> import opmask, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "retoucher.onnx"
        >>> opmask.export.to_onnx(opmask.lab_retoucher(), path, parts="retoucher")
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        >>> [x.name for x in session.get_inputs()]
        ['image', 'l_mul', 'a_mul', 'b_mul', 'l_add', 'a_add', 'b_add']
        >>> session.get_inputs()[0].shape
        ['batch', 3, 'height', 'width']
    """
    _check_installed()
    graph = build_graph(model, parts)
    fixed = _fixed_size(graph, model, size)
    check_weights(graph)
    graph = _copied(graph).requires_grad_(False).cpu().float().eval()
    ranges = (model if isinstance(model, Retoucher) else model.retoucher).ranges
    with _quiet(), torch.no_grad():
        proto = _export(graph, ranges, fixed)
    if any(n.op_type == "ScatterND" and n.attribute for n in proto.graph.node):
        warnings.warn(RACE, stacklevel=2)
    tidy(proto, fixed)
    if half:
        halve(proto.graph)
    describe(proto, model, parts, graph, fixed)
    content = proto.SerializeToString()
    if check:
        _compare(content, graph, ranges, fixed)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _check_installed() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"Exporting to ONNX needs {name}, which is not installed. "
                "Run: pip install 'opmask[export]'"
            ) from error


def _fixed_size(
    graph: Graph, model: OperatorMaskWrapper | Retoucher, size: Size | None
) -> Size | None:
    """The only size of the images in the file, or `None` where sizes are free."""
    if size is not None:
        whole = isinstance(size, tuple) and len(size) == 2 and all(type(s) is int for s in size)
        if not whole or min(size) < graph.smallest:
            raise ValueError(
                "'size' must be a height and a width, in whole pixels from "
                f"{graph.smallest}, got {size!r}."
            )
        return size
    if isinstance(model, Retoucher) or graph.outputs == [IMAGE_OUT] or model.size is None:
        return None
    if model.size_rule.fixed is not None:
        return model.size_rule.fixed
    raise ValueError(
        f"'size' must be given for a model that works at size={model.size}. Pass size=(height, "
        "width) of the images, or set model.size = None and resize them yourself."
    )


def _copied(graph: Graph) -> Graph:
    try:
        return copy.deepcopy(graph)
    except Exception as error:  # whatever a network's own attributes raise
        raise ValueError(
            f"'model' must be one that copy.deepcopy can copy, got {type(error).__name__}: "
            f"{error}. Call model.eval() first."
        ) from error


def _export(graph: Graph, ranges: Mapping[str, MaskRange], fixed: Size | None) -> onnx.ModelProto:
    """The graph in ONNX, traced on a batch of a size that is no multiple of anything."""
    from torch.export import Dim, export  # late: they load a compiler

    side = base_side(graph)
    inputs = draw_inputs(graph, ranges, 2, fixed or (3 * side - 7, 2 * side + 5))
    # Not named dimensions: those refuse whatever holds for almost all sizes alone, such as that
    # the innermost map of a network has more than one pixel.
    free = dict.fromkeys([0] if fixed else [0, 2, 3], Dim.DYNAMIC)
    try:
        with _without_graphs():
            traced = export(graph, inputs, dynamic_shapes=((free,) * len(inputs),), strict=False)
        program = torch.onnx.export(
            traced,
            inputs,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=graph.inputs,
            output_names=graph.outputs,
            optimize=False,  # its rewriting takes as long as all else
        )
        _simplify(program.model)  # type: ignore[union-attr]
    except Exception as error:  # whatever the exporters raise
        raise ValueError(
            f"'model' cannot be exported: {_reason(error)}{_advice(fixed)}"
        ) from error
    return program.model_proto  # type: ignore[union-attr]


def _simplify(model: onnx_ir.Model) -> None:
    """Computes constants, and what is computed twice once; engines do the rest as they load."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass
    from onnxscript.optimizer import fold_constants, inline, remove_unused_nodes

    inline(model)
    fold_constants(model)
    CommonSubexpressionEliminationPass()(model)
    remove_unused_nodes(model)


@torch.no_grad()
def _compare(
    content: bytes, graph: Graph, ranges: Mapping[str, MaskRange], fixed: Size | None
) -> None:
    """Raises if ONNX Runtime finds something else in the file than the graph computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    side = base_side(graph)
    session = None
    for batch, size in (1, fixed or (2 * side - 7, side)), (3, fixed or (side, side - 3)):
        wrong = list(range(batch))
        for attempt in range(ATTEMPTS):
            inputs = draw_inputs(graph, ranges, batch, size, seed=attempt)
            feed = {name: x.numpy() for name, x in zip(graph.inputs, inputs, strict=True)}
            try:
                session = session or onnxruntime.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
                found = session.run(graph.outputs, feed)
            except Exception as error:  # of many kinds, none of them public
                raise RuntimeError(
                    f"the file does not run in ONNX Runtime on {batch} of {size[0]}x{size[1]}: "
                    f"{_reason(error)}{_advice(fixed)}"
                ) from error
            differing = _differing(graph, found, graph(*inputs))
            wrong = [image for image in wrong if image in differing]
            if not wrong:
                break
        else:
            name, difference = differing[wrong[0]]
            raise RuntimeError(
                f"the file would give another {name!r} than the model, by {difference:.2g} "
                f"on {batch} of {size[0]}x{size[1]}, and was not written.{_advice(fixed)}"
            )


def _differing(
    graph: Graph, found: Sequence[np.ndarray], wanted: Sequence[Tensor]
) -> dict[int, tuple[str, float]]:
    """By image of the batch, an output that is another one, and by how much."""
    differing: dict[int, tuple[str, float]] = {}
    for name, array, expected in zip(graph.outputs, found, wanted, strict=True):
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        apart = (torch.from_numpy(array) - expected).abs().flatten(1).amax(1).tolist()
        differing |= {i: (name, each) for i, each in enumerate(apart) if not each <= allowed}
    return differing


def _reason(error: Exception) -> str:
    """The first line of an error, as a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."


def _advice(fixed: Size | None) -> str:
    return "" if fixed else " Pass size=(height, width) if the network depends on the size."


@contextmanager
def _without_graphs() -> Iterator[None]:
    """Without the graph that torch prints, twice, where it can trace no further."""
    printed, graph = io.StringIO(), None
    try:
        with redirect_stderr(printed):
            yield
    except Exception as error:
        graph = getattr(error, "partial_fx_graph", None)
        raise
    finally:  # what else was printed, by an operator say, is passed on
        said = printed.getvalue()
        sys.stderr.write(said if graph is None else said.replace(f"{graph}\n", ""))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters log, and warn of in their own code."""
    loggers = [logging.getLogger(name) for name in CHATTER]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
