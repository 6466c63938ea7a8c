"""What a training run keeps on disk, so that it can be interrupted and resumed at any step.

A run folder holds `settings.json`, and for each model `log.csv`, `checkpoint/state.pt` and, once
training is done, `model.safetensors`. Every file is replaced as a whole or not at all.
"""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import Subset

from opmask.datasets import Photos
from opmask.files import replacing
from reproduction.data import Share
from reproduction.recipes import Options, Recipe

# --- settings: what makes a run the run that it is ---

# What a run may be resumed with another value of: the photos may have moved, and as many
# images in each step may come from another number of processes. Everything else must stay.
MAY_CHANGE = {
    "data": "The photos are the same.",
    "processes": "A step has as many images as before, and each composite is the same. Norms over "
    "a batch, relativistic means and dropout are those of each process, and differ.",
}


def describe_run(
    photos: str,
    recipes: Mapping[str, Recipe],
    options: Options,
    shares: Mapping[str, Share],
    precision: str,
) -> dict[str, str]:
    """All that decides what is trained; the recipes' values by model."""
    values = {
        "data": options.data,
        "photos": photos,
        "guided": options.guided,
        "seed": options.seed,
        "init": options.init,
        "processes": next(iter(shares.values())).processes,
        "mixed precision": precision,
    }
    images = {model: share.step_size for model, share in shares.items()}
    if len(set(images.values())) == 1:
        values["images in a step"] = next(iter(images.values()))
    else:
        values |= {f"images in a step of {model}": count for model, count in images.items()}
    for model, recipe in recipes.items():
        fields = asdict(recipe)
        del fields["batch_size"], fields["batch"]  # how the images of a step are shared
        values |= {f"{name} of {model}": value for name, value in fields.items()}
    return {name: str(value) for name, value in values.items()}


def describe_photos(photos: Photos) -> str:
    """Their number and, for files, a checksum of their names in order, wherever they lie."""
    if not isinstance(photos, Subset):
        return f"{len(photos)} synthetic"
    names = "\n".join(photos.dataset.pairs[index][0].name for index in photos.indices)
    return f"{len(photos)}, checksum of names {sha256(names.encode()).hexdigest()[:16]}"


def open_run(folder: Path, settings: dict[str, str], *, resume: bool, whole: bool = False) -> None:
    """Opens a new run folder or, on resuming, one whose settings agree.

    What a run has no settings of yet, such as another model, may begin now, unless all of its
    settings belong together, as a whole.
    """
    path = folder / "settings.json"
    if path.exists() and not resume:
        raise SystemExit(
            f"{folder} already holds a run. Add --resume to go on with it, or give another --out."
        )
    found = [] if path.exists() or not folder.is_dir() else sorted(folder.iterdir())
    if files := [p.name for p in found if p.is_file() and not p.name.startswith(".")]:
        raise SystemExit(f"{folder} holds {files[0]}, but no run. Give another --out.")
    before = read_settings(path) if path.exists() else {}
    if whole and before and (unknown := [name for name in settings if name not in before]):
        raise SystemExit(
            f"--resume needs the settings of the run in {folder}, which is of an older version, "
            f"without {', '.join(unknown)}. Begin a new run, with another --out."
        )
    changed = [name for name in settings if before.get(name, settings[name]) != settings[name]]
    changes = {name: f"{name} was {before[name]}, is {settings[name]}" for name in changed}
    if refused := [text for name, text in changes.items() if name not in MAY_CHANGE]:
        raise SystemExit(
            f"--resume needs the settings of the run in {folder}, but {'; '.join(refused)}."
        )
    for name, text in changes.items():
        print(f"Resuming although {text}. {MAY_CHANGE[name]}")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**before, **settings}, indent=1) + "\n")


def read_settings(path: Path) -> dict[str, str]:
    """The settings of a run; older ones have another name for the perturbations `reference`."""
    return {
        name: "reference" if (value, name[:8]) == ("reference-lab", "perturb ") else value
        for name, value in json.loads(path.read_text()).items()
    }


# --- the state of training ---


def save_state(folder: Path, parts: dict[str, Any], step: int) -> None:
    """Writes everything that resuming needs."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with replacing(folder / "checkpoint" / "state.pt") as temporary:
        torch.save({**state, "step": step}, temporary)


def load_state(folder: Path, parts: dict[str, Any]) -> int:
    """Reads what `save_state` wrote, if anything; the step to go on from."""
    path = folder / "checkpoint" / "state.pt"
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise SystemExit(f"{path} cannot be read, it is damaged: {error}") from error
    if state.keys() != {*parts, "step"}:
        raise SystemExit(
            f"{path} is of another configuration: it holds {sorted(state)}, this run has "
            f"{sorted([*parts, 'step'])}."
        )
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise SystemExit(f"{path} is of another configuration: {name}: {error}") from error
    return state["step"]


# --- the log ---


class Log:
    """Values at each step, as a CSV file and, if wanted, for TensorBoard."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, ("step", *columns)
        self.rows: list[list[float]] = []
        self.board: Any = None

    def read(self, step: int) -> None:
        """Takes over the rows up to `step` of an earlier run."""
        self.rows = [row for row in read_log(self.path) if row[0] <= step]

    def open_board(self) -> None:
        """Writes what is added from now on for TensorBoard too."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SystemExit("--tensorboard needs `pip install opmask[train]`.") from error
        # Of what an interrupted run wrote after its last checkpoint, nothing is shown.
        first = len(self.rows) + 1
        self.board = SummaryWriter(self.path.with_name("tensorboard"), purge_step=first)

    def add(self, step: int, values: list[float]) -> None:
        self.rows.append([step, *values])
        if self.board is not None:
            for name, value in zip(self.columns[1:], values, strict=True):
                self.board.add_scalar(name, value, step)

    def show(self, title: str, picture: torch.Tensor) -> None:
        """Shows a picture, (3, H, W) in [0, 1], in TensorBoard."""
        self.board.add_image(title, picture.clamp(0, 1), self.rows[-1][0])

    def write(self) -> None:
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.rows])
        if self.board is not None:
            self.board.flush()


def read_log(path: Path) -> list[list[float]]:
    """The rows of a log, the step first."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [[int(float(step)), *map(float, values)] for step, *values in rows]


# --- interruptions ---


class Interrupt:
    """Whether Ctrl-C was pressed, or the process asked to end; the step at hand is finished."""

    def __enter__(self) -> Interrupt:
        self.asked = False
        signals = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._ask) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def asked_anywhere(self, accelerator: Accelerator) -> bool:
        """Whether any of the processes was asked, so that all stop at the same step."""
        asked = torch.tensor(float(self.asked), device=accelerator.device)
        return bool(accelerator.reduce(asked, "sum"))

    def _ask(self, *_: object) -> None:
        self.asked = True
