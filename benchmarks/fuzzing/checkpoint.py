r"""The kind `checkpoint`: models of this library.

Sound file -> spoiled header, description, tensors or bytes -> `opmask.load` or the command.
"""

from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import opmask
from fuzzing.case import Case, Use, command, expect
from fuzzing.mutations import hostile, spoil_bytes, spoil_file, spoil_json, to_text
from opmask import backbones

CHECKPOINTS: dict[str, bytes] = {}


def prepare(folder: Path) -> None:
    """Makes the sound files once."""
    torch.manual_seed(0)
    small = functools.partial(backbones.SmallUNet, width=8)
    gated = opmask.Retoucher(opmask.Gated(opmask.Mul(opmask.LAB), opmask.Add(opmask.LAB)))
    models = {
        "wrapper": opmask.OperatorMaskWrapper(small(4), region=True),
        "gated": opmask.OperatorMaskWrapper(small(), gated),
        "hls": opmask.OperatorMaskWrapper(small(), opmask.hls_retoucher(), size=64),
        "direct": opmask.DirectRGB(small()),
        "output head": opmask.OperatorMaskWrapper(
            backbones.AttentionUNet(3, 6, width=4),
            head=opmask.OutputHead(),
            preprocess=opmask.LAB_CENTERED.from_rgb,
        ),
    }
    for name, model in models.items():
        opmask.save(model.eval(), folder / "model.safetensors")
        CHECKPOINTS[name] = (folder / "model.safetensors").read_bytes()


def checkpoint(case: Case) -> Use:
    name = case.rng.choice(list(CHECKPOINTS))
    case.note(name)
    data, path = CHECKPOINTS[name], case.folder / "model.safetensors"
    action = case.rng.choices(["describe", "header", "tensor", "bytes", "file"], [10, 4, 4, 3, 1])[
        0
    ]
    if case.sound:
        action = "none"
    if action in _SPOILERS:
        data = _SPOILERS[action](case, data)
    path.write_bytes(data)
    if action == "file":
        case.note(spoil_file(case.rng, path))
    if case.rng.random() < 0.75:
        return Use("load", lambda: try_model(opmask.load(path)))
    Image.effect_noise((64, 32), 50).convert("RGB").save(case.folder / "photo.png")
    out = case.folder / "out.png"
    case.sound = case.sound and name != "direct"
    arguments = ("harmonize", case.folder / "photo.png", "-o", out, "--model", path)
    return Use("harmonize --model", functools.partial(command, *arguments), ("out.png",))


@torch.no_grad()
def try_model(model: Any) -> None:  # noqa: ANN401
    """Raises unless a loaded model makes an image of an image."""
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = model.eval()(image)
    found = found if isinstance(found, Tensor) else found.image
    expect(found.shape == image.shape, f"the image has shape {tuple(found.shape)}")
    expect(overflows(model) or found.isfinite().all(), "the image is not finite")


def overflows(network: nn.Module) -> bool:
    """Whether weights are so large, although finite, that what they give may not be."""
    return any(p.abs().max() >= 1e6 for p in network.parameters() if p.numel())


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _join(header: str, body: bytes) -> bytes:
    encoded = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + body


def _spoil_description(case: Case, data: bytes) -> bytes:
    header, body = _split(data)
    about: Any = json.loads(header["__metadata__"]["opmask"])
    for _ in range(case.rng.choice([1, 1, 2])):
        about, damage = spoil_json(case.rng, about)
        case.note(damage)
    text, raw = to_text(case.rng, about), case.rng.random()
    if raw < 0.08:
        texts = ["", "{}", "[]", "null", "7", text[:50], "[" * 50_000, '"x"', "{" + text]
        text = case.rng.choice(texts)
        case.note(f"the description is {text[:20]!r}")
    elif raw < 0.15:
        metadata = case.rng.choice([hostile(case.rng), {"opmask": hostile(case.rng)}, {}])
        case.note("other metadata")
        return _join(to_text(case.rng, {**header, "__metadata__": metadata}), body)
    header["__metadata__"]["opmask"] = text
    return _join(json.dumps(header), body)


def _spoil_header(case: Case, data: bytes) -> bytes:
    header, body = _split(data)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    tensors, damage = spoil_json(case.rng, tensors)
    if not isinstance(tensors, dict):
        tensors = {"x": tensors}
    if case.rng.random() < 0.15:
        case.note("the length of the header")
        return struct.pack("<Q", case.rng.choice([0, 1, 2**20, 2**40, 2**64 - 1])) + data[8:]
    case.note(f"header: {damage}")
    return _join(to_text(case.rng, {"__metadata__": header.get("__metadata__"), **tensors}), body)


def _spoil_tensor(case: Case, data: bytes) -> bytes:
    """Another file of the same header but for one tensor."""
    header, body = _split(data)
    names = [name for name in header if name != "__metadata__"]
    parts = {n: body[slice(*header[n]["data_offsets"])] for n in names}
    name = case.rng.choice(names)
    action = case.rng.choice(["nan", "huge", "type", "shape", "remove", "add", "rename", "zeros"])
    if action in ("nan", "huge", "zeros"):
        value = {"nan": b"\0\0\xc0\x7f", "huge": b"\xff\xff\x7f\x7f", "zeros": bytes(4)}[action]
        parts[name] = (value * len(parts[name]))[: len(parts[name])]
    elif action == "type":
        header[name]["dtype"] = case.rng.choice(
            ["I32", "U32", "BF16", "F64", "BOOL", "F8_E4M3", "C64"]
        )
    elif action == "shape":
        shape = header[name]["shape"]
        header[name]["shape"] = case.rng.choice([shape[::-1], [*shape, 1], shape[:-1], [0], []])
    elif action == "remove":
        del header[name], parts[name]
    else:
        new = case.rng.choice([f"{name}x", "", "head.extra", "a" * 5000, "é"])
        header[new], parts[new] = dict(header[name]), parts[name]
        if action == "rename" and new != name:
            del header[name], parts[name]
    sizes = {"BF16": 2, "F64": 8, "BOOL": 1, "F8_E4M3": 1, "C64": 8, "I64": 8, "F16": 2}
    at = 0
    for key, part in parts.items():  # so that the file itself is sound
        numbers = 1
        for side in header[key]["shape"]:
            numbers *= side
        size = numbers * sizes.get(header[key]["dtype"], 4)
        parts[key] = (part * (size // max(len(part), 1) + 1))[:size]
        header[key]["data_offsets"] = [at, at := at + size]
    case.note(f"{action} of {name}")
    return _join(json.dumps(header), b"".join(parts.values()))


def _spoil_any_bytes(case: Case, data: bytes) -> bytes:
    data, damage = spoil_bytes(case.rng, data)
    case.note(damage)
    return data


_SPOILERS = {
    "describe": _spoil_description,
    "header": _spoil_header,
    "tensor": _spoil_tensor,
    "bytes": _spoil_any_bytes,
}
