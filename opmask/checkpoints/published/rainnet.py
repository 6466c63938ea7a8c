r"""Checkpoints of RainNet's published code: its generator."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from opmask.backbones import RainNet
from opmask.checkpoints._layout import DEEPEST, advice, check_names, fill, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.checkpoints.published.dovenet import named

__all__ = ["load_rainnet"]

PAIR = ("weight", "bias")
RAIN = ("foreground_gamma", "foreground_beta", "background_gamma", "background_beta")
"""The tensors of a region-aware norm."""


def load_rainnet(path: str | Path) -> RainNet:
    r"""Loads a generator that RainNet's published code has trained.

    The published file with its figures is `net_G_last.pth`. The code pasted its output, and the
    real image outside of the region, before it measured anything: :doc:`/reference/protocols`.

    Args:
        path: A state dict; with the prefix `module.` before each name or without. Width, depth and
            whether the region is a fourth input are read from it.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region)` is the image as it
        paints it, not pasted, in :math:`[0, 1]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    References:
        | Region-aware Adaptive Instance Normalization for Image Harmonization (Ling et al., 2021)
          https://arxiv.org/abs/2106.02853

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.rainnet import rainnet_names
        >>> net = RainNet(width=8, depth=5).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in rainnet_names(5).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/net_G_last.pth")
        ...     rainnet = load_rainnet(f"{folder}/net_G_last.pth")
        >>> rainnet(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    depth = 4 + max(1, sum(name.endswith("up.1.weight") for name in tensors))
    names = rainnet_names(min(depth, DEEPEST))
    hint = advice(tensors, "load_rainnet")
    check_names(path, "generator of RainNet", tensors, names, hint)
    width, inputs = first_layer(path, tensors, "model_layer0.weight")
    if inputs not in (3, 4):
        raise ValueError(
            f"{str(path)!r}: 'model_layer0.weight' must have 3 inputs, the image, or 4, with the "
            f"region, got {inputs}. Build its network with the code that wrote it."
        )
    outputs = tensors["model_out.1.bias"].numel()
    build = partial(RainNet, inputs, outputs, width=width, depth=depth)
    return fill(path, build, tensors, names).eval()


def rainnet_names(depth: int) -> dict[str, str]:
    """Our name of each tensor by the published one, where the levels within hold the next."""
    names = {"model_layer0.weight": "encoder.0.0.weight"}
    for level in range(1, 4):
        place = depth - 1 - level  # in the decoder, which begins with the innermost level
        theirs = f"model_layer{14 - level}"
        names[f"model_layer{level}.1.weight"] = f"encoder.{level}.0.weight"
        names[f"{theirs}.1.weight"] = f"decoder.{place}.conv.weight"
        names |= named(f"{theirs}norm", f"decoder.{place}.norm", RAIN)
        names |= named(f"{theirs}att.0", f"gates.{place}.conv", PAIR)
    inside = "unet_block"
    for level in range(4, depth):
        place = depth - 1 - level
        down, up = ("down.1", "up.1") if place else ("up.1", "up.3")
        names[f"{inside}.{down}.weight"] = f"encoder.{level}.0.weight"
        names[f"{inside}.{up}.weight"] = f"decoder.{place}.conv.weight"
        names |= named(f"{inside}.upnorm", f"decoder.{place}.norm", RAIN)
        inside += ".submodule"
    return names | named("model_out.1", "out.1", PAIR)
