"""The photographs of `photos.csv`, made small once, for training that reads them many times.

    PYTHONPATH=examples python -m reproduction.small.pool --data ROOT --out DIR --size 256

writes a folder for each split: `images.npy` (N, 3, S, S) and `labels.npy` (N, S, S), both `uint8`,
and `photos.json`, the names of the photographs. What was interrupted goes on when it is called
again with the same arguments.

Files -> `Pool` -> `pack` -> `Packed` -> `Composites`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import csv
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from opmask.datasets import BrokenPhotoError, Photo, read_image, read_photo, resize_photo
from opmask.datasets.segmentation import segment
from opmask.datasets.workers import run
from opmask.files import replacing
from opmask.files.locking import locked

LIST = Path(__file__).with_name("photos.csv")
SPLITS = ("train", "validation", "test", "foreign")

IMAGES, LABELS, CONTENT = "images.npy", "labels.npy", "photos.json"


class Files(NamedTuple):
    """A photograph and its label map, "auto" for none, relative to the root of the data."""

    image: str
    labels: str


def listed(split: str, *, clear: bool = False) -> list[Files]:
    """The photographs of a split in the order of their names, or only the licence-clear ones."""
    if split not in SPLITS:
        raise ValueError(f"'split' must be one of {', '.join(SPLITS)}, got {split!r}.")
    with LIST.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [
        Files(row["file"], row["labels"]) for row in rows if row["clear"] == "yes" or not clear
    ]


class Pool:
    """The photos of a split, resized to squares; where nobody labelled them, regions are found.

    Labels are numbered from 1 in each photo, so that they say which pixels belong together and
    nothing else. The name of a photo is its file, relative to the root.
    """

    def __init__(self, root: str | Path, split: str, *, size: int, clear: bool = False) -> None:
        if size < 2:  # PyTorch resizes no 8-bit image to a single pixel
            raise ValueError(f"'size' must be at least 2, got {size}.")
        self.root, self.size = Path(root), size
        self.files = listed(split, clear=clear)
        needed = {name for files in self.files for name in files} - {"auto"}
        missing = sorted(name for name in needed if not (self.root / name).is_file())
        if missing:
            raise FileNotFoundError(
                f"'root' must hold all files of the list, got {self.root}, which lacks "
                f"{len(missing)} of {len(needed)}, such as {missing[0]}."
            )

    @property
    def names(self) -> list[str]:
        return [files.image for files in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Photo:
        name, labels = self.files[index]
        if labels == "auto":
            image = read_image(self.root / name)
            unlabelled = Photo(image, torch.zeros(image.shape[1:], dtype=torch.int64), name)
            photo = resize_photo(unlabelled, self.size)
            return photo._replace(label_map=segment(photo.image))
        photo = resize_photo(read_photo(self.root / name, self.root / labels), self.size)
        return Photo(photo.image, renumber(photo.label_map), name)


def renumber(label_map: Tensor) -> Tensor:
    """The labels as 1, 2, ... in their order; 0, unlabelled, stays 0."""
    present, places = label_map.unique(return_inverse=True)
    return places if present[0] == 0 else places + 1


class Packed:
    """The photos that `pack` wrote, read from disk when they are asked for.

    Writing into the tensors changes nothing on disk.

    Attributes:
        images: All images, `uint8`, (N, 3, S, S), in 0-255.
        labels: All label maps, `uint8`, (N, S, S).
        names: The names of the photos.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / CONTENT).is_file():
            raise FileNotFoundError(
                f"{folder} holds no photos: {CONTENT} is missing. Make it with "
                f"python -m reproduction.small.pool --data ROOT --out {self.folder.parent}."
            )
        content = read_content(self.folder)
        self.names: list[str] = content["photos"]
        done = complete(self.folder, content)
        if done < len(self.names):
            raise ValueError(
                f"'folder' must hold all of its photos, got {folder} with {done} of "
                f"{len(self.names)}. Write the rest: run pool.py with the same arguments again."
            )
        self.images, self.labels = (
            torch.from_numpy(np.load(self.folder / name, mmap_mode="c"))
            for name in (IMAGES, LABELS)
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Photo:
        return Photo(self.images[index], self.labels[index].long(), self.names[index])

    @property
    def labelled(self) -> Tensor:
        """Whether anything in each photo has a label, (N,)."""
        return self.labels.flatten(1).amax(1).bool()

    def subset(self, places: Sequence[int]) -> Packed:
        """Some of the photos, in memory."""
        some = copy(self)
        some.images, some.labels = self.images[list(places)], self.labels[list(places)]
        some.names = [self.names[place] for place in places]
        return some

    def __reduce__(self) -> tuple[type[Packed], tuple[Path]]:
        return Packed, (self.folder,)  # a process that is started reads the files, not a pickle


def pack(photos: Pool, out: str | Path, *, workers: int = 0) -> Packed:
    """Writes photos into a new folder, or goes on where the same ones were being written."""
    out = Path(out)
    content = {"size": photos.size, "photos": photos.names}
    if is_whole(out, content):  # which several runs may read at once
        return Packed(out)
    with locked(out):
        if not (out / CONTENT).exists():
            check_empty(out)
            with replacing(out / CONTENT) as temporary:
                temporary.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
        check_same(out, read_content(out), content)
        append(photos, out, content, workers)
    return Packed(out)


def is_whole(folder: Path, content: dict[str, Any]) -> bool:
    found = read_content(folder) if (folder / CONTENT).is_file() else None
    return found == content and complete(folder, content) == len(content["photos"])


def complete(folder: Path, content: dict[str, Any]) -> int:
    """How many photos were written."""
    return min(rows.complete() for rows in rows_of(folder, content))


def read_content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CONTENT).read_text(encoding="utf-8"))


