r"""Checkpoints of DoveNet's published code: its generator and its discriminator."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from opmask.backbones import DoveNet
from opmask.checkpoints._layout import DEEPEST, advice, check_names, fill, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.discriminator import DomainVerificationDiscriminator

__all__ = ["load_dovenet", "load_dovenet_discriminator"]

BATCH = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""The tensors of a batch norm; an instance norm has none."""


def load_dovenet(path: str | Path) -> DoveNet:
    r"""Loads a generator that DoveNet's published code has trained.

    The published weights have batch norms, and their figures were made with dropout and with the
    statistics of each test image. In evaluation mode, as here, there is neither; results differ a
    little from the published ones.

    Args:
        path: A state dict; with the prefix `module.` before each name or without. Width, depth and
            norm are read from it.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region)` is the image as it
        paints it, not pasted, in :math:`[0, 1]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    References:
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)
          https://arxiv.org/abs/1911.13239

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.dovenet import dovenet_names
        >>> net = DoveNet(width=8, depth=5).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in dovenet_names(5).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/latest_net_G.pth")
        ...     dovenet = load_dovenet(f"{folder}/latest_net_G.pth")
        >>> dovenet(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    depth = max(5, 1 + sum(name.endswith(".model.1.weight") for name in tensors))
    norm = "batch" if any(name.endswith("running_mean") for name in tensors) else "instance"
    names = dovenet_names(min(depth, DEEPEST), norm)
    hint = advice(tensors, "load_dovenet")
    check_names(path, "generator of DoveNet", tensors, names, hint)
    width, inputs = first_layer(path, tensors, "model.model.0.weight")
    outputs = tensors["model.model.3.bias"].numel()
    build = partial(DoveNet, inputs, outputs, width=width, depth=depth, norm=norm)
    return fill(path, build, tensors, names).eval()


def load_dovenet_discriminator(path: str | Path) -> DomainVerificationDiscriminator:
    r"""Loads a discriminator that DoveNet's published code has trained.

    It has learned to judge RGB in :math:`[-1, 1]`: call it as
    `discriminator(2 * image - 1, region)`.

    Args:
        path: A state dict, `latest_net_D.pth`; with the prefix `module.` before each name or
            without. Width and depth are read from it.

    Returns:
        The discriminator, in training mode as a new one would be, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.dovenet import discriminator_names
        >>> net = DomainVerificationDiscriminator(width=8, depth=4).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in discriminator_names(4).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/latest_net_D.pth")
        ...     discriminator = load_dovenet_discriminator(f"{folder}/latest_net_D.pth")
        >>> image, region = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
        >>> [logits.shape for logits in discriminator(2 * image - 1, region)]
        [torch.Size([1, 1, 1, 1]), torch.Size([1, 1, 1, 1])]
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    depth = max(2, sum(name.endswith("f.bias") for name in tensors) - 1)
    names = discriminator_names(min(depth, DEEPEST))
    hint = advice(tensors, "load_dovenet_discriminator")
    check_names(path, "discriminator of DoveNet", tensors, names, hint)
    width, inputs = first_layer(path, tensors, "D.conv1.weight_orig", side=3)
    build = partial(DomainVerificationDiscriminator, inputs, width=width, depth=depth)
    return fill(path, build, tensors, names)


def discriminator_names(depth: int) -> dict[str, str]:
    """Our name of each tensor of a discriminator by the published one."""
    layers = {f"D.conv{n + 1}": f"whole.{n}.convolution" for n in range(depth + 1)}
    layers |= {f"D.conv{n + 1}f": f"parts.{n}.convolution" for n in range(depth + 1)}
    layers |= {"convl1": "judge_parts.0", "convl2": "judge_parts.2"}
    names = {}
    for theirs, ours in layers.items():
        weight = f"{ours}.parametrizations.weight"
        names[f"{theirs}.bias"] = f"{ours}.bias"
        names[f"{theirs}.weight_orig"] = f"{weight}.original"
        names |= {f"{theirs}.weight_{vector}": f"{weight}.0._{vector}" for vector in "uv"}
    both = ("weight", "bias")
    return names | named("convl3", "judge_parts.4", both) | named("convg3", "judge_whole", both)


def dovenet_names(depth: int, norm: str = "instance") -> dict[str, str]:
    """Our name of each tensor by the published one, where each level holds the next."""
    batch = norm == "batch"
    kinds = ("weight",) if batch else ("weight", "bias")
    names = named("model.model.0", "encoder.0.0", kinds)
    inside = "model.model.1"
    for level in range(1, depth):
        place = depth - 1 - level  # in the decoder, which begins with the innermost level
        up = 5 if place else 3
        names |= named(f"{inside}.model.1", f"encoder.{level}.0", kinds)
        names |= named(f"{inside}.model.{up}", f"decoder.{place}.1", kinds)
        if batch and place:
            names |= named(f"{inside}.model.2", f"encoder.{level}.1", BATCH)
        if batch:
            names |= named(f"{inside}.model.{up + 1}", f"decoder.{place}.2", BATCH)
        if level <= 3:
            names |= named(f"{inside}.attention.0", f"gates.{place}.conv", ("weight", "bias"))
        inside += ".model.3"
    return names | named("model.model.3", "out.1", ("weight", "bias"))


def named(theirs: str, ours: str, kinds: tuple[str, ...]) -> dict[str, str]:
    """The names of the tensors of one layer."""
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in kinds}
