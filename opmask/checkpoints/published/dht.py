r"""Checkpoints of D-HT, the disentangled network of Harmony Transformer's published code."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from opmask.backbones import DHT
from opmask.backbones.dht import VERSIONS
from opmask.checkpoints._layout import advice, check_names, fill
from opmask.checkpoints._pth import read_state_dict
from opmask.checkpoints.published.harmony_transformer import (
    CONVOLUTIONS,
    count_layers,
    read_shape,
    read_stem,
    read_width,
    renamed,
)

__all__ = ["load_dht"]

DECODERS = {"reflectance": "reflectance_dec", "illumination": "illumination_dec"}
THEIRS = {
    **{
        f"encoder.{3 * i}.": f"reflectance_enc.model.{n}.conv." for i, n in enumerate(CONVOLUTIONS)
    },
    **{
        f"{ours}.{n}.": f"{theirs}.model.{layer}.{kind}."
        for ours, theirs in DECODERS.items()
        for n, layer, kind in (
            *((1, 2, "conv"), (2, 2, "norm"), (5, 4, "conv")),
            *((6, 4, "norm"), (8, 5, "conv")),
        )
    },
    "layers.": "reflectance_transformer_enc.encoder.layers.",
    "patches.linear.": "light_generator.patch_embedding.0.",
    "patch_layers.": "light_generator.transformer_enc.encoder.layers.",
    "lights.": "light_generator.light_embed.",
    "gathering.": "light_generator.transformer_dec.decoder.layers.",
    "gathering_norm.": "light_generator.transformer_dec.decoder.norm.",
    "lighting.": "illumination_render.decoder.layers.",
    "lighting_norm.": "illumination_render.decoder.norm.",
}
"""How the published names begin, by how ours do."""


def load_dht(path: str | Path, version: str = "v1", *, heads: int = 2) -> DHT:
    r"""Loads a disentangled network that Harmony Transformer's published code has trained.

    The published code also takes a file of the other version, leaves out what it has no place for,
    and then gives other images. Here it is an error.

    Args:
        path: A state dict; with the prefix `module.` before each name or without. Widths and the
            number of layers are read from it.
        version: `"v1"`, of the first release, whose patches of light pass an encoder of their own;
            or `"v2"` (DHT+), without that.
        heads: The number of attention heads, which a file does not tell; 2 as published.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region)` is the image as it
        paints it, not pasted, in :math:`[0, 1]`; `network.factors(image, region)` are the
        reflectance and the illumination that it is the product of.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, would run code, or holds another network or version; or
            if there is no such version.

    References:
        | Image Harmonization With Transformer (Guo et al., 2021)
          https://openaccess.thecvf.com/content/ICCV2021/html/Guo_Image_Harmonization_With_Transformer_ICCV_2021_paper.html

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.dht import dht_names
        >>> net = DHT(width=16, layers=2, version="v2").state_dict()
        >>> published = {theirs: net[ours] for theirs, ours in dht_names("v2", 2).items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(published, f"{folder}/latest_net_G.pth")
        ...     network = load_dht(f"{folder}/latest_net_G.pth", version="v2")
        >>> network(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    if version not in VERSIONS:
        raise ValueError(f"'version' must be one of {', '.join(VERSIONS)}, got {version!r}.")
    path = Path(path)
    tensors = read_state_dict(path, "params")
    layers = count_layers(tensors, "reflectance_transformer_enc.")
    stem = read_stem(tensors, "reflectance_enc")
    names = dht_names(version, layers, stem)
    loader = f"load_dht(path, version={version!r})"
    check_names(path, "such D-HT", tensors, names, advice(tensors, loader))
    width, inputs = read_width(path, tensors, "reflectance_enc")
    lights, _ = read_shape(path, tensors, "light_generator.light_embed.weight", 2)
    first = "reflectance_transformer_enc.encoder.layers.0.linear1.bias"
    (ffn,) = read_shape(path, tensors, first, 1)
    build = partial(
        DHT,
        inputs,
        tensors["reflectance_dec.model.5.conv.bias"].numel(),
        width=width,
        layers=layers,
        heads=heads,
        ffn=ffn,
        lights=lights,
        version=version,
        stem=stem,
    )
    return fill(path, build, tensors, names).eval()


def dht_names(version: str, layers: int, stem: int | None = None) -> dict[str, str]:
    """Our name of each tensor by the published one."""
    some = None if stem is None else 1
    with torch.device("meta"):
        ours = DHT(width=4, layers=layers, version=version, stem=some).state_dict()
    return renamed(ours, THEIRS)
