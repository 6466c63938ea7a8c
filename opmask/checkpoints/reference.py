r"""Checkpoints of the paper's published code, converted.

Data flow: `.pth file -> {name: tensor} -> AttentionUNet -> OperatorMaskWrapper or DirectRGB`, and
`.pth file -> PatchDiscriminator`. Names, channel order and biases are translated once, here; the
result is a model like any other, to be edited, trained on and saved with :func:`opmask.save`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from opmask.backbones import AttentionUNet
from opmask.checkpoints._layout import DEEPEST, advice, check_names, fill, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.color import LAB_CENTERED
from opmask.discriminator import PatchDiscriminator
from opmask.operators import Add, MaskRange, Mul
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.baseline import DirectRGB
from opmask.wrapper.heads import OutputHead

__all__ = ["load_reference_checkpoint", "load_reference_discriminator"]

# Theirs: add_L mul_L add_a mul_a add_b mul_b. Ours: l_mul a_mul b_mul l_add a_add b_add.
ROWS = [1, 3, 5, 0, 2, 4]


def load_reference_checkpoint(
    path: str | Path, which: str = "params"
) -> OperatorMaskWrapper | DirectRGB:
    r"""Loads a generator that the paper's published code has trained.

    The masks of the result are those of the published generator, up to rounding. The image is not
    always: the published code clamps it to :math:`[-1, 1]` in LAB, this library clamps it in RGB
    alone, so strongly saturated colours and lights that are driven out of range can differ. And
    the published code keeps LAB in 8 bits, this library in real numbers.

    The published networks saw images of 256x256 only. `model.size = (256, 256)` makes the model
    predict its masks at that size whatever the image's, and enlarge them.

    Args:
        path: A file that holds `{"params": ..., "params_ema": ...}`, or a state dict alone; with
            the prefix `module.` before each name or without. Width and depth are read from it.
        which: `"params"`, the weights as trained, which the published evaluation uses; or
            `"params_ema"`, their moving average.

    Returns:
        For a network with 6 outputs, a wrapper with the masks `l_mul a_mul b_mul l_add a_add
        b_add` in `LAB_CENTERED`. For one with 3, the paper's RGB baseline. In training mode as a
        new model would be, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    Warns:
        UserWarning: If the moving average is asked for, but not in the file.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import opmask, tempfile, torch
        >>> from opmask.checkpoints.reference import generator_names
        >>> net = opmask.backbones.AttentionUNet(width=8).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in generator_names(8).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"params": published}, f"{folder}/net_g.pth")
        ...     model = load_reference_checkpoint(f"{folder}/net_g.pth").eval()
        >>> model(torch.rand(1, 3, 200, 150)).masks["l_mul"].shape
        torch.Size([1, 1, 200, 150])
    """
    path = Path(path)
    tensors = read_state_dict(path, which)
    depth = max(5, 1 + sum(name.endswith(".model.1.weight") for name in tensors))
    names = generator_names(min(depth, DEEPEST))
    hint = _advice("load_reference_checkpoint", tensors)
    check_names(path, "generator", tensors, names, hint)
    width, inputs = first_layer(path, tensors, "model.model.0.weight")
    outputs = tensors["model.model.3.conv2d.bias"].numel()
    if inputs != 3 or outputs not in (3, 6):
        raise ValueError(
            f"{str(path)!r} must hold a network with 3 inputs and with 6 outputs, for masks, or "
            f"3, for RGB, got {inputs} inputs and {outputs} outputs."
        )
    build = partial(AttentionUNet, inputs, outputs, width=width, depth=depth)
    backbone = fill(path, build, tensors, names)
    return _wrap(backbone) if outputs == 6 else DirectRGB(backbone, multiple_of=2**depth)


def load_reference_discriminator(path: str | Path) -> PatchDiscriminator:
    r"""Loads a discriminator that the paper's published code has trained.

    It has learned to judge images in `LAB_CENTERED`, not in RGB: call it as
    `discriminator(opmask.LAB_CENTERED.from_rgb(image))`.

    Args:
        path: A file that holds `{"params": ...}`, or a state dict alone; with the prefix `module.`
            before each name or without. Width and depth are read from it.

    Returns:
        The discriminator, in training mode as a new one would be, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    Example:
        >>> import opmask, tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     published = PatchDiscriminator(width=8).state_dict()
        ...     torch.save({"params": published}, f"{folder}/net_d.pth")
        ...     discriminator = load_reference_discriminator(f"{folder}/net_d.pth")
        >>> image = torch.rand(1, 3, 256, 256)
        >>> discriminator(opmask.LAB_CENTERED.from_rgb(image)).shape
        torch.Size([1, 1, 30, 30])
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    depth = min(max(1, sum(name.endswith(".weight") for name in tensors) - 2), DEEPEST)
    with torch.device("meta"):
        names = {name: name for name in PatchDiscriminator(width=1, depth=depth).state_dict()}
    hint = _advice("load_reference_discriminator", tensors)
    check_names(path, "discriminator", tensors, names, hint)
    width, inputs = first_layer(path, tensors, "model.0.weight")
    build = partial(PatchDiscriminator, inputs, width=width, depth=depth)
    return fill(path, build, tensors, names)


def generator_names(depth: int) -> dict[str, str]:
    """Our name of each tensor by the published one, where each level holds the next."""
    layers = {"model.model.0": "encoder.0.0"}
    inside = "model.model.1"
    for level in range(1, depth):
        place = depth - 1 - level  # in the decoder, which begins with the innermost level
        layers[f"{inside}.model.1"] = f"encoder.{level}.0"
        layers[f"{inside}.model.{5 if place else 3}.conv2d"] = f"decoder.{place}.2"
        if level <= 3:
            layers[f"{inside}.attention.0"] = f"gates.{place}.conv"
        inside += ".model.3"
    layers["model.model.3.conv2d"] = "out.2"
    return {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in layers.items()
        for kind in ("weight", "bias")
    }


def _advice(loader: str, tensors: Mapping[str, Tensor]) -> str:
    """What to do with a file of another layout."""
    hint = advice(tensors, loader)
    if "It looks like" in hint:
        return hint
    batch = any(name.endswith("running_mean") for name in tensors)
    why = "It was trained with norm='batch', this one has instance norms. " if batch else ""
    return f"{why}{hint[:-1]}; opmask.OperatorMaskWrapper takes any generator."


def _wrap(backbone: AttentionUNet) -> OperatorMaskWrapper:
    _reorder(backbone.get_parameter("out.2.weight"), backbone.get_parameter("out.2.bias"))
    multiplied = Mul(LAB_CENTERED, range=MaskRange(1.0, low=0.0))
    added = Add(LAB_CENTERED, range=MaskRange(0.0))
    return OperatorMaskWrapper(
        backbone,
        Retoucher(multiplied, added),
        head=OutputHead(),
        preprocess=LAB_CENTERED.from_rgb,
        # Known, and given, so that loading need not search for them.
        example=torch.full((1, 3, backbone.multiple_of, backbone.multiple_of), 0.5),
        multiple_of=backbone.multiple_of,
    )


@torch.no_grad()
def _reorder(weight: Tensor, bias: Tensor) -> None:
    """Sorts the rows of the last layer, and counts the logits of factors from their identity."""
    for parameter in (weight, bias):
        parameter.copy_(parameter[ROWS])
    bias[:3] -= 1
