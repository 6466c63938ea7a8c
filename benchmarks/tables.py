"""The paper's tables, with what was measured beside what was published.

Reads the scores that `examples/evaluate.py --csv` wrote, one file for each evaluation, by name:

    hscene-FAMILY.csv      the models of a run folder of train_hscene.py, on HScene
    hlip-FAMILY.csv        those of train_hlip.py, on HLIP
    iharmony4-FAMILY.csv   on iHarmony4

FAMILY is the `--recipe` that was trained. What is not there stays empty. Which photos, how many,
which size and which protocol is said under each table, as the file beside the CSV notes it.

    python benchmarks/tables.py scores --family paper --without-perceptual reference -o tables.md
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

from opmask.files import check_outputs, replacing
from opmask.markdown import markdown_table
from opmask.metrics.results import COLUMNS
from opmask.metrics.results import cell as show

METRICS = ("mse", "psnr", "ssim", "lpips_vgg")
Row = dict[str, str]
Published = tuple[float, ...]

# Tables 2 of the paper and 1 to 3 of its supplement: MSE, PSNR, SSIM and LPIPS.
TABLE_A: dict[str, dict[str, Published]] = {
    "hscene": {
        "composite": (271.89, 27.83, 0.96, 0.027),
        "rgb": (141.75, 28.73, 0.95, 0.026),
        "om": (99.84, 30.59, 0.96, 0.020),
        "omgan": (94.00, 30.88, 0.96, 0.020),
    },
    "hlip": {
        "composite": (111.95, 30.99, 0.96, 0.021),
        "rgb": (75.45, 31.34, 0.95, 0.025),
        "om": (48.02, 33.11, 0.96, 0.021),
        "omgan": (42.62, 33.92, 0.97, 0.018),
    },
}
# The masks and losses of a row, its figures, and which model of which recipe it is.
TABLE_C: tuple[tuple[str, Published, str, str], ...] = (
    ("no masks (rgb)", (141.75, 28.73, 0.95, 0.026), "{family}", "rgb"),
    ("add", (92.45, 30.79, 0.96, 0.052), "{family}-add", "om"),
    ("add, mul", (99.84, 30.59, 0.96, 0.020), "{family}", "om"),
    ("add, mul, no perceptual loss", (105.27, 30.29, 0.96, 0.021), "{plain}", "om"),
    ("add, mul, discriminator", (94.00, 30.88, 0.96, 0.020), "{family}", "omgan"),
)
# The last number is the time for the whole test set, in seconds.
TABLE_D: dict[str, dict[str, Published]] = {
    "hscene": {
        "DIRL + DoveNet": (158.94, 29.06, 0.95, 0.066, 287.6),
        "omgan": (94.00, 30.88, 0.96, 0.020, 106.6),
    },
    "hlip": {
        "DIRL + DoveNet": (80.34, 31.45, 0.96, 0.047, 1430.0),
        "omgan": (42.62, 33.92, 0.97, 0.018, 599.0),
    },
}
# MSE and PSNR of HCOCO, HAdobe5k, HFlickr, Hday2night and all; HT is given the region.
SUBSETS = {"HCOCO": "c", "HAdobe5k": "a", "HFlickr": "f", "Hday2night": "d", "all": ""}
TABLE_E: dict[str, tuple[Published, ...]] = {
    "composite": (
        (69.37, 33.94), (345.54, 28.16), (264.35, 28.32), (109.65, 34.01), (172.47, 31.63),
    ),
    "DoveNet": ((36.72, 35.93), (52.32, 34.34), (133.14, 30.21), (54.05, 35.18), (52.36, 34.75)),
    "HT, RGB": ((14.64, 39.04), (22.03, 38.85), (54.34, 34.12), (52.26, 36.75), (21.91, 38.39)),
    "HT, HLS, add": (
        (21.60, 37.45), (29.48, 36.89), (78.29, 32.59), (63.81, 36.36), (31.00, 36.73),
    ),
    "HT, HLS, add, mul": (
        (21.47, 37.56), (29.17, 37.15), (73.96, 32.83), (55.11, 36.84), (30.19, 36.90),
    ),
    "HT, LAB, add, mul": (
        (13.95, 39.14), (22.04, 38.64), (59.03, 34.00), (43.57, 36.86), (21.89, 38.38),
    ),
}  # fmt: skip


# What examples/train_iharmony4.py calls them.
MODELS_E = {
    "DoveNet": "dovenet",
    "HT, RGB": "ht",
    "HT, HLS, add": "ht-hls-add",
    "HT, HLS, add, mul": "ht-hls",
    "HT, LAB, add, mul": "ht-lab",
}


class Scores:
    """The scores of an evaluation, if there is one, by model, and where they come from."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.csv"
        self.models: dict[str, list[Row]] = {}
        self.note = f"{path.name}: not there."
        self.about: dict[str, object] = {}
        if not path.exists():
            return
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                self.models.setdefault(row["model"], []).append(row)
        notes = path.with_suffix(".json")
        if notes.exists():
            self.about = json.loads(notes.read_text())
        listed = [f"{key} {self.about[key]}" for key in self.about if key != "seconds"]
        self.note = f"{path.name}: {', '.join(listed) or 'no notes beside it'}."

    def cell(self, model: str, metric: str, chosen: Callable[[str], bool] = bool) -> str:
        """The mean with its interval."""
        rows = [row for row in self.models.get(model, []) if chosen(row["name"])]
        scored = [row for row in rows if row.get(metric)]
        return show(scored, metric) if scored else ""


