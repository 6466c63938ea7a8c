r"""Ways to spoil a file whatever it holds: its bytes, its JSON, or that it is a file at all.

Each function takes a source of random choices and returns what it made and a word about it.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

DEEP = {"@deep lists@": ("[", "]"), "@deep objects@": ('{"a":', "}")}
DEPTH = 50_000

NUMBERS = [
    *(0, 1, 2, 3, -1, -7, 7, 255, 256, 1000, 65536, 2**31 - 1, 2**31, 2**63, 2**64, 10**6, 10**30),
    *(10**400, -(10**400), 0.5, -0.5, -0.0, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf),
]
TEXTS = [
    *("", "x", " ", "7", "-1", "NaN", "inf", "1e999", "true", "null", "é🙂", "\ud800", "a\0b"),
    *(
        "a\nb",
        "%s%n{0}",
        "../../etc/passwd",
        "/dev/zero",
        "/etc/passwd",
        "..",
        "C:\\x",
        "x" * 10**5,
    ),
    *DEEP,
]
OTHERS = [None, True, False, [], {}, [None], [[]], {"": None}, {"x": 1}, [1, 2, 3], ["x"] * 1000]


def hostile(rng: random.Random) -> object:
    """A value that was not expected."""
    return deepcopy(rng.choice(rng.choice([NUMBERS, TEXTS, OTHERS])))


def spoil_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Damages bytes as disks, networks and editors do."""
    at = rng.randrange(len(data) + 1)
    at = rng.choice([at, min(at, rng.randrange(64))])  # headers are short and matter most
    end = min(len(data), at + rng.choice([1, 2, 4, 16, 100, 1000]))
    run = data[at:end]
    head, tail = data[:at], data[end:]
    makers = {
        "truncated": lambda: head,
        "a bit flipped": lambda: (
            head + bytes([run[0] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if run else head
        ),
        "zeros": lambda: head + bytes(len(run)) + tail,
        "ones": lambda: head + b"\xff" * len(run) + tail,
        "noise": lambda: head + rng.randbytes(len(run)) + tail,
        "a piece removed": lambda: head + tail,
        "a piece twice": lambda: head + run + run + tail,
        "halves swapped": lambda: data[at:] + head,
        "garbage appended": lambda: data + rng.randbytes(rng.choice([1, 10, 1000])),
        "garbage before": lambda: rng.choice([b"\xef\xbb\xbf", b"\n", b"\xff\xfe"]) + data,
        "written twice": lambda: data + data,
    }
    name = rng.choice(list(makers))
    return makers[name](), f"{name} at {at}"


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Each container in a JSON value with each of its keys."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, inner in list(entries):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def spoil_json(rng: random.Random, value: Any) -> tuple[Any, str]:  # noqa: ANN401
    """Changes one thing in a copy of a JSON value."""
    value = deepcopy(value)
    if rng.random() < 0.03 or not isinstance(value, (dict, list)) or not value:
        new = hostile(rng)
        return new, f"all of it is {new!r:.30}"
    container, key = rng.choice(list(places(value)))
    old = container[key]
    action = rng.choice(["remove", "replace", "replace", "near", "near", "near", "add", "swap"])
    if action == "remove":
        del container[key]
    elif action == "replace":
        container[key] = hostile(rng)
    elif action == "near":
        container[key] = _near(rng, old)
    elif action == "swap":
        other, place = rng.choice(list(places(value)))
        container[key] = deepcopy(other[place])
    elif isinstance(container, dict):
        container[rng.choice(["", "x", "é", f"{key} ", str(key).upper()])] = hostile(rng)
    else:
        container.insert(key, deepcopy(rng.choice([old, hostile(rng)])))
    new = container[key] if action in ("replace", "near", "swap") else ""
    return value, f"{action} {key!r:.30} ({old!r:.30} -> {new!r:.30})"


def _near(rng: random.Random, old: object) -> object:
    """Something of the same kind that does not fit either."""
    if isinstance(old, bool) or old is None:
        return rng.choice([not old, str(old), 0, 1])
    if isinstance(old, (int, float)):
        return rng.choice([old + 1, -old, old * 2, old * 1000, old + 0.5, str(old), [old], -1, 0])
    if isinstance(old, str):
        longer, shorter = old + old, old[: len(old) // 2]
        return rng.choice(
            [longer, shorter, old.upper(), f" {old}", f"../{old}", f"{old}\0", [old]]
        )
    if isinstance(old, list):
        longer = old * rng.choice([2, 300])
        return rng.choice([old[:-1], old[::-1], longer, {"0": old}, [old], str(old)[:20]])
    return rng.choice([[old], str(old)[:20], {str(old)[:20]: old}, None])


def to_text(rng: random.Random, value: object) -> str:
    """Writes a value as JSON, with nesting that `json` itself could not write."""
    text = json.dumps(value)
    for mark, (opening, closing) in DEEP.items():
        text = text.replace(f'"{mark}"', opening * DEPTH + "1" + closing * DEPTH)
    if rng.random() < 0.03:
        text = text.replace("{", '{"seed":1,"kind":2,"seed":3,', 1)
    return text


def spoil_file(rng: random.Random, path: Path) -> str:
    """Makes something else of a file: what no program expects under that name."""
    data = path.read_bytes()
    path.unlink()
    what = rng.choice([*_MAKERS, "copied", "moved"])
    if what in _MAKERS:
        _MAKERS[what](path)
    else:  # sound, but by way of a link
        target = path.with_name(f"target of the link{path.suffix}")
        target.write_bytes(data)
        path.symlink_to(target.name if what == "moved" else target)
    return f"{path.name} is {what}"


_MAKERS = {
    "an empty file": Path.touch,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to /dev/null": lambda path: path.symlink_to("/dev/null"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to its folder": lambda path: path.symlink_to("."),
    "missing": lambda path: None,
}


def litter(rng: random.Random, folder: Path, ending: str) -> str:
    """Leaves files beside others that systems and killed programs leave there."""
    names = ["._p0" + ending, ".DS_Store", f".p0.4711{ending}", "Thumbs.db", f"p0{ending}~"]
    name = rng.choice(names)
    if not (folder / name).exists():
        (folder / name).write_bytes(rng.choice([b"", b"\0\5\x16\7\0\2\0\0Mac OS X", b"x" * 300]))
    return f"{name} beside"
