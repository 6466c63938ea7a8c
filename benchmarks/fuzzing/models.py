r"""The kinds `checkpoint` and `pth`: models of this library, and of the published code.

Sound file -> spoiled header, description, tensors or bytes -> loading function or command.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import opmask
from fuzzing.case import Case, Use, command, expect
from fuzzing.mutations import hostile, spoil_bytes, spoil_file, spoil_json, to_text
from opmask import backbones
from opmask.checkpoints import load_reference_checkpoint, load_reference_discriminator
from opmask.checkpoints.reference import generator_names

CHECKPOINTS: dict[str, bytes] = {}
GENERATORS: dict[str, dict[str, Tensor]] = {}


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
    for outputs in (3, 6):
        network = backbones.AttentionUNet(3, outputs, width=4).state_dict()
        names = generator_names(8)
        GENERATORS[f"{outputs} outputs"] = {theirs: network[our] for theirs, our in names.items()}
    GENERATORS["discriminator"] = opmask.PatchDiscriminator(width=4).state_dict()


# --- checkpoints of this library ---


def checkpoint(case: Case) -> Use:
    name = case.rng.choice(list(CHECKPOINTS))
    case.tell(name)
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
        case.tell(spoil_file(case.rng, path))
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
    expect(found.isfinite().all(), "the image is not finite")


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
        about, told = spoil_json(case.rng, about)
        case.tell(told)
    text, raw = to_text(case.rng, about), case.rng.random()
    if raw < 0.08:
        texts = ["", "{}", "[]", "null", "7", text[:50], "[" * 50_000, '"x"', "{" + text]
        text = case.rng.choice(texts)
        case.tell(f"the description is {text[:20]!r}")
    elif raw < 0.15:
        metadata = case.rng.choice([hostile(case.rng), {"opmask": hostile(case.rng)}, {}])
        case.tell("other metadata")
        return _join(to_text(case.rng, {**header, "__metadata__": metadata}), body)
    header["__metadata__"]["opmask"] = text
    return _join(json.dumps(header), body)


def _spoil_header(case: Case, data: bytes) -> bytes:
    header, body = _split(data)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    tensors, told = spoil_json(case.rng, tensors)
    if not isinstance(tensors, dict):
        tensors = {"x": tensors}
    if case.rng.random() < 0.15:
        case.tell("the length of the header")
        return struct.pack("<Q", case.rng.choice([0, 1, 2**20, 2**40, 2**64 - 1])) + data[8:]
    case.tell(f"header: {told}")
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
    case.tell(f"{action} of {name}")
    return _join(json.dumps(header), b"".join(parts.values()))


def _spoil_any_bytes(case: Case, data: bytes) -> bytes:
    data, told = spoil_bytes(case.rng, data)
    case.tell(told)
    return data


_SPOILERS = {
    "describe": _spoil_description,
    "header": _spoil_header,
    "tensor": _spoil_tensor,
    "bytes": _spoil_any_bytes,
}


# --- checkpoints of the published code ---


class Evil:
    """What would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def odd_tensor(rng: random.Random, t: Tensor) -> tuple[Any, str]:
    """A tensor, or none, that is not what it should be."""
    huge = torch.zeros(1)
    quantized = torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8)
    makers = {
        "sparse": lambda: t.to_sparse(),
        "sparse and huge": lambda: torch.sparse_coo_tensor(
            torch.zeros(2, 1).long(), torch.ones(1), (10**6, 10**6)
        ),
        "quantized": lambda: quantized,
        "expanded": lambda: huge.expand(60_000, 60_000),
        "expanded to its shape": lambda: huge.expand(t.shape) if t.ndim else huge,
        "complex": lambda: t.to(torch.complex64),
        "integers": lambda: t.to(torch.int64),
        "booleans": lambda: t > 0,
        "half": lambda: t.half(),
        "float8": lambda: t.to(torch.float8_e4m3fn),
        "nan": lambda: t * torch.nan,
        "empty": lambda: torch.zeros(0, *t.shape[1:]),
        "a scalar": lambda: torch.zeros(()),
        "another shape": lambda: t.flatten(),
        "twice as wide": lambda: torch.cat([t, t]) if t.ndim else t,
        "meta": lambda: torch.empty(10**6, 10**6, device="meta"),
        "a parameter": lambda: nn.Parameter(t),
        "nested": lambda: torch.nested.nested_tensor([torch.rand(2), torch.rand(3)]),
        "transposed": lambda: t.T if t.ndim == 2 else t.transpose(0, -1) if t.ndim else t,
        "a value": lambda: hostile_value(rng),
        "evil": Evil,
        "a module": lambda: nn.Linear(2, 2),
    }
    name = rng.choice(list(makers))
    return makers[name](), name


def hostile_value(rng: random.Random) -> object:
    value = hostile(rng)
    return "x" if isinstance(value, str) and value.startswith("@") else value


