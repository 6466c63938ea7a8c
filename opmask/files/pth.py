r"""Reading files of `torch.save`, whoever wrote them: no code runs, and no more memory is taken.

`torch.load(weights_only=True)` alone still lets a kilobyte ask for gigabytes: by compression, by
tensors that repeat one number (stride 0), by quantised ones or by a `bytearray` of any length. So
the directory of the archive and the names in its pickle are looked at first, and the tensors
before they are copied.

Data flow: `.pth file -> read_pth -> content -> check_weights or read_weights -> {name: tensor}`.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from opmask.files.reading import check_regular

__all__ = ["check_weights", "read_pth", "read_weights"]

PLAIN = {
    "collections Counter",  # which schedulers keep their milestones in
    "collections OrderedDict",
    "collections defaultdict",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float")),
    *(f"torch {kind}Storage" for kind in ("Half", "Int", "Long", "Short")),
}
"""The names that a pickle of dense tensors, numbers and texts needs."""

PICKLES = 5
"""How many pickles a file from before torch 1.6 begins with; then come the numbers."""

PROTOCOL = 2
"""That of the pickles that torch reads without doubts."""


def read_pth(path: Path) -> object:
    r"""Reads a file that `torch.save` wrote: tensors, numbers and texts in any order.

    Args:
        path: The file, in the format of any version of torch.

    Returns:
        Its content. Tensors are on the CPU; those of an archive stay in the file until they are
        copied.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, is damaged, would take more memory than the file has,
            or holds anything but dense tensors and plain values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "net.pth")
        >>> torch.save({"weight": torch.ones(2)}, path)
        >>> read_pth(path)
        {'weight': tensor([1., 1.])}
    """
    check_regular(path, sys.maxsize)
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"  # as torch tells them apart
            file.seek(0)
            read = _names_in_archive if zipped else _names_in_pickles
            names = set(read(file, path))
    except _RefusedError:
        raise
    except Exception as error:  # zipfile and pickletools raise all kinds on what is damaged
        raise _damaged(path) from error
    if names - PLAIN:
        raise ValueError(_reason(str(path), sorted(names - PLAIN)))
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # so does the unpickler
        raise _damaged(path) from error


def check_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    r"""Raises unless all tensors hold floating-point numbers, each of them in the file.

    Args:
        path: The file they come from, for the error.
        tensors: The tensors by name.

    Raises:
        ValueError: If one does not.

    Example:
        >>> check_weights(Path("net.pth"), {"bias": torch.zeros(1).expand(10**10)})
        Traceback (most recent call last):
        ...
        ValueError: 'net.pth': 'bias' must be stored whole, but its 10000000000 values stand for 1
        in the file. Save it with .clone().
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(
                f"{str(path)!r}: {name!r} must hold floating-point numbers, got {tensor.dtype}."
            )
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        if stored != tensor.numel():
            raise ValueError(
                f"{str(path)!r}: {name!r} must be stored whole, but its {tensor.numel()} values "
                f"stand for {stored} in the file. Save it with .clone()."
            )


def read_weights(path: Path, shapes: Mapping[str, torch.Size], what: str) -> dict[str, Tensor]:
    r"""Reads the weights of a network of known shapes; what else the file holds is passed over.

    Args:
        path: The file.
        shapes: The shape of each tensor by its name in the file.
        what: What the network is called in an error.

    Returns:
        The tensors by name, in float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As for :func:`read_pth`; or if a tensor is missing or of another shape.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "net.pth")
        >>> torch.save({"weight": torch.ones(2), "rest": torch.ones(3)}, path)
        >>> read_weights(path, {"weight": torch.Size([2])}, "a network")
        {'weight': tensor([1., 1.])}
    """
    content = read_pth(path)
    state = content if isinstance(content, dict) else {}
    found = {name: state[name] for name in shapes if isinstance(state.get(name), Tensor)}
    wrong = [name for name in shapes if name not in found or found[name].shape != shapes[name]]
    if wrong:
        raise ValueError(
            f"'{path}' must hold the weights of {what}, got none, or some of another shape, for "
            f"{wrong}."
        )
    check_weights(path, found)
    return {name: tensor.to(torch.float32, copy=True) for name, tensor in found.items()}


class _RefusedError(ValueError):
    """A file that is whole, but not to be unpacked."""


def _names_in_archive(file: BinaryIO, path: Path) -> Iterator[str]:
    """The names in the pickle of an archive, which must not grow when it is unpacked."""
    with ZipFile(file) as archive:
        size, entries = path.stat().st_size, archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > size or any(entry.compress_type != ZIP_STORED for entry in entries):
            raise _RefusedError(
                f"{str(path)!r} must be an archive without compression, as torch.save writes it, "
                f"got one of {size} bytes that unpack to {unpacked}. Fetch it again."
            )
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                yield from _names(archive.read(entry), path)


def _names_in_pickles(file: BinaryIO, path: Path) -> Iterator[str]:
    """The names in the pickles that a file from before torch 1.6 begins with."""
    for _ in range(PICKLES):
        yield from _names(file, path)


def _names(pickle: bytes | BinaryIO, path: Path) -> Iterator[str]:
    """What a pickle refers to, each as `module name`."""
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "PROTO" and argument != PROTOCOL:
            raise _RefusedError(
                f"{str(path)!r} must be pickled with protocol {PROTOCOL}, as torch.save does by "
                f"default, got {argument}. Save it again without pickle_protocol=."
            )
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"{opcode.name} in a pickle")


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{str(path)!r} is damaged, or no file that torch.save wrote. Fetch it again."
    )


def _reason(path: str, names: list[str]) -> str:
    """Why a file is refused that refers to names of no dense tensor."""
    dotted = [name.replace(" ", ".") for name in names]
    foreign = [name for name in dotted if not name.startswith(("torch.", "collections."))]
    if foreign:
        return (
            f"{path!r} would run code to rebuild {foreign[0]!r}, which opmask never does. If you "
            "trust it, open it with the code that wrote it, and save the tensors alone: "
            "torch.save({'params': network.state_dict()}, path)."
        )
    return (
        f"{path!r} must hold dense tensors of plain numbers, but has one that needs {dotted} "
        "(sparse, nested, quantised, complex and the like). Save it as a dense one."
    )
