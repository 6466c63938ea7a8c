"""A network of another library: how to build it, and what the wrapper may want to be told."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["CASES", "Build", "Case", "case", "cat_plane", "grey", "made", "squares"]

Build = Callable[[], nn.Module]


class Case(NamedTuple):
    library: str
    name: str
    build: Build
    tries: tuple[Mapping[str, Any], ...]
    """Arguments of the wrapper, tried in turn after none; `example` by its shape."""
    whole: bool
    """Whether it is exported and compiled, too."""


CASES: dict[str, Case] = {}
"""All networks by library and name."""


def case(
    library: str,
    name: str,
    build: Build,
    *,
    tries: Sequence[Mapping[str, Any]] = (),
    whole: bool = False,
) -> None:
    """Enters a network."""
    CASES[f"{library} {name}"] = Case(library, name, build, tuple(tries), whole)


def made(module: str, name: str, *arguments: object, **options: object) -> Build:
    """Builds a class of a module, which is imported only then."""

    def build() -> nn.Module:
        return getattr(importlib.import_module(module), name)(*arguments, **options)

    return build


def squares(side: int) -> list[dict[str, Any]]:
    """For a network that takes images of one size alone."""
    return [{"example": (2, 3, side, side)}]


def cat_plane(x: Tensor) -> Tensor:
    """A fourth channel, of zeros."""
    return torch.cat([x, torch.zeros_like(x[:, :1])], 1)


def grey(x: Tensor) -> Tensor:
    """The mean of the channels."""
    return x.mean(1, keepdim=True)
