r"""Checkpoints of S2AM's published code: its network with attention in the decoder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from opmask.backbones import S2AD
from opmask.checkpoints._layout import DEEPEST, advice, check_names, fill, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.checkpoints.published.dovenet import BATCH, named

__all__ = ["load_s2ad"]

GATES = {"background": "around", "mixed": "kept", "spliced": "changed"}
"""Our names of the gates over channels by the published ones."""


def load_s2ad(path: str | Path) -> S2AD:
    r"""Loads a network that S2AM's published code has trained, `rascv2` or `urasc`.

    Args:
        path: The file, whose tensors are under `state_dict` or by themselves; with the prefix
            `module.` before each name or without. Width and depth are read from it, and whether
            the network is told the region.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region)` is the image as it
        paints it, not pasted; values may leave :math:`[0, 1]`. A `urasc` is called as
        `network(image)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    References:
        | Improving the Harmony of the Composite Image by Spatial-Separated Attention Module
          (Cun and Pun, 2020)
          https://arxiv.org/abs/1907.06406

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.s2ad import s2ad_names
        >>> net = S2AD(width=8, depth=5).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in s2ad_names(5).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": published}, f"{folder}/model_best.pth.tar")
        ...     s2ad = load_s2ad(f"{folder}/model_best.pth.tar")
        >>> s2ad(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    depth = max(5, 1 + sum(name.endswith(".down.1.weight") for name in tensors))
    guided = not any(".mask_attention." in name for name in tensors)
    names = s2ad_names(min(depth, DEEPEST), guided)
    # Versions of torch before 0.4.1 did not count.
    names = {t: o for t, o in names.items() if t in tensors or not t.endswith("_tracked")}
    other = advice(tensors, "load_s2ad")
    check_names(path, "network rascv2 or urasc of S2AM", tensors, names, other)
    width, inputs = first_layer(path, tensors, "model.model.down.0.weight")
    _check_wiring(path, tensors, width)
    if guided == (inputs == 3) or width < 8:
        wanted = "4 channels or more" if guided else "3 channels"
        raise ValueError(
            f"{str(path)!r}: 'model.model.down.0.weight' must take {wanted} and give at least 8, "
            f"got {inputs} and {width}."
        )
    outputs = tensors["model.model.up.1.bias"].numel()
    build = partial(S2AD, inputs, outputs, width=width, depth=depth)
    return fill(path, build, tensors, names).eval()


def _check_wiring(path: Path, tensors: dict[str, Tensor], width: int) -> None:
    """Raises if attention is on the skips alone: that network has the same names."""
    name = "model.model.sub.model.attention.connection.rconv2.weight"
    if tensors[name].shape[:1] == (width,):
        raise ValueError(
            f"{str(path)!r} holds rascv1 of S2AM (S2ASC), whose attention is on the skips: "
            f"{name!r} has {width} channels for {2 * width}. Build it with the code that wrote it."
        )


def s2ad_names(depth: int, guided: bool = True) -> dict[str, str]:
    """Our name of each tensor by the published one, where each level holds the next."""
    names = {"model.model.down.0.weight": "encoder.0.0.weight"}
    names |= named("model.model.up.1", "out.1", ("weight", "bias"))
    for level in range(1, depth):
        level_name = "model.model" + ".sub.model" * level
        place = depth - 1 - level  # in the decoder, which begins with the innermost level
        names[f"{level_name}.down.1.weight"] = f"encoder.{level}.0.weight"
        if place:
            names |= named(f"{level_name}.down.2", f"encoder.{level}.1", BATCH)
        names[f"{level_name}.up.1.weight"] = f"decoder.{place}.1.weight"
        names |= named(f"{level_name}.up.2", f"decoder.{place}.2", BATCH)
        if level <= 3:
            names |= _attention(f"{level_name}.attention", f"gates.{place}", guided)
    return names


def _attention(theirs: str, ours: str, guided: bool) -> dict[str, str]:
    linear = ("weight", "bias")
    names = {}
    for number, place in ((1, 0), (2, 3)):
        convolution = f"{theirs}.connection.rconv{number}.weight"
        names[convolution] = f"{ours}.change.{place}.weight"
        names |= named(f"{theirs}.connection.rbn{number}", f"{ours}.change.{place + 1}", BATCH)
    for gate, name in GATES.items():
        for layer in (0, 2):
            published = f"{theirs}.{gate}_attention.fc.{layer}"
            names |= named(published, f"{ours}.{name}.mlp.{layer}", linear)
    if guided:
        return names | {f"{theirs}.gaussianMask.weight": f"{ours}.where.kernel"}
    for layer in (0, 2):
        published = f"{theirs}.mask_attention.fc.{layer}"
        names |= named(published, f"{ours}.where.layers.{layer}", linear)
    return names
