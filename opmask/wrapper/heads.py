r"""Mask heads: how logits are read from a network that was never built for masks.

Data flow: `image -> backbone -> features -> MaskHead -> logits`. The last layer of a network turns
rich features into colours; masks need the features. A :class:`Tap` on it keeps
its *input*, a zero convolution of the same geometry turns that into logits, and whatever the
network does afterwards (tanh, residual, pixel shuffle) is ignored; at inference it does not even
run.
:class:`OutputHead` is for networks built for masks: their output is the logits.
:mod:`opmask.wrapper.probing` finds the layer.

Features are divided by their root mean square over each image and by the square root of the
fan-in, so that one learning rate suits every network: see :doc:`/concepts/conditioning`. These are
two numbers for an image, so the logits are divided, which have fewer channels.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from opmask.wrapper.geometry import Geometry

__all__ = ["MaskHead", "OutputHead", "Run", "Tap"]

Run = Callable[[Tensor], object]
"""Calls a network with an image."""
NO_GRADIENT = (
    "the network switches gradients off, so that it would not learn. Pass use_reentrant=False to "
    "torch.utils.checkpoint, or take torch.no_grad out of its forward"
)
FREEZE = ", or freeze it with backbone.requires_grad_(False) if it is not to learn"


class _Reached(BaseException):
    """Ends the run of a network at its tapped layer; an `except Exception` lets it through."""


class Tap:
    """A hook that keeps the input of its layer, but only while somebody listens.

    If it always kept the input, a deep copy after `backbone(x)` would meet a tensor of the
    autograd graph, and memory would stay alive. The state is per thread, so that several threads
    can call one model.

    It is hooked to the layer twice. After the layer it keeps what the layer got in the end, also
    where other hooks replaced its input. Before the layer it ends the run if it is told to, which
    is for networks without hooks of others alone: see `may_stop`.
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


