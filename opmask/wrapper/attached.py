r"""What is found out about a mask head once it listens to its layer.

Data flow: `(MaskHead, network, image) -> the same head, its geometry completed`, once, when a
wrapper is built, after :mod:`opmask.wrapper.probing`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from opmask.wrapper.heads import MaskHead, Run, as_map

__all__ = ["find_start", "find_stop"]


@torch.no_grad()
def find_start(head: MaskHead, example: Tensor, run: Run) -> None:
    r"""Finds where the image begins in a map that is larger than the image's share of it.

    A window that the network pads on one side only would otherwise shift every mask. One spot of
    the image is changed, and the features that move tell where it went. Noted in the geometry.

    Args:
        head: The mask head, attached.
        example: An image that the network accepts, with shape :math:`(B, 3, H, W)`.
        run: Calls the network with an image.
    """
    geometry, (height, width) = head.geometry, example.shape[-2:]
    if geometry.excess <= 0:
        return
    moved = example.clone()
    moved[..., height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] *= -1
    maps = [
        as_map(head.features(lambda image=image: run(image)), (height, width), geometry.inputs)  # type: ignore[misc]
        for image in (example, moved)
    ]
    energy = (maps[1] - maps[0]).square().sum((0, 1, 3))
    rows = torch.arange(len(energy), device=energy.device)
    centre = float((energy * rows).sum() / energy.sum())
    margin = (len(energy) - head.layer(maps[0].to(head.layer.weight)).shape[-2]) / 2
    begin = centre - margin - geometry.scale[0] * height / geometry.scale[1] / 2 + 0.5
    start = min((0, geometry.excess // 2, geometry.excess), key=lambda s: abs(s - begin))
    head.geometry = replace(geometry, start=start)


@torch.no_grad()
def find_stop(head: MaskHead, backbone: nn.Module, example: Tensor, run: Run) -> None:
    r"""Finds out whether the network may stop at the tapped layer, and notes it in the geometry.

    Not if the layer runs several times, because it is the last input that counts; nor if a run
    that was cut short changes what the next one gives, as in a network that tidies up at its end.

    Args:
        head: The mask head, attached.
        backbone: The network, in evaluation mode.
        example: An image that the network accepts, with shape :math:`(B, 3, H, W)`.
        run: Calls the network with an image.
    """
    calls = []
    layer = backbone.get_submodule(head.name)
    counter = layer.register_forward_hook(lambda *_: calls.append(1))
    try:
        # The run that is cut short comes first, so that what it leaves behind tells in the other.
        cut = head.features(lambda: run(example), stop=True).clone()
        whole = head.features(lambda: run(example))
        once = len(calls) == 1 and torch.equal(cut, whole)
    except Exception:  # whatever the network raises, it does not stand that
        once = False
    finally:
        counter.remove()
    if not once:
        with suppress(Exception):
            run(example)  # tidies up
    head.geometry = replace(head.geometry, once=once)
