r"""Probing: finds the layer of any image-to-image network from which masks are best read.

Data flow: `(backbone, example image) -> (MaskHead, unused parameters)`, once, when a wrapper is
built.

The rule: the last `Conv2d`, `ConvTranspose2d` or `Linear` whose input depends on more than 90 % of
the parameters that the output depends on. It is read off the autograd graph of one forward. "The
last convolution that ran" is another layer in about one network of nine: auxiliary heads,
squeeze-and-excitation blocks and fixed colour shifts run after the real head, and the only
convolution of a vision transformer is its first layer.

What has the size of the image is the output, where there is such a thing: the likelihoods of a
codec and the smaller maps of deep supervision are not. Where such layers do not do, the layers of
a class of the network's own take their turn.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opmask.wrapper.geometry import Geometry
from opmask.wrapper.heads import FREEZE, NO_GRADIENT, MaskHead, Run, as_map, precision

__all__ = ["HeadChoice", "find_head", "parameters_behind"]

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class HeadChoice(NamedTuple):
    r"""What probing found.

    Args:
        head: The mask head, not yet attached to the network.
        behind: The parameters that its features depend on.
        unused: The parameters that only matter after its layer.
        doubt: What speaks against the layer, or an empty string.
    """

    head: MaskHead
    behind: set[nn.Parameter]
    unused: set[nn.Parameter]
    doubt: str


class _LayerCall(NamedTuple):
    """A layer that ran, with what went in and came out."""

    name: str
    layer: nn.Module
    features: Tensor
    output: Tensor


class _Candidate(NamedTuple):
    """A layer to read masks from: with it, `share` of the parameters have had their say."""

    share: float
    name: str
    geometry: Geometry
    behind: set[nn.Parameter]

    @property
    def doubt(self) -> str:
        """What speaks against this layer, or nothing."""
        scale, coarse = Fraction(*self.geometry.scale), self.geometry.shuffle == 1
        if self.share >= 0.9 and (scale >= Fraction(1, 8) or not coarse):
            return ""
        return (
            f"masks are read from {self.name!r}, at {scale} of the image's size, which depends on "
            f"{self.share:.0%} of the parameters. Name a better layer with head= if there is one."
        )

    @property
    def rank(self) -> tuple[Fraction, float]:
        # Of parallel branches the finest, not the trunk that most parameters belong to.
        scale = min(Fraction(*self.geometry.scale), Fraction(1))
        return (scale if self.share > 0.5 else Fraction(0), self.share)


def find_head(
    backbone: nn.Module, channels: int, example: Tensor, run: Run, name: str | None = None
) -> HeadChoice:
    r"""Finds the layer to read masks from.

    Args:
        backbone: The network, in evaluation mode.
        channels: The number of masks.
        example: An image that the network accepts, with shape :math:`(B, 3, H, W)`, best not
            square.
        run: Calls the network with an image.
        name: The layer to read from; searched for if `None`.

    Returns:
        The mask head, the parameters that it uses and leaves unused, and what speaks against it.

    Raises:
        ValueError: If there is no such layer.
    """
    ran, outputs = _record(backbone, example, run, name)
    everything = parameters_behind(outputs)
    if not ran:
        wanted = "no convolution or linear layer" if name is None else f"no layer {name!r}"
        raise ValueError(
            f"there is {wanted} that ran. Pass head= the name of a module whose input is a map of "
            "the image"
        )
    if not everything:
        raise ValueError(NO_GRADIENT)
    # A layer with fewer inputs than masks, such as a final 3x3 colour matrix, only if there is
    # nothing else.
    ran.sort(key=lambda r: getattr(r.layer, "in_channels", channels) < channels)
    # Layers of a class of the network's own, too.
    ran.sort(key=lambda r: not isinstance(r.layer, LAYERS))
    best = _choose(ran, outputs, example, named=name is not None)
    unused, others = everything - best.behind, set(backbone.parameters()) - everything
    if unused == everything and any(parameter.requires_grad for parameter in others):
        raise ValueError(NO_GRADIENT + FREEZE)
    dtype = torch.promote_types(precision(backbone, example), torch.float32)
    head = MaskHead(best.name, channels, best.geometry).to(example.device, dtype)
    return HeadChoice(head, best.behind, unused, "" if name else best.doubt)


def _record(
    backbone: nn.Module, example: Tensor, run: Run, name: str | None
) -> tuple[list[_LayerCall], list[Tensor]]:
    """Runs the network once: the layers that ran, last first, and the tensors it put out."""
    names = {module: n for n, module in backbone.named_modules()}
    flags = {p: p.requires_grad for p in backbone.parameters()}
    ran: list[_LayerCall] = []

    def record(
        layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: object
    ) -> None:
        features = next(iter((*args, *kwargs.values())), None)
        if isinstance(output, Tensor) and isinstance(features, Tensor):
            ran.append(_LayerCall(names[layer], layer, features, output))

    watched = [m for m, n in names.items() if (_has_weight(m) if name is None else n == name)]
    # First of all hooks, so that it sees what the layer itself put out.
    hooks = [m.register_forward_hook(record, prepend=True, with_kwargs=True) for m in watched]
    try:
        for parameter in flags:
            parameter.requires_grad_(parameter.is_floating_point())
        with torch.enable_grad():
            output = run(example)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
    outputs = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.grad_fn is not None]
    return ran[::-1], outputs or [r.output for r in ran]


def _has_weight(module: nn.Module) -> bool:
    """Whether a module is a layer, of a class that is known or of the network's own."""
    if isinstance(module, LAYERS):
        return True
    return not module._modules and any(parameter.ndim > 1 for parameter in module.parameters())


