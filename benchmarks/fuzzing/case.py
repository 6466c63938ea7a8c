r"""What a case is: a folder of files, drawn from one seed, and a way to use them.

Seed, kind, number -> :class:`Case` -> a kind's function -> :class:`Use`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from opmask.cli import main


class Wrong(Exception):
    """The library took a file and made nonsense of it, or refused a sound one."""


class Refused(Exception):
    """The command ended with another status than 0; its cause is what it reports."""


@dataclass(frozen=True)
class Use:
    r"""A door of the library, about to be opened.

    Args:
        door: Its name.
        run: Uses the files, and raises :class:`Wrong` where the result makes no sense.
        outputs: What may be there afterwards: paths in the folder, or patterns of them.
        resumable: Whether what is finished stays after an error, to be completed another time.
    """

    door: str
    run: Callable[[], object]
    outputs: tuple[str, ...] = ()
    resumable: bool = False


@dataclass
class Case:
    r"""One case, whose choices depend on nothing but its seed, kind and number.

    Args:
        seed: That of the run.
        kind: Such as `"image"`.
        number: Which case of that kind.
        folder: An empty folder for its files.
        sound: Whether the files are left as they should be.
        damage: What was done to the files.
    """

    seed: int
    kind: str
    number: int
    folder: Path
    sound: bool = False
    damage: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}:{self.kind}:{self.number}")
        self.sound = self.rng.random() < 0.05

    @property
    def noise(self) -> np.random.Generator:
        """Another one for arrays, at another place each time."""
        return np.random.default_rng(self.rng.getrandbits(64))

    def note(self, text: str) -> None:
        self.damage.append(text)


def command(*arguments: object) -> None:
    """Runs `opmask` as from a terminal."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        if stop.code:
            raise Refused(stop.code) from stop.__context__


def expect(condition: object, text: str) -> None:
    """Raises unless a result makes sense."""
    if not condition:
        raise Wrong(text)
