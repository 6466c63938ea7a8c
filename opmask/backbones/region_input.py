r"""Networks for images become networks for images with a region.

Data flow: `network of (B, 3, H, W) -> with_region_input -> network of (B, 4, H, W)`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["with_region_input"]

# Sides of the images that a network is tried on.
PROBES = ((64, 96), (128, 192), (224, 224), (256, 256), (512, 512))

# What torch, and networks of opmask, say to an image without the region that they take.
LACKS_A_REGION = ("to have 4 channels, but got 3 channels", "be one more channel of 'image'")

BUILD = "Build it with 4 input channels."

N = TypeVar("N", bound=nn.Module)
Call = Callable[[nn.Module, Tensor], object]


def with_region_input(net: N, *, call: Call | None = None, example: Tensor | None = None) -> N:
    r"""A copy of a network that takes a fourth channel, the region, and makes nothing of it yet.

    The convolutions that see the image get weights of 0 for the region, so that the copy gives
    what the network gives until it is trained, whatever the region.

    Args:
        net: A network for images of 3 channels, as `net(image)`. It stays as it is.
        call: How to call it, as `call(net, image)`, if not as `net(image)`.
        example: An image that it accepts, with shape :math:`(B, 3, H, W)`, in the range of its
            input, if it accepts none of the usual sizes.

    Returns:
        The copy, which takes images of 4 channels of which the region is the last, as a wrapper
        with `region=True` hands them on.

    Raises:
        TypeError: If `net` is no network.
        ValueError: If the network does not run on an image; or if no fourth channel can be added,
            because what sees the image first is no convolution or one in groups, has weights that
            are computed or shared with other layers, or because the network does more with the
            channels of the image than convolve them.

    Example:
        >>> import torch
        >>> net = torch.nn.Conv2d(3, 8, 3, padding=1)
        >>> wider, image = with_region_input(net), torch.rand(1, 3, 32, 32)
        >>> wider.weight.shape
        torch.Size([8, 4, 3, 3])
        >>> same = wider(torch.cat([image, torch.ones(1, 1, 32, 32)], 1))
        >>> torch.allclose(same, net(image), atol=1e-6)
        True
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"'net' must be a torch.nn.Module, got {type(net).__name__}.")
    run = call or _call
    with torch.inference_mode(False):  # whose tensors cannot learn
        wider = copy.deepcopy(net)
        flags = {module: module.training for module in wider.modules()}
        like = next((p for p in wider.parameters() if p.is_floating_point()), torch.empty(0))
        forked = torch.random.fork_rng([like.device] if like.is_cuda else [])
        with forked, torch.no_grad():
            wider.eval()
            image, wanted, seen = _try(wider, run, like, example)
            _check_first(wider, next(iter(seen), None))
            _widen(wider, run, image, wanted, seen)
        for module, flag in flags.items():
            module.training = flag
    arguments: object = getattr(wider, "arguments", None)
    if isinstance(arguments, dict) and "in_channels" in arguments:
        # A network of opmask is built again from them where it is loaded.
        wider.arguments = {**arguments, "in_channels": arguments["in_channels"] + 1}  # type: ignore[assignment]
    return wider


def _call(net: nn.Module, image: Tensor) -> object:
    return net(image)


def _outputs(net: nn.Module, run: Call, image: Tensor) -> list[Tensor]:
    torch.manual_seed(0)  # for what is random in evaluation mode, too
    return [t for t in tree_leaves(run(net, image.clone())) if isinstance(t, Tensor)]


def _try(
    net: nn.Module, run: Call, like: Tensor, example: Tensor | None
) -> tuple[Tensor, list[Tensor], dict[nn.Module, Tensor]]:
    """An image that the network takes, what it gives for it, and what its layers saw, in order."""
    images = [torch.rand(2, 3, *size) for size in PROBES] if example is None else [example]
    layers = [
        module
        for module in net.modules()
        if [*module.parameters(recurse=False)] and (_convolves(module) or not [*module.children()])
    ]
    errors = []
    for image in images:
        image = image.to(like)
        seen: dict[nn.Module, Tensor] = {}
        hooks = [m.register_forward_pre_hook(partial(_note, seen)) for m in layers]
        try:
            return image, _outputs(net, run, image), seen
        except Exception as error:  # whatever it raises, the next size may suit it
            errors.append(error)
        finally:
            for hook in hooks:
                hook.remove()
    line = _line(errors[0])
    raise ValueError(
        f"'net' must run on an image batch of shape {tuple(images[0].shape)}, but "
        f"{type(net).__name__} raised {line}. "
        + (
            "It takes a region as it is."
            if any(text in line for text in LACKS_A_REGION)
            else "Pass example= an image batch that it takes, or call= how to call it."
        )
    )


