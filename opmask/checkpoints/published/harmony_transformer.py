r"""Checkpoints of Harmony Transformer's published code, and of the paper's changes to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from opmask.backbones import HarmonyTransformer, HarmonyTransformerPlus
from opmask.checkpoints._layout import WIDEST, advice, check_names, fill
from opmask.checkpoints._pth import read_state_dict
from opmask.color import LAB_UNIT
from opmask.retouch import paper_lab_retoucher
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.heads import OutputHead

__all__ = ["load_harmony_transformer", "load_sgmmh_harmony_transformer"]

VERSIONS: dict[str, Callable[..., HarmonyTransformer | HarmonyTransformerPlus]] = {
    "v1": HarmonyTransformer,
    "plus": HarmonyTransformerPlus,
}
CONVOLUTIONS = (0, 1, 2, 4)
"""The published numbers of the convolutions before tokens; the last is not in published files."""
THEIRS = {
    "v1": {
        **{f"encoder.{3 * i}.": f"enc.model.{n}.conv." for i, n in enumerate(CONVOLUTIONS)},
        **{f"decoder.{n}.": f"dec.model.{layer}.conv." for n, layer in ((1, 2), (5, 4), (8, 5))},
        **{f"decoder.{n}.": f"dec.model.{layer}.norm." for n, layer in ((2, 2), (6, 4))},
        "layers.": "transformer_enc.encoder.layers.",
    },
    "plus": {
        "encoder.linear.": "patch_to_embedding.1.",
        "decoder.": "dec.0.",
        "layers.": "transformer_enc.encoder.layers.",
    },
}
"""How the published names begin, by how ours do, in each version."""
DEEPEST = 64
"""The most layers that a transformer in a file may have."""


def load_harmony_transformer(
    path: str | Path, version: str = "v1", *, heads: int = 2
) -> HarmonyTransformer | HarmonyTransformerPlus:
    r"""Loads a network that Harmony Transformer's published code has trained.

    The published figures are those of its images, pasted where the region is.

    Args:
        path: A state dict; with the prefix `module.` before each name or without. Widths and the
            number of layers are read from it.
        version: `"v1"`, the network of convolutions in the first release, or `"plus"`, that of
            patches in the second.
        heads: The number of attention heads, which a file does not tell; 2 as published.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region)` is the image as it
        paints it, not pasted; it was trained to lie in :math:`[0, 1]`, and lies in
        :math:`[-1, 1]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network or version; or
            if there is no such version.

    References:
        | Image Harmonization With Transformer (Guo et al., 2021)
          https://openaccess.thecvf.com/content/ICCV2021/html/Guo_Image_Harmonization_With_Transformer_ICCV_2021_paper.html

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.harmony_transformer import names_of
        >>> net = HarmonyTransformerPlus(width=16, layers=2).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in names_of("plus", 2).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/latest_net_G.pth")
        ...     network = load_harmony_transformer(f"{folder}/latest_net_G.pth", "plus")
        >>> network(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    if version not in VERSIONS:
        raise ValueError(f"'version' must be one of {', '.join(VERSIONS)}, got {version!r}.")
    path = Path(path)
    tensors = read_state_dict(path, "params")
    layers = count_layers(tensors, "transformer_enc.encoder.")
    stem = read_stem(tensors, "enc")
    names = names_of(version, layers, stem)
    loader = f"load_harmony_transformer(path, version={version!r})"
    check_names(path, "such Harmony Transformer", tensors, names, advice(tensors, loader))
    more: dict[str, int] = {}
    if version == "v1":
        width, inputs = read_width(path, tensors, "enc")
        outputs = tensors["dec.model.5.conv.bias"].numel()
        more = {} if stem is None else {"stem": stem}
    else:
        width, inputs = _patches(path, tensors)
        outputs = tensors["dec.0.bias"].numel()
    (ffn,) = read_shape(path, tensors, "transformer_enc.encoder.layers.0.linear1.bias", 1)
    kind = partial(VERSIONS[version], inputs, outputs, **more)
    build = partial(kind, width=width, layers=layers, heads=heads, ffn=ffn)
    return fill(path, build, tensors, names).eval()


def load_sgmmh_harmony_transformer(path: str | Path, *, heads: int = 2) -> OperatorMaskWrapper:
    r"""Loads a Harmony Transformer with which the paper's code predicts masks, for iHarmony4.

    .. math:: y_c = \operatorname{clamp}(x_c \, m_{c,\mathrm{mul}} + m_{c,\mathrm{add}}, 0, 1),
              \qquad m_\mathrm{mul} = \operatorname{ReLU}(z), \quad m_\mathrm{add} = \tanh z'

    for each channel :math:`c` of :data:`opmask.LAB_UNIT`. Factors leave :math:`L^* = 0` and
    :math:`a^* = b^* = -128` where they are, so that a factor alone also tints greys. The result
    has the masks and the image of the published computation, but for one thing: the published code
    keeps LAB in OpenCV's 8 bits, this library in real numbers.

    Unlike the paper's other networks, this one is told the region, and was never trained without:
    call it as `model(image, region)`. The published code paints the whole image, in training too,
    and pastes at test alone: `image * (1 - region) + model(image, region).image * region`, with a
    region whose edges are soft, since it is resized bilinearly.

    The published networks saw images of 256x256 only. `model.size = (256, 256)` makes the model
    predict its masks at that size whatever the image's, and enlarge them.

    Args:
        path: A state dict; with the prefix `module.` before each name or without. Widths and the
            number of layers are read from it.
        heads: The number of attention heads, which a file does not tell; 2 as published.

    Returns:
        A wrapper with the masks `l_mul a_mul b_mul l_add a_add b_add`, in evaluation mode, on the
        CPU. It takes a region unless the network has 3 inputs.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.harmony_transformer import names_of
        >>> net = HarmonyTransformerPlus(width=16, layers=2).state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in names_of("plus", 2).items()}
        >>> for kind in ("weight", "bias"):
        ...     head = published.pop(f"dec.0.{kind}")
        ...     published |= {f"dec1.0.{kind}": head, f"dec2.0.{kind}": head}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/latest_net_G.pth")
        ...     model = load_sgmmh_harmony_transformer(f"{folder}/latest_net_G.pth")
        >>> list(model(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).masks)
        ['l_mul', 'a_mul', 'b_mul', 'l_add', 'a_add', 'b_add']
    """
    path = Path(path)
    tensors = read_state_dict(path, "params")
    layers = count_layers(tensors, "transformer_enc.encoder.")
    names = names_of("plus", layers)
    added = {f"dec{n}.0.{kind}": "" for n in (1, 2) for kind in ("weight", "bias")}
    theirs = {n: ours for n, ours in names.items() if not n.startswith("dec.")} | added
    loader = "load_sgmmh_harmony_transformer(path)"
    check_names(path, "Harmony Transformer with masks", tensors, theirs, advice(tensors, loader))
    width, inputs = _patches(path, tensors)
    if inputs not in (3, 4):
        raise ValueError(
            f"{str(path)!r} must hold a network with 4 inputs, or 3 without a region, got "
            f"{inputs}."
        )
    (ffn,) = read_shape(path, tensors, "transformer_enc.encoder.layers.0.linear1.bias", 1)
    build = partial(
        HarmonyTransformerPlus,
        inputs,
        6,
        width=width,
        layers=layers,
        heads=heads,
        ffn=ffn,
        tanh=False,
    )
    return OperatorMaskWrapper(
        fill(path, build, _with_one_head(path, tensors, width), names),
        paper_lab_retoucher(),
        region=inputs == 4,
        head=OutputHead(),
        preprocess=LAB_UNIT.from_rgb,
        # Known, and given, so that loading need not search for them.
        example=torch.full((1, 3, 16, 24), 0.5),
        multiple_of=4,
    ).eval()


def _with_one_head(path: Path, tensors: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """The tensors with the two heads as one, whose output is the logits of our masks.

    Theirs gives the masks that are added first. Factors are counted from their identity, and of
    the others our range takes half the logits.
    """
    heads = {n: t for n, t in tensors.items() if n.startswith(("dec1.", "dec2."))}
    for name, tensor in heads.items():
        wanted = (width, 3, 4, 4) if name.endswith("weight") else (3,)
        if tensor.shape != wanted or not tensor.is_floating_point():
            raise ValueError(
                f"{str(path)!r}: {name!r} must hold floating-point numbers of shape {wanted}, got "
                f"{tensor.dtype} and {tuple(tensor.shape)}."
            )
    weights = torch.cat([heads["dec2.0.weight"], 2 * heads["dec1.0.weight"]], 1)
    biases = torch.cat([heads["dec2.0.bias"] - 1, 2 * heads["dec1.0.bias"]])
    rest = {name: t for name, t in tensors.items() if name not in heads}
    return rest | {"dec.0.weight": weights, "dec.0.bias": biases}


def names_of(version: str, layers: int, stem: int | None = None) -> dict[str, str]:
    """Our name of each tensor by the published one."""
    more = {} if stem is None or version != "v1" else {"stem": 1}
    with torch.device("meta"):
        ours = VERSIONS[version](width=4, layers=layers, **more).state_dict()
    return renamed(ours, THEIRS[version])


def renamed(ours: Mapping[str, Tensor], theirs: Mapping[str, str]) -> dict[str, str]:
    """Our names by the published ones, given how those begin by how ours do."""
    begins = {name: next(start for start in theirs if name.startswith(start)) for name in ours}
    return {theirs[b] + name.removeprefix(b): name for name, b in begins.items()}


def count_layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers a transformer in a file has, at least one."""
    count = sum(n.startswith(prefix) and n.endswith(".norm1.weight") for n in tensors)
    return min(max(1, count), DEEPEST)


def read_shape(
    path: Path, tensors: Mapping[str, Tensor], name: str, dimensions: int
) -> tuple[int, ...]:
    """The shape of a tensor from which the numbers of a network are read."""
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions or not all(1 <= number <= WIDEST for number in shape):
        raise ValueError(
            f"{str(path)!r}: {name!r} must have {dimensions} dimensions of 1 to {WIDEST}, "
            f"got {shape}."
        )
    return shape


def read_stem(tensors: Mapping[str, Tensor], encoder: str) -> int | None:
    """The channels of the first convolution, where a fourth one makes the width; else none."""
    fourth, first = (f"{encoder}.model.{n}.conv.weight" for n in (4, 0))
    return tensors[first].shape[:1].numel() if {fourth, first} <= tensors.keys() else None


def read_width(path: Path, tensors: Mapping[str, Tensor], encoder: str) -> tuple[int, int]:
    """The width of tokens that are made by convolutions, and the channels of the input."""
    first, inputs, *_ = read_shape(path, tensors, f"{encoder}.model.0.conv.weight", 4)
    if read_stem(tensors, encoder) is None:
        return 4 * first, inputs
    return read_shape(path, tensors, f"{encoder}.model.4.conv.weight", 4)[0], inputs


def _patches(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """The width of the network of patches, and the channels of its input."""
    width, numbers = read_shape(path, tensors, "patch_to_embedding.1.weight", 2)
    if numbers % 16:
        raise ValueError(
            f"{str(path)!r}: 'patch_to_embedding.1.weight' must take patches of 4x4 pixels, a "
            f"multiple of 16 numbers, got {numbers}."
        )
    return width, numbers // 16
