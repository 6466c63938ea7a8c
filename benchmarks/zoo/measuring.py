"""What is measured of a network, in a process of its own: one row, a plain dictionary."""

from __future__ import annotations

import copy
import io
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask import OperatorMaskWrapper, Retouched
from zoo.case import Case

__all__ = ["Row", "measure"]

Row = dict[str, Any]


def measure(case: Case, learning: float, note: Callable[[Row], None]) -> None:
    """Measures a network; after each step `note` gets what is known so far.

    It may learn for so many CPU seconds, and need not with 0.
    """
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    row: Row = {"library": case.library, "name": case.name, "wraps": "not built"}
    try:
        net = case.build()
    except Exception as error:
        note(row | {"why": line(error)})
        return
    row |= {"class": type(net).__name__, "parameters": sum(p.numel() for p in net.parameters())}
    keys = list(net.state_dict())
    note(row | {"wraps": "crashed"})
    model = wrapped(case, net, row)
    note(row)
    if model is None:
        return
    row["state_dict"] = list(net.state_dict()) == keys
    geometry = model.head.geometry
    row |= {
        "head": model.head.name,
        "scale": "/".join(map(str, geometry.scale)),
        "multiple": model.multiple_of,
        "least": model.size_rule.least,
        "fixed": model.size_rule.fixed,
        "unused": len(model.unused),
    }
    alone = any("one image at a time" in text for text in row["warned"])
    single = alone or len(case_example(case, row) or "ab") == 1
    steps: dict[str, Callable[[OperatorMaskWrapper], object]] = {
        "identity": lambda m: identity(m, 1 if single else 2, 64, 96),
        "odd": lambda m: identity(m, 1, 97, 131),
        "small": lambda m: identity(m, 1, 17, 33),
        "quadrants": quadrants,
        "copy": copies,
    }
    if case.whole:
        steps |= {"export": exports, "compile": compiles}
    if learning:
        # Some networks cannot be trained in training mode; the wrapper has said so.
        frozen = any("model.backbone.eval()" in text for text in row["warned"])
        steps["learns"] = lambda m: learns(m, 1 if single else 4, learning, frozen)
    for name, step in steps.items():
        model.eval()
        row[name] = tried(step, model)
        note(row)


def line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or traceback.format_exception_only(error)[-1].strip()
    return f"{type(error).__name__}: {text}"[:400]


def tried(step: Callable[[OperatorMaskWrapper], object], model: OperatorMaskWrapper) -> object:
    try:
        return step(model)
    except Exception as error:
        return line(error)


def case_example(case: Case, row: Row) -> tuple[int, ...] | None:
    return next((t.get("example") for t in case.tries if row["wraps"] == label(t)), None)


def label(options: dict[str, Any]) -> str:
    return " ".join(f"{name}=" for name in options) or "nothing"


def wrapped(case: Case, net: nn.Module, row: Row) -> OperatorMaskWrapper | None:
    """Wraps a network with the first arguments that do, and notes which."""
    row["why"] = []
    for options in ({}, *case.tries):
        given = dict(options)
        if "example" in given:
            given["example"] = torch.rand(*given["example"])
        start = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = OperatorMaskWrapper(net, **given)
            except Exception as error:
                row["why"].append(line(error))
                continue
        row["seconds"] = round(time.process_time() - start, 2)
        row["wraps"] = label(options)
        ours = ("masks are read from", f"{type(net).__name__} ")
        texts = [str(warning.message)[:400] for warning in caught]
        row["warned"] = [text for text in texts if text.startswith(ours)]
        return model
    row["wraps"] = "refused"
    return None


