"""How training ends when it cannot go on: with the cause, and what to do about it.

A process that stops makes the others stop too: they lose their connection, or `accelerate launch`
and `torchrun` end them. The checkpoint on disk is the last good one in any case.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from reproduction.batches import Batch
from reproduction.learners import Run


def describe_batches(batches: Sequence[Batch], positions: Sequence[range]) -> str:
    """Enough to make the same composites again, see `opmask.datasets.Composites`."""
    seeds = [record.seed for batch in batches for record in batch.sample.applied]
    places = ", ".join(f"{part.start}-{part.stop - 1}" for part in positions)
    return f"positions {places}; seeds {seeds}"


def stop_if_not_finite(
    run: Run, mine: Tensor, means: list[float], batches: Sequence[Batch], positions: list[range]
) -> None:
    """Ends all processes if one value is not finite; that process names its batch."""
    if all(math.isfinite(mean) for mean in means):
        return
    what = f"The loss of {run.name} is not finite at step {run.step}"
    if mine.isfinite().all():
        raise SystemExit(f"{what}, in another process.")
    raise SystemExit(f"{what}. Its batch: {describe_batches(batches, positions)}. {advice(run)}")


def stop_if_weights_are_not_finite(
    run: Run, batches: Sequence[Batch], positions: list[range]
) -> None:
    """Ends the run before such weights replace the last good checkpoint."""
    tensors = (t for network in run.networks() for t in network.state_dict().values())
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise SystemExit(
            f"The weights of {run.name} are not finite after step {run.step}. The last batch: "
            f"{describe_batches(batches, positions)}. {advice(run)}"
        )


def advice(run: Run) -> str:
    return (
        f"The last good checkpoint stays in {run.folder / 'checkpoint'}. Start again with a lower "
        "--lr, or without the photos in question."
    )


@contextmanager
def explained_memory(args: argparse.Namespace) -> Iterator[None]:
    """Says which argument to lower when memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SystemExit(
            f"Out of memory with --batch-size {args.batch_size} and --size {args.size}. Lower "
            "--batch-size (raise --accumulate by the same factor, and a step has as many images "
            "as before), or --size, or try --mixed-precision bf16. "
            f"({(str(error) or 'MemoryError').splitlines()[0]})"
        ) from error


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Of a GPU or of Python, which have errors of their own, or of PyTorch on a CPU."""
    kinds, texts = (torch.OutOfMemoryError, MemoryError), ("not enough memory", "can't allocate")
    return isinstance(error, kinds) or any(text in str(error) for text in texts)
