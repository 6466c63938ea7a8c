r"""What a checkpoint says about its model besides the tensors, in plain words and numbers.

Data flow: `model -> describe -> JSON -> build -> model`, without its weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from opmask import backbones, color
from opmask.baseline import DirectRGB
from opmask.calibration import Calibration
from opmask.heads import Geometry, MaskHead, OutputHead
from opmask.operators import Add, Gated, MaskRange, Mul, Operator
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper

__all__ = ["FORMAT", "build", "describe"]

FORMAT = 1
SPACES = {s.name: s for s in vars(color).values() if isinstance(s, color.ColorSpace)}
# What a network's input may be made with so that a file needs to hold no more than the name.
PREPROCESSES = {f"{s.name}.from_rgb": s.from_rgb for s in SPACES.values()}
PREPROCESSES["with_lab"] = color.with_lab
CHANNELWISE: dict[str, type[Add] | type[Mul]] = {"Add": Add, "Mul": Mul}


def describe(model: OperatorMaskWrapper | DirectRGB) -> dict[str, Any]:
    """Everything about a model but its tensors."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "kind": type(model).__name__,
        "backbone": _describe_backbone(model.backbone),
        "region": model.region,
        "multiple_of": model.multiple_of,
    }
    if isinstance(model, OperatorMaskWrapper):
        about |= {
            "operators": [_describe_operator(op) for op in model.retoucher.operators],
            "head": _describe_head(model.head),
            "fixed": model.accepted.fixed,
            "size": model.size,
            "unused": model.unused,
            "call": _name(model.call),
            "preprocess": _name(model.preprocess),
        }
        if model.calibration is not None:
            about["calibration"] = asdict(model.calibration)
    return about


def _describe_backbone(backbone: nn.Module) -> dict[str, Any]:
    name = type(backbone).__name__
    own = type(backbone) is getattr(backbones, name, None)
    return {"name": name, "arguments": backbone.arguments if own else None}


def _describe_head(head: MaskHead | OutputHead) -> dict[str, Any] | None:
    if isinstance(head, OutputHead):
        return None
    return {"name": head.name, "geometry": asdict(head.geometry)}


def _describe_operator(operator: Operator) -> dict[str, Any]:
    about: dict[str, Any] = {"type": type(operator).__name__, "space": operator.space.name}
    # As text, because JSON has no infinity.
    about["ranges"] = {
        name: [repr(float(v)) for v in (r.identity, r.low, r.high)]
        for name, r in operator.ranges.items()
    }
    if type(operator) is Gated:
        about["operators"] = [_describe_operator(op) for op in operator.operators]  # type: ignore[arg-type]
    elif type(operator) not in CHANNELWISE.values() or operator.space not in SPACES.values():
        about["type"] = f"{type(operator).__module__}.{type(operator).__qualname__}"
    return about


def _name(function: object) -> str | None:
    """What a callable is called; those of PREPROCESSES by the name there."""
    if function is None:
        return None
    for name, known in PREPROCESSES.items():
        if function is known:
            return name
    return getattr(function, "__qualname__", type(function).__qualname__)


def build(
    about: dict[str, Any],
    backbone: nn.Module | None,
    retoucher: Retoucher | None,
    call: Callable[[nn.Module, Tensor], object] | None,
    preprocess: Callable[[Tensor], Tensor] | None,
) -> OperatorMaskWrapper | DirectRGB:
    """The model of a description, with the parts that are handed in."""
    network = backbone or _build_backbone(**about["backbone"])
    if about["kind"] == "DirectRGB":
        return DirectRGB(network, region=about["region"], multiple_of=about["multiple_of"])
    retoucher = retoucher or _build_retoucher(about["operators"])
    return _build_wrapper(about, network, retoucher, call, preprocess)


