r"""The kind `pth`: models of the published code.

Sound state dict -> spoiled tensors, layout, archive or bytes -> loading function.
"""

from __future__ import annotations

import functools
import os
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import opmask
from fuzzing.case import Case, Use, expect
from fuzzing.checkpoint import overflows, try_model
from fuzzing.mutations import hostile, spoil_bytes, spoil_file
from opmask import backbones
from opmask.checkpoints import load_reference_checkpoint, load_reference_discriminator
from opmask.checkpoints.reference import generator_names

GENERATORS: dict[str, dict[str, Tensor]] = {}


def prepare(folder: Path) -> None:
    """Makes the state dicts once."""
    torch.manual_seed(0)
    for outputs in (3, 6):
        network = backbones.AttentionUNet(3, outputs, width=4).state_dict()
        names = generator_names(8)
        GENERATORS[f"{outputs} outputs"] = {theirs: network[our] for theirs, our in names.items()}
    GENERATORS["discriminator"] = opmask.PatchDiscriminator(width=4).state_dict()


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
    damage = action
    if action == "odd":
        state[name], damage = odd_tensor(rng, state[name])
        damage = f"{name} is {damage}"
    elif action == "remove":
        del state[name]
    elif action in ("add", "rename"):
        new = rng.choice(
            [f"{name}x", 7, None, (1,), "", "module.", "model.0.weight", f"module.{name}"]
        )
        state[new] = state[name]
        if action == "rename":
            del state[name]
        damage = f"{action} {new!r}"
    elif action == "all":
        kind = rng.choice([torch.float64, torch.bfloat16, torch.int8, torch.complex64])
        state, damage = {n: t.to(kind) for n, t in state.items()}, f"all {kind}"
    else:
        values = [[], None, list(state.items()), {}, 7, "x", nn.Linear(1, 1), Evil(), set(), b"x"]
        case.note("another object")
        return rng.choice(values)
    case.note(damage)
    return state


def pth(case: Case) -> Use:
    name = case.rng.choice(list(GENERATORS))
    case.note(name)
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
        case.note("another layout")
    legacy = rng.random() < 0.2
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if action == "zip" and not legacy:
        case.note(_spoil_zip(rng, path))
    elif action in ("bytes", "zip"):
        data, damage = spoil_bytes(rng, path.read_bytes())
        path.write_bytes(data)
        case.note(damage)
    elif action == "file":
        case.note(spoil_file(rng, path))
    wrong_door = not case.sound and rng.random() < 0.1
    if (name == "discriminator") is not wrong_door:
        return Use("load_reference_discriminator", lambda: _judge_image(path))
    door = f"load_reference_checkpoint {which}"
    return Use(door, lambda: try_model(load_reference_checkpoint(path, which)))


@torch.no_grad()
def _judge_image(path: Path) -> None:
    discriminator = load_reference_discriminator(path)
    found = discriminator(torch.rand(1, 3, 70, 70))
    expect(overflows(discriminator) or found.isfinite().all(), "its answer is not finite")


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
