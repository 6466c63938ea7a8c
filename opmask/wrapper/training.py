r"""One step of training, tried when a wrapper is built: does the network learn, and all of it?

Data flow: `(head, network, images) -> try_training -> TrainingStep`. In training mode some
networks run other layers, take images of one size alone, or do not run at all. That would show in
the first step of training, far from the line that built the wrapper. And some have parameters that
no gradient reaches, which :class:`torch.nn.parallel.DistributedDataParallel` must be told of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opmask.wrapper.heads import MaskHead, OutputHead, Run
from opmask.wrapper.probing import parameters_behind

__all__ = ["TrainingStep", "try_training"]


class TrainingStep(NamedTuple):
    r"""What a step of training showed.

    Args:
        reached: The parameters of the network that got a gradient.
        ran: Those that its output depends on in training mode.
        doubt: What went wrong, or an empty string; then both sets are empty.
    """

    reached: set[nn.Parameter]
    ran: set[nn.Parameter]
    doubt: str = ""


def try_training(
    head: MaskHead | OutputHead,
    backbone: nn.Module,
    images: Sequence[Tensor],
    run: Run,
    learns: bool,
) -> TrainingStep:
    r"""Runs a network forward and backward in training mode; its tensors stay as they were.

    Args:
        head: The head, attached.
        backbone: The network; it is left in training mode.
        images: Image batches that it accepts in evaluation mode, each with shape :math:`(B, 3, H,
            W)`. The next one is taken if one fails: batch norm may want a larger one.
        run: Calls the network with an image.
        learns: Whether there are parameters before the head that should get a gradient.

    Returns:
        What the step showed.
    """
    backbone.train()
    found = _first_step(head, backbone, images, run, learns)
    if isinstance(found, TrainingStep):
        return found
    backbone.eval()
    other = _first_step(head, backbone, images, run, learns)
    backbone.train()
    helps = (
        "To train it all the same, let it stay in evaluation mode: call model.backbone.eval() "
        "after model.train()."
        if isinstance(other, TrainingStep)
        else "It fails in evaluation mode, too. It can be used as it is; to train, wrap the part "
        "of it that learns, or pass head= a layer before what fails."
    )
    doubt = f"cannot be trained as it is: in training mode, {_shown(found)}. {helps}"
    return TrainingStep(set(), set(), f"{type(backbone).__name__} {doubt}")


def _first_step(
    head: MaskHead | OutputHead,
    backbone: nn.Module,
    images: Sequence[Tensor],
    run: Run,
    learns: bool,
) -> TrainingStep | Exception:
    """The first step that works, or the error of the first one."""
    errors: list[Exception] = []
    for image in images:
        try:
            with _kept(backbone):
                return _step(head, backbone, image, run, learns)
        except Exception as error:  # whatever the network raises, it is no reason not to wrap it
            errors.append(error)
    return errors[0]


def _shown(error: Exception) -> str:
    return "".join(str(error).strip().splitlines()[:1]).rstrip(".")


def _step(
    head: MaskHead | OutputHead, backbone: nn.Module, image: Tensor, run: Run, learns: bool
) -> TrainingStep:
    outputs: list[object] = []

    def keep() -> object:
        outputs.append(run(image))
        return outputs[-1]

    size = image.shape[-2], image.shape[-1]
    with torch.enable_grad():
        logits = head(keep, size, learns, backbone)
        if logits.requires_grad:
            logits.sum().backward()
    reached = {parameter for parameter in backbone.parameters() if parameter.grad is not None}
    tensors = [t for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.grad_fn is not None]
    for parameter in head.parameters():
        parameter.grad = None
    return TrainingStep(reached, parameters_behind(tensors))


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """A network's tensors are afterwards as before: batch norm counts in training."""
    buffers = [(module._buffers, {**module._buffers}) for module in network.modules()]
    tensors = [t for t in (*network.parameters(), *network.buffers()) if not t.is_inference()]
    before = [(tensor, tensor.clone(), tensor.grad, tensor._version) for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    try:
        yield
    finally:
        for registered, kept in buffers:  # some are replaced by others
            registered.update(kept)
        with torch.no_grad():
            for tensor, value, gradient, version in before:
                tensor.grad = gradient
                # Batch norm changes its statistics without a new version.
                if tensor._version != version or not isinstance(tensor, nn.Parameter):
                    tensor.copy_(value)
