r"""State dicts in files that `torch.save` wrote.

Data flow: `.pth file -> read_state_dict -> {name: tensor}`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from opmask.checkpoints._checks import check_file
from opmask.files.pth import read_pth

__all__ = ["read_state_dict"]

KINDS = ("params", "params_ema")


def read_state_dict(path: Path, which: str) -> dict[str, Tensor]:
    """The tensors of a file, unchecked, by the names they have there without `module.`."""
    if which not in KINDS:
        raise ValueError(f"'which' must be 'params' or 'params_ema', got {which!r}.")
    check_file(path)
    if _is_safetensors(path):  # some versions of torch.load open these as well
        raise ValueError(f"{str(path)!r} is a safetensors file. Load it with opmask.load.")
    content = read_pth(path)
    if isinstance(content, dict) and "state_dict" in content:  # with an epoch, an optimiser ...
        content = content["state_dict"]
    content = _choose(path, content, which)
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(t, Tensor) for name, t in content.items()
    ):
        raise ValueError(
            f"{str(path)!r} must hold a state dict, names with tensors, got something else. "
            "The files that the published code writes beside its networks, to resume training, "
            "have none."
        )
    return {name.removeprefix("module."): t for name, t in content.items()}


def _is_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt"):
            return True
    except SafetensorError:
        return False


def _choose(path: Path, content: object, which: str) -> object:
    """The state dict asked for; a file without a choice is one itself."""
    found = [kind for kind in KINDS if isinstance(content, dict) and kind in content]
    if which == "params" and found == ["params_ema"]:
        raise ValueError(f"{str(path)!r} has only 'params_ema'. Pass which='params_ema'.")
    if which not in found and which == "params_ema":
        warnings.warn(f"{str(path)!r} has no 'params_ema': 'params' are loaded.", stacklevel=4)
        which = "params"
    return content[which] if found else content  # type: ignore[index]
