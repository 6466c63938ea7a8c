r"""Checkpoints of DIRL's published code: its encoder and its decoder, a file each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from opmask.backbones import DIRL
from opmask.backbones.dirl import BLOCKS, Decoder, Encoder
from opmask.checkpoints._layout import advice, check_names, fill, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.checkpoints.published.dovenet import BATCH, named

__all__ = ["load_dirl"]

BOTTOM = "trans.im0.top_down.conv.weight"
"""A convolution of the decoder with as many outputs as the encoder is wide."""


def load_dirl(encoder: str | Path, decoder: str | Path) -> DIRL:
    r"""Loads a network that DIRL's published code has trained.

    Args:
        encoder: The file of the encoder, whose tensors are under `state_dict` or by themselves;
            with the prefix `module.` before each name or without. Widths are read from it.
        decoder: The file of the decoder, of the same training.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image)` is how likely each pixel is
        inside the region, in :math:`[0, 1]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is damaged, would run code, or holds another network.

    References:
        | Inharmonious Region Localization (Liang et al., 2021)
          https://arxiv.org/abs/2104.09453

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.dirl import decoder_names, encoder_names
        >>> net = DIRL(width=4, channels=8)
        >>> folder = tempfile.mkdtemp()
        >>> for part, names in ((net.encoder, encoder_names()), (net.decoder, decoder_names())):
        ...     ours, file = part.state_dict(), f"{folder}/{type(part).__name__.lower()}.pth"
        ...     torch.save({"state_dict": {t: ours[o] for t, o in names.items()}}, file)
        >>> dirl = load_dirl(f"{folder}/encoder.pth", f"{folder}/decoder.pth")
        >>> dirl(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 1, 64, 96])
    """
    encoder, decoder = Path(encoder), Path(decoder)
    first = _read(encoder, "encoder", encoder_names())
    second = _read(decoder, "decoder", decoder_names())
    width, inputs = first_layer(encoder, first, "inconv.weight", side=3)
    fitting, _ = first_layer(decoder, second, BOTTOM, side=3)
    if fitting != width:
        raise ValueError(
            f"'decoder' must be of the training of 'encoder', whose width is {width}, got "
            f"{str(decoder)!r}, where {BOTTOM!r} has {fitting} channels."
        )
    channels, _ = first_layer(decoder, second, "trans.im0.l_concat.conv.weight", side=3)
    with torch.device("meta"):  # because both halves are put in their places
        network = DIRL(inputs, width=width, channels=channels)
    network.encoder = fill(encoder, partial(Encoder, inputs, width), first, encoder_names())
    network.decoder = fill(decoder, partial(Decoder, width, channels), second, decoder_names())
    return network.eval()


def _read(path: Path, kind: str, names: dict[str, str]) -> dict[str, Tensor]:
    tensors = read_state_dict(path, "params")
    exchanged = (BOTTOM if kind == "encoder" else "inconv.weight") in tensors
    other = (
        "It is the other half: exchange the two files."
        if exchanged
        else advice(tensors, "load_dirl(encoder, decoder)")
    )
    check_names(path, f"{kind} of DIRL", tensors, names, other)
    return tensors


def encoder_names() -> dict[str, str]:
    """Our name of each tensor of the encoder by the published one."""
    names = named("inconv", "stem.0", ("weight", "bias")) | named("inbn", "stem.1", BATCH)
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            theirs, ours = f"encoder{stage + 1}.{block}", f"stages.{stage}.{block}"
            for number, place in ((1, 0), (2, 3)):
                names[f"{theirs}.conv{number}.weight"] = f"{ours}.layers.{place}.weight"
                names |= named(f"{theirs}.bn{number}", f"{ours}.layers.{place + 1}", BATCH)
            if 0 < stage < 4 and not block:  # where there are more channels
                names[f"{theirs}.downsample.0.weight"] = f"{ours}.skip.0.weight"
                names |= named(f"{theirs}.downsample.1", f"{ours}.skip.1", BATCH)
    return names


def decoder_names() -> dict[str, str]:
    """Our name of each tensor of the decoder by the published one."""
    names: dict[str, str] = {}
    for level in range(5):
        for published, layer in _fusion(level in (0, 4)).items():
            names |= _block(f"trans.im{level}.{published}", f"fusions.{level}.{layer}", 1)
        theirs, ours = f"attention_layers.mda_{level}", f"attentions.{level}"
        names[f"{theirs}.ChannelGate.conv.weight"] = f"{ours}.channels.weight"
        for number, place in ((0, 0), (1, 3)):
            spatial = f"{theirs}.SpatialGate.spatial.{number}"
            names[f"{spatial}.conv.weight"] = f"{ours}.places.{place}.weight"
            names |= named(f"{spatial}.bn", f"{ours}.places.{place + 1}", BATCH)
    decoder = "decoder_layers.deconv.decoder"
    for number in range(3):
        for published, layer in (("inup", "up"), ("inbottom", "bottom"), ("cat", "join")):
            theirs = f"{decoder}.d{number}.conv_{published}"
            names |= _block(theirs, f"stages.{2 - number}.{layer}", 0, ("weight",))
    names |= _block(f"{decoder}.d0.conv4", "unused", 0, ("weight",))
    return names | named(f"{decoder}.d0.conv5", "out", ("weight", "bias"))


def _fusion(pair: bool) -> dict[str, str]:
    """Our names of the layers of a fusion of two sizes, or three, by the published ones."""
    merging = ("l_concat", "h_concat") if pair else ("l_concat", "m_concat", "h_concat")
    names = {theirs: f"merge.{place}" for place, theirs in enumerate(merging)}
    if pair:
        return names | {"top_down": "top_down.0", "bottom_up": "bottom_up.0"}
    return names | {
        "top_down_m2l": "top_down.0",
        "top_down_h2m": "top_down.1",
        "bottom_up_l2m": "bottom_up.0",
        "bottom_up_m2h": "bottom_up.1",
    }


def _block(
    theirs: str, ours: str, place: int, kinds: tuple[str, ...] = ("weight", "bias")
) -> dict[str, str]:
    """A convolution, at some place of ours, and the norm after it."""
    norm = named(f"{theirs}.norm", f"{ours}.{place + 1}", BATCH)
    return named(f"{theirs}.conv", f"{ours}.{place}", kinds) | norm