def _build_backbone(name: str, arguments: dict[str, Any] | None) -> nn.Module:
    if arguments is None or name not in backbones.__all__:
        raise ValueError(
            f"the checkpoint's network {name!r} is none of {backbones.__all__}. "
            "Pass backbone= a network built as for training."
        )
    network: nn.Module = getattr(backbones, name)(**arguments)
    return network


def _build_wrapper(
    about: dict[str, Any],
    network: nn.Module,
    retoucher: Retoucher,
    call: Callable[[nn.Module, Tensor], object] | None,
    preprocess: Callable[[Tensor], Tensor] | None,
) -> OperatorMaskWrapper:
    _check_masks(retoucher, about["operators"])
    if preprocess is None:
        preprocess = PREPROCESSES.get(about["preprocess"])
    for argument, value in (("call", call), ("preprocess", preprocess)):
        if about[argument] is not None and value is None:
            raise ValueError(
                f"the model was built with {argument}={about[argument]}. "
                f"Pass {argument}= it again."
            )
    size = about["size"]
    model = OperatorMaskWrapper(
        network,
        retoucher,
        region=about["region"],
        head=_build_head(about["head"], network, len(retoucher.ranges)),
        call=call,
        preprocess=preprocess,
        example=_example(about, network),
        multiple_of=None if about["fixed"] else about["multiple_of"],
        size=tuple(size) if isinstance(size, list) else size,
    )
    if "calibration" in about:
        model.calibration = Calibration.from_json(json.dumps(about["calibration"]))
    model.unused = about["unused"]
    for name in model.unused:
        model.backbone.get_parameter(name).requires_grad_(False)
    return model


def _build_head(
    about: dict[str, Any] | None, network: nn.Module, masks: int
) -> MaskHead | OutputHead:
    if about is None:
        return OutputHead()
    if about["name"] not in dict(network.named_modules()):
        raise ValueError(
            f"'backbone' must be the network of the checkpoint, but {type(network).__name__} has "
            f"no layer {about['name']!r}."
        )
    head = MaskHead(about["name"], masks, Geometry.from_dict(about["geometry"]))
    return head.to(next(network.parameters()).device)


def _example(about: dict[str, Any], network: nn.Module) -> Tensor:
    """An image of a size that the network accepted when the wrapper was built."""
    side = math.ceil(256 / about["multiple_of"]) * about["multiple_of"]
    size = about["fixed"] or (side, side)
    return torch.full((1, 3, *size), 0.5, device=next(network.parameters()).device)


def _build_retoucher(operators: list[dict[str, Any]]) -> Retoucher:
    return Retoucher(*(_build_operator(about) for about in operators))


def _build_operator(about: dict[str, Any]) -> Operator:
    if about["type"] == "Gated":
        gate = list(about["ranges"])[-1]
        inner = (_build_operator(op) for op in about["operators"])
        return Gated(*inner, prefix=gate.removesuffix("gate"))
    if about["type"] not in CHANNELWISE or about["space"] not in SPACES:
        raise ValueError(
            f"the checkpoint's operator {about['type']} in {about['space']} is none of opmask's. "
            "Pass retoucher= one with it."
        )
    kind, space = CHANNELWISE[about["type"]], SPACES[about["space"]]
    # Names are {prefix}{channel}_{operation}; all masks of one operator share prefix and range.
    stems = [name.removesuffix(f"_{kind.operation}") for name in about["ranges"]]
    channels = [next(c for c in space.channels if stem.endswith(c)) for stem in stems]
    prefix = stems[0].removesuffix(channels[0])
    identity, low, high = map(float, next(iter(about["ranges"].values())))
    return kind(space, *channels, range=MaskRange(identity, low, high), prefix=prefix)


def _check_masks(retoucher: Retoucher, operators: list[dict[str, Any]]) -> None:
    stored = {
        name: MaskRange(*map(float, values))
        for about in operators
        for name, values in about["ranges"].items()
    }
    if retoucher.ranges != stored:
        raise ValueError(
            f"'retoucher' must have the checkpoint's masks {stored}, got {retoucher.ranges}."
        )
