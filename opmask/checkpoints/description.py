r"""From a model to its description and back, without its weights.

Data flow: `model -> describe -> JSON -> parse -> description -> sketch, build -> model`. A sketch
has names and shapes but no numbers: with it a file is refused before memory is taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import msgspec
import torch
from msgspec import UNSET
from torch import Tensor, nn

import opmask.backbones as backbones
from opmask.checkpoints.metadata import (
    BackboneAbout,
    CalibrationAbout,
    DirectAbout,
    GeometryAbout,
    GivenAbout,
    HeadAbout,
    WrapperAbout,
    convert_arguments,
    parse,
)
from opmask.checkpoints.operators import SPACES, build_retoucher, describe_operator
from opmask.color import with_lab
from opmask.files import shorten
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.baseline import DirectRGB
from opmask.wrapper.calibration import Calibration
from opmask.wrapper.geometry import Geometry
from opmask.wrapper.heads import MaskHead, OutputHead
from opmask.wrapper.sizes import SizeRule

__all__ = ["build", "check_map", "describe", "sketch"]

# What a network's input may be made with so that a file needs to hold no more than the name.
PREPROCESSES = {f"{s.name}.from_rgb": s.from_rgb for s in SPACES.values()}
PREPROCESSES["with_lab"] = with_lab


def describe(model: OperatorMaskWrapper | DirectRGB) -> str:
    """Everything about a model but its tensors, as JSON that can be read again."""
    about: WrapperAbout | DirectAbout = (
        _describe_direct(model) if isinstance(model, DirectRGB) else _describe_wrapper(model)
    )
    text = msgspec.json.encode(about).decode()
    parse(text, "cannot save the model")
    return text


def _describe_direct(model: DirectRGB) -> DirectAbout:
    known = _describe_backbone(model.backbone), model.region, model.multiple_of
    if (model.centered, model.paste) == (True, "never"):
        return DirectAbout(*known)  # which an older opmask reads too
    return GivenAbout(*known, centered=model.centered, paste=model.paste)


def _describe_wrapper(model: OperatorMaskWrapper) -> WrapperAbout:
    calibration = model.calibration
    trainable = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    idle = [name for name in model.unused if name in trainable]
    return WrapperAbout(
        backbone=_describe_backbone(model.backbone),
        region=model.region,
        multiple_of=model.multiple_of,
        operators=[describe_operator(op) for op in model.retoucher.operators],
        head=_describe_head(model.head),
        fixed=model.size_rule.fixed,
        least=model.size_rule.least,
        size=model.size,
        unused=[name for name in model.unused if name not in trainable],
        idle=idle or UNSET,
        call=_name(model.call),
        preprocess=_name(model.preprocess),
        calibration=UNSET
        if calibration is None
        else CalibrationAbout(**json.loads(calibration.to_json())),
    )


def _describe_backbone(backbone: nn.Module) -> BackboneAbout:
    name = type(backbone).__name__
    own = type(backbone) is getattr(backbones, name, None)
    return BackboneAbout(name, backbone.arguments if own else None)  # type: ignore[arg-type]


def _describe_head(head: MaskHead | OutputHead) -> HeadAbout | None:
    if isinstance(head, OutputHead):
        return None
    return HeadAbout(head.name, GeometryAbout(**asdict(head.geometry)))


def _name(function: object) -> str | None:
    """What a callable is called; those of PREPROCESSES by the name there."""
    if function is None:
        return None
    for name, known in PREPROCESSES.items():
        if function == known:  # also a copy of a conversion
            return name
    return getattr(function, "__qualname__", type(function).__qualname__)


class Parts(NamedTuple):
    """What a model is built of, before anything runs."""

    backbone: nn.Module
    retoucher: Retoucher | None
    head: MaskHead | OutputHead | None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the model to be, by the names they will have in it."""
        given = {name: part for name, part in self._asdict().items() if part is not None}
        return nn.ModuleDict(given).state_dict()


def sketch(
    about: WrapperAbout | DirectAbout, backbone: nn.Module | None, retoucher: Retoucher | None
) -> Parts:
    """The parts of a description without memory of their own, but for those that are handed in."""
    with torch.device("meta"):
        return _parts(about, backbone, retoucher)


def check_map(about: WrapperAbout | DirectAbout, parts: Parts) -> None:
    """Refuses a network of opmask whose logits would not fit the image, before it has any memory.

    Where masks are read just as the network's own layer reads its features, nothing has to run
    for that: what fits the one fits the other.
    """
    if isinstance(about, DirectAbout) or parts.retoucher is None:
        return
    network, head, masks = parts.backbone.eval(), parts.head, len(parts.retoucher.ranges)
    arguments: Any = network.arguments
    if not isinstance(head, MaskHead):
        if (outputs := arguments.get("out_channels", 1)) != masks:
            raise ValueError(
                f"the network that it describes puts out {outputs} maps for {masks} masks."
            )
        return
    layer = network.get_submodule(head.name)
    own = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and Geometry.of(layer)
    if replace(head.geometry, once=False) == own and about.least is not UNSET:
        return
    size = _example_size(about)
    # What the wrapper hands on. Networks that take the region apart do not count it.
    plain = about.preprocess is None or about.preprocess.endswith(".from_rgb")
    apart = about.region and arguments.get("in_channels", 3) == 3
    inputs = 3 + about.region if plain or apart else arguments["in_channels"]
    image = torch.empty(1, inputs, *size, device="meta")
    head.attach(network)
    try:
        head.read(head.features(lambda: network(image)), size)
    except RuntimeError as error:
        reason = shorten("".join(str(error).splitlines()[:1])).rstrip(".")
        raise ValueError(f"the network that it describes does not run ({reason}).") from error