def _note(seen: dict[nn.Module, Tensor], layer: nn.Module, args: tuple[object, ...]) -> None:
    if layer not in seen:
        seen[layer] = _means(args[0]) if args and isinstance(args[0], Tensor) else torch.empty(0)


def _means(x: Tensor) -> Tensor:
    """The mean of each channel, by which channels are known again."""
    return x.double().transpose(0, -3).flatten(1).mean(1) if x.ndim > 2 else x.new_empty(0)


def _convolves(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def _check_first(net: nn.Module, layer: nn.Module | None) -> None:
    """Raises unless the layer that sees the image first can take one channel more."""
    kind = type(net).__name__
    if layer is None:
        raise ValueError(
            f"'net' must have a layer that sees the image, but none of {kind} ran. {BUILD}"
        )
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        why = f"has {layer.groups} groups"
    elif not isinstance(layer, nn.Conv2d):
        why = f"is a {type(layer).__name__}"
    elif "weight" not in dict(layer.named_parameters(recurse=False)):
        why = "has weights that are computed, as by weight_norm"
    elif not layer.weight.requires_grad:
        why = "is frozen, and would never learn what a region is"
    else:
        return
    name = next(name for name, module in net.named_modules() if module is layer)
    raise ValueError(
        "'net' must see the image first with a convolution of its channels, which learns, but "
        f"{name!r} of {kind} {why}. {BUILD}"
    )


def _widen(
    net: nn.Module, run: Call, image: Tensor, wanted: list[Tensor], seen: dict[nn.Module, Tensor]
) -> None:
    """Widens each convolution that gets more channels where the region is one of the image."""
    new: dict[Tensor, nn.Parameter] = {}

    def widen(layer: nn.Conv2d, args: tuple[Tensor, ...]) -> None:
        if not args or args[0].shape[-3] <= layer.in_channels or layer.groups > 1:
            return
        old, places = layer.weight, _places(seen[layer], _means(args[0]))
        if len(places) == layer.in_channels:
            if old not in new:
                values = old.new_zeros(len(old), args[0].shape[-3], *old.shape[2:])
                values[:, places] = old
                new[old] = nn.Parameter(values, old.requires_grad)
            layer.weight, layer.in_channels = new[old], args[0].shape[-3]

    hooks = [m.register_forward_pre_hook(widen) for m in net.modules() if _convolves(m)]
    kind = type(net).__name__
    try:
        found = _outputs(net, run, torch.cat([image, torch.rand_like(image[:, :1])], 1))
    except Exception as error:
        raise ValueError(
            "'net' must do no more with the channels of the image than convolve them, but with a "
            f"fourth {kind} raised {_line(error)}. {BUILD}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if shared := [name for name, p in net.named_parameters() if p in new]:
        raise ValueError(
            f"'net' must share no weights of its first layer with others, but {shared[0]!r} of "
            f"{kind} is shared. {BUILD}"
        )
    if not new:
        raise ValueError(
            f"'net' must convolve all channels of the image, but {kind} leaves out a fourth. "
            f"{BUILD}"
        )
    if len(found) != len(wanted) or not all(map(_same, found, wanted)):
        raise ValueError(
            "'net' must do no more with the channels of the image than convolve them, but with a "
            f"fourth, of weight 0, {kind} gives something else. {BUILD}"
        )


def _places(before: Tensor, now: Tensor) -> list[int]:
    """Where the channels of before are now, in their order; at the start if without values."""
    if now.is_meta:
        return [*range(len(before))]
    places: list[int] = []
    for place, mean in enumerate(now.tolist()):
        if len(places) < len(before):
            other = float(before[len(places)])
            if abs(mean - other) <= 1e-4 * max(abs(other), 1e-2):
                places.append(place)
    return places


def _same(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or found.is_meta:
        return found.shape == wanted.shape
    if not wanted.is_floating_point():
        return torch.equal(found, wanted)
    # Sums in another order: 1e-4 of the largest value in float32.
    within = 1000 * torch.finfo(wanted.dtype).eps if wanted.dtype.itemsize > 2 else 0.1
    a, b = found.double(), wanted.double()
    scale = float(b.abs().nan_to_num().max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=within * scale, equal_nan=True)


def _line(error: Exception) -> str:
    first = "".join(str(error).strip().splitlines()[:1])
    return f"{type(error).__name__}: {first}".rstrip(":. ")