class MaskHead(nn.Module):
    r"""Turns the input of a network's last layer into logits, all zero at first.

    .. math:: z = \frac{1}{\sqrt{n}} \left( W * \frac{f}{\operatorname{rms}(f)} + b \right)

    with the fan-in :math:`n` and the root mean square over channels and places of each image.
    Convolutions are linear, so this is computed as

    .. math:: z = \frac{1}{\sqrt{n}} \left( \frac{W * f}{\operatorname{rms}(f)} + b \right)

    Args:
        name: The name of the tapped layer in the backbone.
        channels: The number of masks.
        geometry: How the features lie to the image.
    """

    def __init__(self, name: str, channels: int, geometry: Geometry) -> None:
        super().__init__()
        self.name, self.geometry, self.tap = name, geometry, Tap()
        self.layer = geometry.build(channels)
        taps = math.prod(geometry.kernel_size) / (
            math.prod(geometry.stride) if geometry.transposed else 1
        )
        self.gain = (geometry.inputs * taps) ** -0.5

    def attach(self, backbone: nn.Module) -> list[RemovableHandle]:
        """Hooks the tap to the layer of that name in `backbone`, before it and after it."""
        layer = backbone.get_submodule(self.name)
        return [
            layer.register_forward_pre_hook(self.tap, with_kwargs=True),
            layer.register_forward_hook(self.tap, with_kwargs=True, prepend=True),
        ]

    def forward(
        self,
        run: Callable[[], object],
        size: tuple[int, int],
        learns: bool = False,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Runs the network on an input of that size and reads the logits (B, M, H, W).

        `learns` says that the features must carry a gradient; `network`, what `run` runs, is given
        where it need not run to its end.
        """
        stop = network is not None and self.geometry.once and may_stop(network)
        features = self.features(run, stop)
        check_gradient(features, learns)
        with torch.autocast(features.device.type, enabled=False):
            return self.read(features, size)

    def features(self, run: Callable[[], object], stop: bool = False) -> Tensor:
        """Runs the network, to its end or to the tapped layer; the input of that layer."""
        features = self.tap.listen(run, stop)
        if features is None:
            raise RuntimeError(
                f"layer {self.name!r} did not run in this mode. Name another one with head='...'."
            )
        return features

    def condition(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer gets for maps, and the factor of what it makes of them.

        The factor brings the features of each image to a root mean square of 1.
        """
        # First over what lies side by side in memory, then over the rest: fast, and no sum is of
        # so many numbers that rounding tells.
        # (Strides may be unknown to an exporter, and a compiler needs no help.)
        last = not torch.compiler.is_compiling() and maps.stride(1) == 1
        side_by_side = 1 if last else 3
        # Squares overflow in half precision.
        dtype = torch.promote_types(maps.dtype, torch.float32)
        norm = torch.linalg.vector_norm(maps, dim=side_by_side, keepdim=True, dtype=dtype)
        square = norm.square().mean((1, 2, 3), keepdim=True) / maps.shape[side_by_side]
        factor = torch.rsqrt(square + 1e-6)
        if self.layer.weight.dtype == torch.float16:  # in which what the layer makes overflows too
            return maps * factor, torch.ones_like(factor)
        return maps, factor

    def read(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Turns features into logits of that size, in at least float32."""
        maps, weight = as_map(features, size, self.geometry.inputs), self.layer.weight
        maps, factor = self.condition(maps.to(torch.promote_types(maps.dtype, weight.dtype)))
        dtype = torch.promote_types(weight.dtype, torch.float32)
        logits = self._convolve(maps.to(weight.dtype)).to(dtype)
        bias = self.layer.bias.to(dtype).view(-1, 1, 1)  # type: ignore[union-attr]
        logits = logits * (self.gain * factor.to(dtype)) + self.gain * bias
        logits = self._crop(logits, size)
        if self.geometry.shuffle > 1:
            logits = F.pixel_shuffle(logits, self.geometry.shuffle)
        return logits

    def _convolve(self, maps: Tensor) -> Tensor:
        """What the layer makes of maps, without its bias."""
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            return layer._conv_forward(maps, layer.weight, None)
        return F.conv_transpose2d(
            maps,
            layer.weight,
            None,
            layer.stride,
            layer.padding,  # type: ignore[arg-type]
            layer.output_padding,
            layer.groups,
            layer.dilation,
        )

    def _crop(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Takes off, or pads, what the map has more or less than the image."""
        (h, w), (n, d), excess = logits.shape[-2:], self.geometry.scale, self.geometry.excess
        # A network that crops by numbers of its own leaves sizes that an exporter does not know.
        known = not (excess and torch.compiler.is_compiling())
        if known and ((h - excess) * d != size[0] * n or (w - excess) * d != size[1] * n):
            raise ValueError(
                f"layer {self.name!r} gives {h}x{w} for an image of {size[0]}x{size[1]}: the "
                "network pads inside. Pass multiple_of= the size multiple that it needs."
            )
        if excess < 0:
            logits = F.pad(logits, (-excess // 2, (1 - excess) // 2) * 2, mode="replicate")
        if excess:
            for axis, side in (-2, size[0]), (-1, size[1]):
                logits = logits.narrow(axis, self.geometry.start, side * n // d)
        return logits

    def extra_repr(self) -> str:
        """The layer and its scale, for printing."""
        scale = Fraction(*self.geometry.scale)
        sub_pixel = ", sub-pixel" if self.geometry.shuffle > 1 else ""
        return f"reads the input of {self.name!r} at {scale} of the image's size{sub_pixel}"


class OutputHead(nn.Module):
    r"""Takes the backbone's own output as the logits, for networks that were built for masks.

    Unlike a tapped head it has no parameters, and no start at the identity: what the network puts
    out at first is what you get. The output must have one channel for each mask and the size of
    the input.

    Example:
        >>> import opmask, torch
        >>> net = torch.nn.Conv2d(3, 6, 1)
        >>> model = opmask.OperatorMaskWrapper(net, head=opmask.OutputHead())
        >>> model(torch.rand(1, 3, 32, 32)).masks["l_mul"].shape
        torch.Size([1, 1, 32, 32])
    """

    def forward(
        self,
        run: Callable[[], object],
        size: tuple[int, int],
        learns: bool = False,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Runs the network and returns its output (B, M, H, W), unbounded, of the input's size.

        `learns` says that the output must carry a gradient. It is the end of the network that
        counts, so `network` is of no use.
        """
        output = run()
        if not isinstance(output, Tensor) or output.shape[-2:] != size:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"with OutputHead the network must put out one tensor of {size[0]}x{size[1]}, "
                f"got {got}. Pass call= to pick it out, or multiple_of= if the size was rounded."
            )
        check_gradient(output, learns)
        return output.to(torch.promote_types(output.dtype, torch.float32))


def check_gradient(features: Tensor, learns: bool) -> None:
    """Raises if a network that is to learn has computed its features without a gradient."""
    if learns and not features.requires_grad:
        raise RuntimeError(f"{NO_GRADIENT}{FREEZE}.")


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


def as_map(features: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Features as (B, C, h, w); tokens (B, N, C) return to their raster."""
    if features.ndim == 4:
        return features if features.shape[1] == channels else features.permute(0, 3, 1, 2)
    if features.ndim == 3:
        for extra in range(6):  # class and register tokens come first
            tokens = features.shape[1] - extra
            rows = math.isqrt(tokens * size[0] // size[1]) if tokens > 0 else 0
            if rows and rows * rows * size[1] == tokens * size[0]:
                return features[:, extra:].transpose(1, 2).unflatten(2, (rows, tokens // rows))
    raise ValueError(f"features {tuple(features.shape)} are not a map of the image")


def precision(network: nn.Module, image: Tensor) -> torch.dtype:
    """The data type in which a network takes an image: its first parameter's."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return image.dtype  # a replica of nn.DataParallel has no parameters
