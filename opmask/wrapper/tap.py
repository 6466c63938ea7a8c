"""Listening to a layer of a network while it runs, and ending the run there.

Data flow: `tapped layer -> Tap -> features`, for :class:`opmask.wrapper.heads.MaskHead`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Tap", "may_stop"]


class _Reached(BaseException):
    """Ends the run of a network at its tapped layer; an `except Exception` lets it through."""


class Tap:
    """A hook that keeps the input of its layer, but only while somebody listens.

    If it always kept the input, a deep copy after `backbone(x)` would meet a tensor of the
    autograd graph, and memory would stay alive. The state is per thread, so that several threads
    can call one model.

    It is hooked to the layer twice. After the layer it keeps what the layer got in the end, also
    where other hooks replaced its input. Before the layer it ends the run if it is told to, which
    is for networks without hooks of others alone: see :func:`may_stop`.
    """

    def __init__(self) -> None:
        self._state = threading.local()

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *output: object
    ) -> None:
        """Keeps the input if somebody listens; input and output stay as they are."""
        state = self._state
        if not self.listening:
            return
        state.features = args[0] if args else next(iter(kwargs.values()))
        if state.stopping and not output:
            state.listening = False  # a network that swallows it and goes on is not heard
            raise _Reached(self)

    @property
    def listening(self) -> bool:
        """Whether somebody listens, in this thread."""
        return getattr(self._state, "listening", False)

    def __reduce__(self) -> tuple[type[Tap], tuple[()]]:
        return Tap, ()

    def listen(self, run: Callable[[], object], stop: bool = False) -> Tensor | None:
        """The input that the layer got last while `run` ran, or `None` if it did not run.

        With `stop`, the input that it got first, and what comes after that does not run.
        """
        state = self._state
        state.listening, state.stopping, state.features = True, stop, None
        try:
            run()
        except _Reached as reached:
            if reached.args[0] is not self:  # but a wrapper's around this one
                raise
        finally:
            features = state.features
            state.listening, state.stopping, state.features = False, False, None
        return features


def may_stop(network: nn.Module) -> bool:
    """Whether nobody can tell whether a run of a network ends before its end.

    So it is where there are no gradients to come and no module changes what it holds, as some do
    in training mode, unless somebody has hooked something to one of the modules, or to all there
    are. Compilers leave out by themselves what nobody uses.
    """
    every = torch.nn.modules.module
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or every._global_forward_hooks
        or every._global_forward_pre_hooks
        or _is_busy(network)
    )


def _is_busy(module: nn.Module) -> bool:
    """Whether a module, or one within it, trains or has hooks other than taps at rest."""
    # By hand: a small network runs in milliseconds, and Module.modules takes twice as long.
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        if hooks and not all(isinstance(h, Tap) and not h.listening for h in hooks.values()):
            return True
    if module.training:
        return True
    return any(inner is not None and _is_busy(inner) for inner in module._modules.values())
