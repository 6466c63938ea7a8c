r"""Checkpoints of this library: one safetensors file that rebuilds a model.

Data flow: `model -> save -> file -> load -> model`. The file holds the tensors and, as JSON in its
header, everything else: operators with ranges and colour spaces, the mask head's geometry, sizes,
region input. Networks of :mod:`opmask.backbones` are rebuilt from their name and arguments; any
other is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from opmask.checkpoints._checks import check_file, check_finite, check_shapes
from opmask.checkpoints.description import build, check_map, describe, sketch
from opmask.checkpoints.metadata import parse
from opmask.files import replacing
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.baseline import DirectRGB

__all__ = ["load", "save"]

IN_THE_BOX = Path(__file__).parents[1] / "models" / "small.safetensors"
"""The model that comes with opmask."""

LARGEST_HEADER = 16 * 2**20
"""The longest list of tensors, with the metadata, in bytes."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored in; they are loaded in the precision of the network."""


def save(model: OperatorMaskWrapper | DirectRGB, path: str | Path, *, half: bool = False) -> None:
    r"""Saves a model to one safetensors file.

    The file is written beside `path` and then renamed, so that a full disk or an interrupt leaves
    the previous one.

    Args:
        model: The model.
        path: The file to write, best with the suffix `.safetensors`.
        half: Whether weights are rounded to half precision, for half the size, and with them
            float32 buffers of more than one dimension. Norms, biases, integers and buffers in
            double precision stay as they are. What is loaded has single precision again.

    Raises:
        ValueError: If a tensor holds a value that is not finite, or a size is one that
            :func:`load` refuses.
        TypeError: If `model` is something else.

    Example:
        >>> import opmask, tempfile, torch
        >>> model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     opmask.save(model, f"{folder}/model.safetensors")
        ...     loaded = opmask.load(f"{folder}/model.safetensors")
        >>> image = torch.rand(1, 3, 64, 64)
        >>> torch.equal(loaded(image).image, model(image).image)
        True
    """
    if not isinstance(model, (OperatorMaskWrapper, DirectRGB)):
        raise TypeError(
            f"'model' must be an OperatorMaskWrapper or a DirectRGB, got {type(model).__name__}."
        )
    tensors = {
        name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()
    }
    if half:
        tensors |= {name: tensors[name].half() for name in _halved(model) & tensors.keys()}
    check_finite(tensors, "cannot save the model")
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"opmask": describe(model)})


def _halved(model: nn.Module) -> set[str]:
    """What half precision is enough for: weights, and maps in single precision."""
    parameters = {n: p for n, p in model.named_parameters() if p.dtype in FLOATS}
    buffers = {n: b for n, b in model.named_buffers() if b.dtype == torch.float32}
    return {name for name, t in (parameters | buffers).items() if t.ndim > 1}


@overload
def load() -> OperatorMaskWrapper: ...


@overload
def load(
    path: str | Path | None,
    *,
    backbone: nn.Module | None = None,
    retoucher: Retoucher | None = None,
    call: Callable[[nn.Module, Tensor], object] | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
) -> OperatorMaskWrapper | DirectRGB: ...


@torch.inference_mode(False)  # whose tensors could not be trained further
def load(
    path: str | Path | None = None,
    *,
    backbone: nn.Module | None = None,
    retoucher: Retoucher | None = None,
    call: Callable[[nn.Module, Tensor], object] | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
) -> OperatorMaskWrapper | DirectRGB:
    r"""Loads a model that :func:`save` wrote, or the one that comes with opmask.

    The layer that masks are read from, its geometry and the sizes that the network accepts come
    from the file, and the network is not run. (Older files hold less: what they lack is found out
    by running it. Saved again, they are like new ones.) A file whose tensors are not those of the
    network that it describes is refused before the network is built.

    Args:
        path: The file. Default: the bundled model, see :doc:`/reference/card`.
        backbone: The network, built as for training; needed if it is none of
            :mod:`opmask.backbones`.
        retoucher: The retoucher; needed if it has operators of your own.
        call: How to call the network; needed if the model was built with one.
        preprocess: The network's preprocessing; needed if the model was built with one that is not
            `from_rgb` of an opmask colour space.

    Returns:
        The model, in evaluation mode (call `train()` to go on training), on the CPU or where
        `backbone` is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is none of these, is damaged, or needs an argument that was not
            given.
    """
    path = IN_THE_BOX if path is None else Path(path)
    check_file(path)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            about = parse(_metadata(file), "the metadata")
            parts = sketch(about, backbone, retoucher)
            tensors = _read(file, parts.tensors())
        if backbone is None:
            check_map(about, parts)
        model = build(about, backbone, retoucher, call, preprocess)
    except SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} is no whole safetensors file: {error}. A .pth of the paper's code is "
            "read by opmask.checkpoints.load_reference_checkpoint."
        ) from error
    except ValueError as error:
        raise ValueError(f"cannot load {str(path)!r}: {error}") from error
    model.load_state_dict(tensors)
    return model.eval()


def _check_header(path: Path) -> None:
    """Raises if the list of tensors is longer than any network's."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LARGEST_HEADER:
        raise SafetensorError(f"the header would be {size} bytes long")


def _metadata(file: Any) -> str:  # noqa: ANN401
    metadata: dict[str, str] = file.metadata() or {}
    if "opmask" not in metadata:
        raise ValueError("it was not written by opmask.save.")
    return metadata["opmask"]


def _read(file: Any, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ANN401
    """The tensors of a file, which must be those of the model by name, shape and kind."""
    check_shapes(wanted, {name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    tensors = {name: file.get_tensor(name) for name in wanted}
    for name, tensor in tensors.items():
        dtype = wanted[name].dtype
        if tensor.dtype != dtype and not (tensor.dtype in FLOATS and dtype in FLOATS):
            raise ValueError(f"tensor {name!r} must be of {dtype}, got {tensor.dtype}.")
    check_finite(tensors, "it is damaged")
    return tensors
