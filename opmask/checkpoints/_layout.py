r"""Files of published networks: their names and shapes are checked, then a network is filled.

Data flow: `{name: tensor} -> check_names, first_layer -> fill -> network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from opmask.checkpoints._checks import check_finite
from opmask.files.pth import check_weights

__all__ = ["DEEPEST", "WIDEST", "advice", "check_names", "fill", "fill_from", "first_layer"]

DEEPEST, WIDEST = 10, 4096
"""The most levels, and channels at the outermost, that a file may have."""

KNOWN = {
    "model.model.3.conv2d.weight": ("the paper's generator", "load_reference_checkpoint"),
    "model.0.weight": ("the paper's discriminator", "load_reference_discriminator"),
    "weight": ("a generator of BargainNet", "load_bargainnet"),
    "conv1f.weight": ("an extractor of BargainNet", "load_bargainnet(generator, extractor)"),
    "model.model.0.weight": ("a generator of DoveNet", "load_dovenet"),
    "D.conv1.weight_orig": ("a discriminator of DoveNet", "load_dovenet_discriminator"),
    "model_layer0.weight": ("a generator of RainNet", "load_rainnet"),
    "light_generator.transformer_enc.encoder.layers.0.norm1.weight": (
        "a first D-HT",
        "load_dht(path, version='v1')",
    ),
    "light_generator.light_embed.weight": ("a second D-HT", "load_dht(path, version='v2')"),
    "enc.model.0.conv.weight": (
        "a first Harmony Transformer",
        "load_harmony_transformer(path, version='v1')",
    ),
    "dec1.0.weight": (
        "a Harmony Transformer of the paper",
        "load_sgmmh_harmony_transformer(path)",
    ),
    "patch_to_embedding.1.weight": (
        "a second Harmony Transformer",
        "load_harmony_transformer(path, version='plus')",
    ),
    "model.model.down.0.weight": ("a network of S2AM", "load_s2ad"),
    "inconv.weight": ("an encoder of DIRL", "load_dirl(encoder, decoder)"),
    "trans.im0.top_down.conv.weight": ("a decoder of DIRL", "load_dirl(encoder, decoder)"),
}
"""A tensor that each kind of file has, and none of those after it, and what loads that file."""

N = TypeVar("N", bound=nn.Module)


def check_names(
    path: Path, kind: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, str], advice: str
) -> None:
    """Raises, with some advice, unless the names in a file are those of a published network."""
    unexpected = [f"{name!r} is unexpected" for name in tensors if name not in wanted]
    missing = [f"{name!r} is missing" for name in wanted if name not in tensors]
    if unexpected or missing:
        raise ValueError(
            f"{str(path)!r} holds no {kind} of the published code: "
            f"{' and '.join(unexpected[:1] + missing[:1])}. {advice}"
        )


def first_layer(
    path: Path, tensors: Mapping[str, Tensor], name: str, side: int = 4
) -> tuple[int, int]:
    """The numbers of outputs and inputs of a network's first convolution."""
    shape = tuple(tensors[name].shape)
    if len(shape) != 4 or not all(1 <= number <= WIDEST for number in shape[:2]):
        raise ValueError(
            f"{str(path)!r}: {name!r} must have shape (width, inputs, {side}, {side}) with at "
            f"most {WIDEST} of both, got {shape}."
        )
    return shape[0], shape[1]


def advice(tensors: Mapping[str, Tensor], loader: str) -> str:
    """What to do with a file of another layout than that of a loader."""
    what, other = next((known for name, known in KNOWN.items() if name in tensors), ("", loader))
    if other != loader:
        return f"It looks like {what}: use {other}."
    return "Build its network with the code that wrote it."


def fill(
    path: Path, build: Callable[[], N], tensors: Mapping[str, Tensor], names: Mapping[str, str]
) -> N:
    """A network with the tensors of a file, once their shapes are known to be right."""
    return fill_from(build, (path, tensors, names))


def fill_from(
    build: Callable[[], N], *files: tuple[Path, Mapping[str, Tensor], Mapping[str, str]]
) -> N:
    """A network with the tensors of several files, of which each has some."""
    with torch.device("meta"):
        wanted = build().state_dict()
    for file in files:
        _check_tensors(wanted, *file)
    network = build()
    state = {ours: tensors[name] for _, tensors, names in files for name, ours in names.items()}
    network.load_state_dict(state)
    return network


def _check_tensors(
    wanted: Mapping[str, Tensor],
    path: Path,
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
) -> None:
    """Raises unless the tensors of a file have the shapes that are wanted, and are numbers."""
    for theirs, ours in names.items():
        if tensors[theirs].shape != wanted[ours].shape:
            raise ValueError(
                f"{str(path)!r} mixes networks of several widths: for its first layer, "
                f"{theirs!r} must have shape {tuple(wanted[ours].shape)}, "
                f"got {tuple(tensors[theirs].shape)}. Fetch it again."
            )
    # Batch norms count in whole numbers how often they were trained.
    weights = {n: t for n, t in tensors.items() if not n.endswith(".num_batches_tracked")}
    check_weights(path, weights)
    check_finite(weights, f"{str(path)!r} is damaged")