def table(headings: list[str], rows: list[list[str]], notes: list[str]) -> str:
    text = markdown_table(headings, rows, rules=[" --- "] * len(headings))
    return "\n\n".join([text, *dict.fromkeys(notes)])


def pair(published: float | None, measured: str) -> list[str]:
    return ["" if published is None else f"{published:g}", measured]


def headings(first: str, metrics: tuple[str, ...] = METRICS) -> list[str]:
    names = [COLUMNS[metric][0] for metric in metrics]
    return [first, *(text for name in names for text in (f"{name}, paper", name))]


def cells(published: Published | None, scores: Scores, model: str) -> list[str]:
    pairs = zip(METRICS, (published or ())[: len(METRICS)] or (None,) * 4, strict=True)
    return [text for metric, value in pairs for text in pair(value, scores.cell(model, metric))]


def table_a(dataset: str, scores: Scores) -> str:
    published = TABLE_A[dataset]
    names = [*published, *(name for name in scores.models if name not in published)]
    rows = [[name, *cells(published.get(name), scores, name)] for name in names]
    return table(headings("model"), rows, [scores.note])


def table_c(folder: Path, family: str, plain: str) -> str:
    rows, notes = [], []
    for title, published, recipe, model in TABLE_C:
        scores = Scores(folder, f"hscene-{recipe.format(family=family, plain=plain)}")
        rows.append([title, *cells(published, scores, model)])
        notes.append(scores.note)
    return table(headings("masks and losses"), rows, notes)


def table_d(dataset: str, scores: Scores) -> str:
    rows = []
    for name, published in TABLE_D[dataset].items():
        seconds = scores.about.get("seconds", {})
        measured = f"{seconds[name]:.1f}" if name in seconds else ""
        rows.append([name, *cells(published, scores, name), *pair(published[-1], measured)])
    columns = [*headings("method"), "seconds, paper", "seconds"]
    return table(columns, rows, [scores.note, "Seconds are those of the whole set, one by one."])


def table_e(scores: Scores) -> str:
    rows, known = [], {*TABLE_E, *MODELS_E.values()}
    for name in [*TABLE_E, *(model for model in scores.models if model not in known)]:
        line, model = [name], MODELS_E.get(name, name)
        for i, first in enumerate(SUBSETS.values()):
            published = TABLE_E[name][i] if name in TABLE_E else (None, None)
            for metric, value in zip(METRICS, published, strict=False):
                line += pair(value, scores.cell(model, metric, lambda n, f=first: n.startswith(f)))
        rows.append(line)
    columns = [text for name in SUBSETS for text in headings(name, METRICS[:2])]
    columns = [c for c in columns if c not in SUBSETS]
    names = [name for name in SUBSETS for _ in range(4)]
    titled = [f"{name}: {column}" for name, column in zip(names, columns, strict=True)]
    return table(["method", *titled], rows, [scores.note])


def tables(folder: Path, family: str, plain: str) -> str:
    """All tables, as Markdown."""
    hscene, hlip, harmony = (
        Scores(folder, f"{name}-{family}") for name in ("hscene", "hlip", "iharmony4")
    )
    parts = {
        "Table 2 (A): HScene": table_a("hscene", hscene),
        "Table 2 (A): HLIP": table_a("hlip", hlip),
        "Supplement, table 1 (C): ablation on HScene": table_c(folder, family, plain),
        "Supplement, table 2 (D): one stage or two, HScene": table_d("hscene", hscene),
        "Supplement, table 2 (D): one stage or two, HLIP": table_d("hlip", hlip),
        "Supplement, table 3 (E): iHarmony4": table_e(harmony),
    }
    intro = "Measured: the mean over images, and its 95 % interval (bootstrap over images)."
    return "\n\n".join([intro, *(f"## {title}\n\n{text}" for title, text in parts.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="the folder of the CSV files")
    parser.add_argument("--family", default="paper", help="the recipe (paper)")
    help = "the recipe of the row without perceptual loss (reference)"
    parser.add_argument("--without-perceptual", default="reference", metavar="FAMILY", help=help)
    parser.add_argument("-o", "--out", type=Path, help="a Markdown file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    args = parser.parse_args()
    if not args.scores.is_dir():
        parser.error(f"{args.scores} is not a folder.")
    try:
        check_outputs({"--out": args.out}, inputs=args.scores.iterdir(), overwrite=args.overwrite)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    text = tables(args.scores, args.family, args.without_perceptual)
    print(text)
    if args.out:
        with replacing(args.out) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