def check_empty(out: Path) -> None:
    if there := [name for name in (IMAGES, LABELS) if (out / name).exists()]:
        raise ValueError(
            f"'out' must be a new folder or one that pack has written to, got {out}, which holds "
            f"{there[0]} but no {CONTENT}. Choose another folder."
        )


def check_same(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    begin = f"'out' must be a new folder or hold the same photos, got {out}, which has"
    if found["size"] != wanted["size"]:
        raise ValueError(f"{begin} size {found['size']}, not {wanted['size']}.")
    pairs = zip_longest(found["photos"], wanted["photos"], fillvalue="nothing")
    for number, (is_, should) in enumerate(pairs):
        if is_ != should:
            raise ValueError(f"{begin} {is_} as photo {number}, not {should}.")


def append(photos: Pool, out: Path, content: dict[str, Any], workers: int) -> None:
    """Writes the photos that are not there yet."""
    images, labels = rows_of(out, content)
    done = complete(out, content)
    places = range(done, len(photos))
    with images.after(done) as image_file, labels.after(done) as label_file:
        for photo in run(partial(read_or_error, photos), places, workers, out.name):
            if isinstance(photo, OSError):
                raise photo
            image_file.write(photo.image.numpy().tobytes())
            label_file.write(photo.label_map.byte().numpy().tobytes())


def read_or_error(photos: Pool, index: int) -> Photo | OSError:
    # An error that a worker process raises would come with a traceback in its message.
    try:
        return photos[index]
    except BrokenPhotoError as error:
        return error


class Rows:
    """A `.npy` file of bytes, whose rows are written one after the other.

    Its header is that of the whole file from the start, so that the length says what is missing.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        kind = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, kind)
        self.path, self.header, self.row = path, header.getvalue(), math.prod(shape[1:])

    def complete(self) -> int:
        """How many rows were written."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return max(0, size - len(self.header)) // self.row

    @contextmanager
    def after(self, rows: int) -> Iterator[BinaryIO]:
        """The file, open for writing what follows the first rows; what did is gone."""
        with open(self.path, "ab") as file:
            file.truncate(len(self.header) + rows * self.row if rows else 0)
            if rows == 0:
                file.write(self.header)
            yield file


def rows_of(folder: Path, content: dict[str, Any]) -> tuple[Rows, Rows]:
    """The rows of the images and of the label maps."""
    count, size = len(content["photos"]), content["size"]
    images = Rows(folder / IMAGES, (count, 3, size, size))
    return images, Rows(folder / LABELS, (count, size, size))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the root of the photographs")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args(arguments)
    try:
        pools = {split: Pool(args.data, split, size=args.size) for split in SPLITS}
        for split, photos in pools.items():
            print(f"{split}: {len(pack(photos, args.out / split, workers=args.workers))} photos")
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    launch.run(main)
