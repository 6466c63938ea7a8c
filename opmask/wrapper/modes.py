r"""Training and evaluation mode, for those who run a network that is not theirs.

Data flow: `model in any mode -> for_inference -> model in evaluation mode`. Modules have one
`training` flag for all threads, so whoever flips it changes what other threads compute; nothing
that is called again and again may.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["evaluating", "for_inference"]

M = TypeVar("M", bound=nn.Module)


def for_inference(model: M) -> M:
    r"""A model in evaluation mode that may be run in any thread.

    Args:
        model: The model, in any mode. It is not changed.

    Returns:
        The model itself if each of its modules is in evaluation mode; otherwise a copy in
        evaluation mode that shares its weights.

    Raises:
        ValueError: If the model is in training mode and holds what cannot be copied.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        >>> ready = for_inference(model)
        >>> ready.training, model.training, ready[0].weight is model[0].weight
        (False, True, True)
        >>> for_inference(ready) is ready
        True
    """
    if not any(module.training for module in model.modules()):
        return model
    # What the memo holds counts as copied already. Attributes are in it as well, because weights
    # that a spectral norm computed are some, and deepcopy refuses a tensor with a history.
    attributes = (vars(module).values() for module in model.modules())
    held = chain(model.parameters(), model.buffers(), *attributes)
    memo = {id(tensor): tensor for tensor in held if isinstance(tensor, Tensor)}
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # whatever a network's own attributes raise
        raise ValueError(
            "'model' must be in evaluation mode, or a network that copy.deepcopy can copy, got "
            f"{type(error).__name__}: {error}. Call model.eval() first."
        ) from error


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards each module's own `training` flag is as before.

    For a network that nobody else runs meanwhile, as while a wrapper is built around it.
    """
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag
