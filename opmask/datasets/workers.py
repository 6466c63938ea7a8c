r"""Work shared by processes, with a progress bar.

Function + numbers -> :func:`run` -> results, in the order of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

T = TypeVar("T")

Engine = Callable[[Callable[[int], Any], Sequence[int]], Iterable[Any]]
"""What computes a function of numbers, on many machines say, and gives results in their order."""


@dataclass(frozen=True)
class _Tasks(Dataset[T], Generic[T]):
    """The results of a function for some numbers, for a data loader to compute."""

    function: Callable[[int], T]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> T:
        return self.function(self.numbers[place])


def run(
    function: Callable[[int], T], numbers: Sequence[int], workers: int | Engine, title: str
) -> Iterable[T]:
    r"""Computes a function, with a progress bar where there is a terminal.

    Args:
        function: What to compute; defined at module level, so that it pickles.
        numbers: Its arguments, one a call.
        workers: How many processes share the calls; 0 is this one alone. Or an engine of your own.
        title: What the progress bar says.

    Returns:
        The results in the order of the numbers, each as soon as it is there.

    Example:
        >>> list(run(abs, [-2, 1], 0, "numbers"))
        [2, 1]
        >>> list(run(abs, [-2, 1], map, "numbers"))
        [2, 1]
    """
    if not isinstance(workers, int):
        return tqdm(workers(function, numbers), title, len(numbers), disable=None)
    # A generator of its own, or the global one would be drawn from.
    loader = DataLoader(
        _Tasks(function, numbers),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
    )
    return tqdm(loader, title, disable=None)
