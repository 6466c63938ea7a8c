r"""Checkpoints of this library: one safetensors file that rebuilds a model.

Data flow: `model -> save -> file -> load -> model`. The file holds the tensors and, as JSON in its
header, everything else: operators with ranges and colour spaces, the mask head's geometry, sizes,
region input. Networks of :mod:`opmask.backbones` are rebuilt from their name and arguments; any
other is handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from opmask.baseline import DirectRGB
from opmask.checkpoints._checks import check_file, check_finite
from opmask.checkpoints.description import FORMAT, build, describe
from opmask.files import replacing
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper

__all__ = ["load", "save"]

IN_THE_BOX = Path(__file__).parents[1] / "models" / "small.safetensors"
"""The model that comes with opmask."""


def save(model: OperatorMaskWrapper | DirectRGB, path: str | Path, *, half: bool = False) -> None:
    r"""Saves a model to one safetensors file.

    The file is written beside `path` and then renamed, so that a full disk or an interrupt leaves
    the previous one.

    Args:
        model: The model.
        path: The file to write, best with the suffix `.safetensors`.
        half: Whether weights are rounded to half precision, for half the size. Norms and biases
            stay as they are. What is loaded has single precision again.

    Raises:
        ValueError: If a tensor holds a value that is not finite.
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
        tensors = {name: t.half() if t.ndim > 1 else t for name, t in tensors.items()}
    check_finite(tensors, "cannot save the model")
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"opmask": json.dumps(describe(model))})


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

    The layer that masks are read from, its geometry and the size rule come from the file and are
    verified by running the network, not searched for again.

    Args:
        path: The file. Default: the model in the box, see :doc:`/guide/model`.
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
    tensors, about = _read(IN_THE_BOX if path is None else Path(path))
    model = build(about, backbone, retoucher, call, preprocess)
    _check_names(model, tensors)
    model.load_state_dict(tensors)
    return model.eval()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} is no whole safetensors file: {error}. A .pth of the paper's code is "
            "read by opmask.checkpoints.load_reference_checkpoint."
        ) from error
    if "opmask" not in metadata:
        raise ValueError(f"{str(path)!r} was not written by opmask.save.")
    about = json.loads(metadata["opmask"])
    if about["format"] > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {about['format']}, this opmask reads up to {FORMAT}. "
            "Update opmask."
        )
    check_finite(tensors, f"{str(path)!r} is damaged")
    return tensors, about


def _check_names(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    wanted = model.state_dict()
    missing, unknown = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    shapes = [n for n in wanted.keys() & tensors.keys() if wanted[n].shape != tensors[n].shape]
    if missing or unknown or shapes:
        raise ValueError(
            "the checkpoint does not fit the model: "
            f"{len(missing)} tensors missing {sorted(missing)[:3]}, "
            f"{len(unknown)} unknown {sorted(unknown)[:3]}, "
            f"{len(shapes)} of another shape {sorted(shapes)[:3]}."
        )