def build(
    about: WrapperAbout | DirectAbout,
    backbone: nn.Module | None,
    retoucher: Retoucher | None,
    call: Callable[[nn.Module, Tensor], object] | None,
    preprocess: Callable[[Tensor], Tensor] | None,
) -> OperatorMaskWrapper | DirectRGB:
    """The model of a description, with the parts that are handed in."""
    parts = _parts(about, backbone, retoucher)
    if isinstance(about, DirectAbout):
        given = about if isinstance(about, GivenAbout) else None
        return DirectRGB(
            parts.backbone,
            region=about.region,
            multiple_of=about.multiple_of,
            centered=given.centered if given else True,
            paste=given.paste if given else "never",
        )
    return _build_wrapper(about, parts, call, preprocess)


def _parts(
    about: WrapperAbout | DirectAbout, backbone: nn.Module | None, retoucher: Retoucher | None
) -> Parts:
    network = backbone or _build_backbone(about.backbone)
    if isinstance(about, DirectAbout):
        return Parts(network, None, None)
    retoucher = build_retoucher(about.operators, retoucher)
    head = _build_head(about.head, network, len(retoucher.ranges))
    idle = [] if about.idle is UNSET else about.idle
    for key, names in ("unused", about.unused), ("idle", idle):
        unknown = set(names) - dict(network.named_parameters()).keys()
        if unknown:
            raise ValueError(f"{key!r} must name parameters of the network, got {min(unknown)!r}.")
    return Parts(network, retoucher, head)


def _build_backbone(about: BackboneAbout) -> nn.Module:
    known = own_networks()
    if about.arguments is None or about.name not in known:
        raise ValueError(
            f"the checkpoint's network {about.name!r} is none of {[*known]}. "
            "Pass backbone= a network built as for training."
        )
    kind = known[about.name]
    return kind(**convert_arguments(kind, about.arguments))


def own_networks() -> dict[str, type[nn.Module]]:
    """The networks of opmask by name; its functions on networks are not among them."""
    public = {name: getattr(backbones, name) for name in backbones.__all__}
    return {name: kind for name, kind in public.items() if isinstance(kind, type)}


def _build_wrapper(
    about: WrapperAbout,
    parts: Parts,
    call: Callable[[nn.Module, Tensor], object] | None,
    preprocess: Callable[[Tensor], Tensor] | None,
) -> OperatorMaskWrapper:
    if preprocess is None and about.preprocess is not None:
        preprocess = PREPROCESSES.get(about.preprocess)
    for argument, value in (("call", call), ("preprocess", preprocess)):
        name = getattr(about, argument)
        if name is not None and value is None:
            raise ValueError(
                f"the model was built with {argument}={name}. Pass {argument}= it again."
            )
    device = next(parts.backbone.parameters()).device
    model = OperatorMaskWrapper(
        parts.backbone,
        parts.retoucher,
        region=about.region,
        head=parts.head.to(device) if parts.head else None,
        call=call,
        preprocess=preprocess,
        example=torch.full((1, 3, *_example_size(about)), 0.5, device=device),
        multiple_of=_sizes(about),
        size=about.size,  # type: ignore[arg-type]
    )
    if about.calibration is not UNSET:
        model.calibration = Calibration(**msgspec.structs.asdict(about.calibration))
    for name in about.unused:
        model.backbone.get_parameter(name).requires_grad_(False)
    unused = {*about.unused, *([] if about.idle is UNSET else about.idle)}
    model.unused = [name for name, _ in model.backbone.named_parameters() if name in unused]
    return model


def _build_head(about: HeadAbout | None, network: nn.Module, masks: int) -> MaskHead | OutputHead:
    if about is None:
        return OutputHead()
    if about.name not in dict(network.named_modules()):
        raise ValueError(
            f"'backbone' must be the network of the checkpoint, but {type(network).__name__} has "
            f"no layer {about.name!r}."
        )
    return MaskHead(about.name, masks, Geometry(**msgspec.structs.asdict(about.geometry)))


def _sizes(about: WrapperAbout) -> int | SizeRule | None:
    """What the file knows of the sizes: all of it, or what older ones do."""
    if about.fixed:
        return None if about.least is UNSET else SizeRule(1, 1, about.fixed)
    return about.multiple_of if about.least is UNSET else SizeRule(about.multiple_of, about.least)


def _example_size(about: WrapperAbout) -> tuple[int, int]:
    """A size that the network accepted when the wrapper was built."""
    side = math.ceil(256 / about.multiple_of) * about.multiple_of
    return about.fixed or (side, side)