def parameters_behind(tensors: list[Tensor]) -> set[nn.Parameter]:
    """The leaves of the autograd graph that the tensors were computed from."""
    stack, seen, found = [t.grad_fn for t in tensors], set(), set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += [parent for parent, _ in node.next_functions]
        if hasattr(node, "variable"):  # only the leaves have one
            found.add(node.variable)
    return found


def _choose(
    ran: list[_LayerCall], outputs: list[Tensor], example: Tensor, *, named: bool
) -> _Candidate:
    size = example.shape[-2:]
    reached = parameters_behind([t for t in outputs if t.shape[-2:] == size] or outputs)
    best, refused = None, []
    for r in ran:
        known = isinstance(r.layer, LAYERS)
        if not known and best is not None and best.share >= 0.5:
            break  # a layer of another class only where there is nothing else
        try:
            geometry = _geometry(r, example, outputs)
        except ValueError as error:
            refused.append(f"{r.name}: {error}")
            continue
        behind = parameters_behind([r.features])
        said = reached & (behind | set(r.layer.parameters()))
        share = sum(p.numel() for p in said) / sum(p.numel() for p in reached)
        if not (known or named) and share < 0.5:
            continue
        candidate = _Candidate(share, r.name, geometry, behind)
        best = candidate if best is None or candidate.rank > best.rank else best
        if share > 0.9:
            break
    if best is None:
        raise ValueError(
            f"found no layer to read masks from, not even the last, {refused[0]}. Pass head= the "
            "name of one whose input is a map of the image, or example= an image of another size"
        )
    if best.share < 0.5 and not named:
        raise ValueError(
            f"found no layer to read masks from. The best, {best.name!r}, depends on "
            f"{best.share:.0%} of the parameters. Pass head= the name of a better one"
        )
    return best


def _geometry(ran: _LayerCall, example: Tensor, outputs: list[Tensor]) -> Geometry:
    """How the input of a layer lies to the image; ValueError if it is no map of the image."""
    height, width = example.shape[-2:]
    if ran.features.shape[0] != example.shape[0]:
        raise ValueError(f"its input {tuple(ran.features.shape)} does not keep the batch")
    inputs = getattr(ran.layer, "in_channels", None) or getattr(ran.layer, "in_features", None)
    maps = as_map(ran.features.detach(), (height, width), inputs or ran.features.shape[1])
    geometry, (h, w) = _copy_geometry(ran, maps)
    scale = Fraction(w - h, width - height) if width != height else Fraction(h, height)
    excess = int(h - scale * height)
    if scale <= 0 or 1 not in scale.as_integer_ratio() or w - scale * width != excess:
        raise ValueError(f"it maps {height}x{width} pixels to {h}x{w}, no whole-number scale")
    per_place = scale.denominator
    out = getattr(ran.layer, "out_channels", getattr(ran.layer, "out_features", 0))
    sub_pixel = any(
        t.ndim == 4 and t.shape[1] * per_place**2 == out and t.shape[-2:] == (height, width)
        for t in outputs
    )
    return replace(
        geometry,
        scale=scale.as_integer_ratio(),
        excess=excess,
        start=max(excess, 0) // 2,
        shuffle=per_place if sub_pixel else 1,
    )


def _copy_geometry(ran: _LayerCall, maps: Tensor) -> tuple[Geometry, tuple[int, int]]:
    """A convolution's geometry and map size; 1x1 for layers of another kind, or that pad."""
    old, inputs = ran.layer, maps.shape[1]
    if isinstance(old, (nn.Conv2d, nn.ConvTranspose2d)):
        geometry = Geometry.of(old)
        try:
            output = geometry.build(1).to(maps)(maps)
        except RuntimeError:  # the layer does more than its attributes say
            output = None
        if output is not None and output.shape[-2:] == ran.output.shape[-2:]:
            return geometry, tuple(output.shape[-2:])
    return Geometry(inputs), tuple(maps.shape[-2:])  # type: ignore[return-value]