def spoil_state(case: Case, state: dict[Any, Any]) -> object:
    """Changes one thing in a state dict, or what is in its place."""
    state, rng = dict(state), case.rng
    name = rng.choice(list(state))
    action = rng.choice(["odd", "odd", "odd", "odd", "remove", "add", "rename", "all", "replace"])
    told = action
    if action == "odd":
        state[name], told = odd_tensor(rng, state[name])
        told = f"{name} is {told}"
    elif action == "remove":
        del state[name]
    elif action in ("add", "rename"):
        new = rng.choice(
            [f"{name}x", 7, None, (1,), "", "module.", "model.0.weight", f"module.{name}"]
        )
        state[new] = state[name]
        if action == "rename":
            del state[name]
        told = f"{action} {new!r}"
    elif action == "all":
        kind = rng.choice([torch.float64, torch.bfloat16, torch.int8, torch.complex64])
        state, told = {n: t.to(kind) for n, t in state.items()}, f"all {kind}"
    else:
        values = [[], None, list(state.items()), {}, 7, "x", nn.Linear(1, 1), Evil(), set(), b"x"]
        case.tell("another object")
        return rng.choice(values)
    case.tell(told)
    return state


def pth(case: Case) -> Use:
    name = case.rng.choice(list(GENERATORS))
    case.tell(name)
    path, rng = case.folder / "net.pth", case.rng
    state: Any = GENERATORS[name]
    action = rng.choices(["state", "layout", "zip", "bytes", "file"], [9, 3, 3, 3, 1])[0]
    if case.sound:
        action = "none"
    if action == "state":
        state = spoil_state(case, state)
    which = rng.choice(
        ["params", "params", "params_ema", "other"] if not case.sound else ["params"]
    )
    content: Any = {"params": state, "params_ema": state} if rng.random() < 0.8 else state
    if action == "layout":
        content = _layout(rng, state)
        case.tell("another layout")
    legacy = rng.random() < 0.2
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if action == "zip" and not legacy:
        case.tell(_spoil_zip(rng, path))
    elif action in ("bytes", "zip"):
        data, told = spoil_bytes(rng, path.read_bytes())
        path.write_bytes(data)
        case.tell(told)
    elif action == "file":
        case.tell(spoil_file(rng, path))
    wrong_door = not case.sound and rng.random() < 0.1
    if (name == "discriminator") is not wrong_door:
        return Use("load_reference_discriminator", lambda: _judge_image(path))
    door = f"load_reference_checkpoint {which}"
    return Use(door, lambda: try_model(load_reference_checkpoint(path, which)))


@torch.no_grad()
def _judge_image(path: Path) -> None:
    found = load_reference_discriminator(path)(torch.rand(1, 3, 70, 70))
    expect(found.isfinite().all(), "its answer is not finite")


def _layout(rng: random.Random, state: dict[str, Tensor]) -> object:
    deep: object = state
    for _ in range(rng.choice([1, 3, 400])):
        deep = {"params": deep}
    return rng.choice(
        [
            deep,
            {"params": None},
            {"params_ema": state},
            {"params": state, "params_ema": {}},
            {"params": {}},
            {"params": [state]},
            {"state_dict": state},
            {f"module.module.{name}": t for name, t in state.items()},
            {**{f"module.{name}": t for name, t in state.items()}, **state},
            [state],
            next(iter(state.values())),
            {"epoch": 7, "iter": 9, "optimizers": [], "schedulers": []},
        ]
    )


def _spoil_zip(rng: random.Random, path: Path) -> str:
    """Changes the records of the archive."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*records, *(n for n in records if n.endswith("data.pkl"))])
    action = rng.choice(["remove", "spoil", "spoil", "rename", "pickle", "bomb", "compress"])
    if action == "remove":
        del records[name]
    elif action == "spoil":
        records[name] = spoil_bytes(rng, records[name])[0]
    elif action == "rename":
        records[rng.choice(["../up", "/tmp/x", f"{name}x", "data.pkl"])] = records.pop(name)
    elif action == "pickle":
        name = next(n for n in records if n.endswith("data.pkl"))
        records[name] = rng.choice(
            [
                pickle.dumps(Evil(), 2),
                b"\x80\x02" + b"(" * 50_000 + b".",
                b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
                b"\x80\x02\x8c\xff",
                b"\x80\x02X\xff\xff\xff\x7f.",
                b"\x80\x02N.",
                b"",
                b"\x80\x09N.",
            ]
        )
    kind = zipfile.ZIP_DEFLATED if action == "compress" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    if action == "bomb":
        path.write_bytes(_bomb(next(n for n in records if n.endswith("data.pkl"))))
    return f"zip: {action} {name}"


@functools.cache
def _bomb(name: str, megabytes: int = 4000) -> bytes:
    """An archive of few bytes with one record of gigabytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = piece * megabytes + b"\3\0"
    sizes = struct.pack("<III", 0, len(packed), megabytes * 2**20 & 0xFFFFFFFF)
    common = struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes + struct.pack("<HH", len(name), 0)
    local = b"PK\3\4" + common + name.encode() + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + common + bytes(14) + name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\5\6" + end