def smooth(batch: int, height: int, width: int, seed: int) -> Tensor:
    """Images of soft blobs of colour."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, max(2, height // 8), max(2, width // 8), generator=generator)
    image = F.interpolate(x, size=(height, width), mode="bicubic")
    return (0.15 + 0.7 * image).clamp(0.05, 0.95)


@torch.no_grad()
def identity(model: OperatorMaskWrapper, batch: int, height: int, width: int) -> float:
    """How far an untrained wrapper is from giving back its input."""
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(2))
    retouched, masks = model(image)
    if {m.shape[-2:] for m in masks.values()} != {image.shape[-2:]}:
        raise ValueError("the masks have another size than the image")
    return float((retouched - image).abs().max())


def quarters(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for top in (0, height // 2):
        for left in (0, width // 2):
            yield slice(top, top + height // 2), slice(left, left + width // 2)


def randomized(model: OperatorMaskWrapper) -> OperatorMaskWrapper:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.head.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def stacked(model: OperatorMaskWrapper, image: Tensor) -> Tensor:
    return torch.cat([*seeded(model, image).masks.values()], 1)


@torch.no_grad()
def quadrants(model: OperatorMaskWrapper) -> int:
    """In how many quadrants a change of the image moves the masks there most."""
    before = copy.deepcopy(model.head.state_dict())
    randomized(model)
    image, hits = smooth(1, 64, 96, 3), 0
    plain = stacked(model, image)
    for rows, columns in quarters(64, 96):
        changed = image.clone()
        changed[..., rows, columns] = 1 - changed[..., rows, columns]
        move = (stacked(model, changed) - plain).abs().sum((0, 1))
        inside = move[rows, columns].mean()
        hits += bool(inside > 0 and all(inside >= move[q].mean() for q in quarters(64, 96)))
    model.head.load_state_dict(before)
    return hits


def copies(model: OperatorMaskWrapper) -> bool | str:
    """Whether a copy, made after a run with gradients, gives the same."""

    def copied(network: nn.Module, image: Tensor) -> nn.Module:
        network(image)
        return copy.deepcopy(network)

    return or_bare(copied, model, 64)


class Bare(nn.Module):
    """The network as the wrapper calls it, without the wrapper."""

    def __init__(self, model: OperatorMaskWrapper) -> None:
        super().__init__()
        self.net, self.call, self.preprocess = model.backbone, model.call, model.preprocess

    def forward(self, image: Tensor) -> object:
        x = image if self.preprocess is None else self.preprocess(image)
        return self.net(x) if self.call is None else self.call(self.net, x)


def or_bare(
    make: Callable[[nn.Module, Tensor], nn.Module], model: OperatorMaskWrapper, side: int = 128
) -> bool | str:
    """Whether what is made of a wrapper gives the same; why not, and whether the network does."""
    before, image = copy.deepcopy(model.head.state_dict()), smooth(1, side, side, 6)
    randomized(model)  # masks at their identity would be equal whatever happened
    try:
        images = [seeded(network, image).image for network in (make(model, image), model)]
        # Compiled, colours are polynomials, which are good to this out of gamut.
        return bool((images[0] - images[1]).abs().max() < 2e-4)
    except Exception as error:
        bare = tried(lambda m: make(Bare(m).eval(), image)(image) is not None, model)
        return f"{line(error)[:200]} The bare network: {'does' if bare is True else bare[:99]}"
    finally:
        model.head.load_state_dict(before)


@torch.no_grad()
def seeded(network: nn.Module, image: Tensor) -> Retouched:
    torch.manual_seed(5)  # for networks with noise in them
    return network(image)


@torch.no_grad()
def exports(model: OperatorMaskWrapper) -> bool | str:
    def exported(network: nn.Module, image: Tensor) -> nn.Module:
        file = io.BytesIO()
        torch.export.save(torch.export.export(network, (image,)), file)
        file.seek(0)
        return torch.export.load(file).module()

    return or_bare(exported, model)


@torch.no_grad()
def compiles(model: OperatorMaskWrapper) -> bool | str:
    def compiled(network: nn.Module, image: Tensor) -> nn.Module:
        torch.compiler.reset()
        whole = torch.compile(network, fullgraph=True, backend="eager")
        whole(image)
        return whole

    return or_bare(compiled, model)


def learns(model: OperatorMaskWrapper, batch: int, seconds: float, frozen: bool) -> Row:
    """Undoing the darkening of a quadrant: the loss over that at the start, at most by a half.

    Of fewer and then smaller images, where two steps take more than a fifth of the time or fail.
    The network stays in evaluation mode if it is `frozen`.
    """
    model.train()
    if frozen:
        model.backbone.eval()
    sizes = dict.fromkeys([(batch, 64), (min(batch, 2), 64), (min(batch, 2), 32), (1, 64)])
    chosen = (batch, 64)
    for count, side in sizes:
        start = time.process_time()
        try:
            train(model, count, side, 0)
        except (RuntimeError, ValueError):  # too few for a norm, or too small for the network
            continue
        chosen = count, side
        if time.process_time() - start < seconds / 5:
            break
    return train(model, *chosen, seconds)


def train(model: OperatorMaskWrapper, batch: int, side: int, seconds: float) -> Row:
    """Trains for so many CPU seconds, a step at least, or until the loss is half."""
    real = smooth(batch, side, side, 7)
    composite = real.clone()
    for image, (rows, columns) in zip(composite, quarters(side, side), strict=False):
        image[:, rows, columns] *= 0.45
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer, start, losses = torch.optim.Adam(trainable, 1e-3), time.process_time(), []
    idle = 0
    while len(losses) < 2 or time.process_time() - start < seconds:
        optimizer.zero_grad()
        loss = (model(composite).image - real).square().mean()
        losses.append(loss.item())
        if losses[-1] < 0.5 * losses[0]:
            break
        loss.backward()
        optimizer.step()
        idle = sum(p.grad is None for p in trainable)
    ratio = round(losses[-1] / losses[0], 3)
    return {"ratio": ratio, "steps": len(losses) - 1, "idle": idle}
