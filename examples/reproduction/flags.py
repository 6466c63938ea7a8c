"""Command lines: flags that fields of dataclasses declare, and checks made before any work.

A field that :func:`flag` makes holds the default, the kind and the help of the flag of its name:
``add_flags(parser, Recipe)`` -> ``parser.parse_args()`` -> :func:`given` -> ``Recipe(**values)``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from opmask.files import check_outputs

T = TypeVar("T")

# --- flags from the fields of dataclasses ---


def flag(default: T, help: str | None = None, **options: object) -> T:
    """A field of a dataclass, and its flag; the options are those of `add_argument`."""
    return field(default=default, metadata={"help": help, **options})


def add_flags(parser: argparse.ArgumentParser, kind: type, title: str) -> None:
    """The flags of a dataclass, below a title; those not given leave no value behind."""
    group = parser.add_argument_group(title)
    for f in fields(kind):
        if f.metadata:
            name = "--" + f.name.replace("_", "-")
            group.add_argument(name, default=argparse.SUPPRESS, **f.metadata)


def given(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    """What was given for the fields of a dataclass; lists as tuples, which do not change."""
    values = {f.name: getattr(args, f.name) for f in fields(kind) if f.name in args}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there")


def add_every(parser: argparse.ArgumentParser, what: str = "photos") -> None:
    parser.add_argument(
        "--every", type=at_least(1), default=1, help=f"take only every so many {what}"
    )


# --- kinds of values ---


def at_least(low: int) -> Callable[[str], int]:
    """A `type=` for whole numbers with a lower bound."""

    def whole_number(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} on, got {text}.")
        return int(text)

    return whole_number


def positive(text: str) -> float:
    """A `type=` for learning rates."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}.")
    return value


def share(text: str) -> float:
    """A `type=` for shares of a whole."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text}.")
    return value


def weight(text: str) -> float:
    """A `type=` for weights of losses and other numbers that may be 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, got {text}.")
    return value


def existing(text: str) -> Path:
    """A `type=` for files and folders that must be there."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"must be a file or folder, but there is no {text!r}.")
    return path


def available_device(text: str) -> str:
    """A `type=` for a device that PyTorch can use here."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA raises the latter
        raise argparse.ArgumentTypeError(
            f"must be a device that PyTorch finds, got {text}. {str(error).splitlines()[0]}"
        ) from error
    return text


# --- files ---


def files_of(*paths: Path | None) -> Iterator[Path]:
    """All files that paths name, or that lie in the folders that they name."""
    for path in paths:
        if path is not None:
            yield from path.rglob("*") if path.is_dir() else [path]


def check_files(
    outputs: Mapping[str, Path | None],
    inputs: Iterable[Path | None] = (),
    *,
    overwrite: bool,
) -> None:
    """Refuses files that should not be written, before any work; makes their folders."""
    for path in outputs.values():
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    try:
        check_outputs(outputs, inputs=inputs, overwrite=overwrite)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
