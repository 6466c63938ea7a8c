"""The paper's tables, with what was measured beside what was published.

Reads the scores that `examples/evaluate.py --csv` wrote, one file for each evaluation, by name:

    hscene-FAMILY.csv      the models of a run folder of train_hscene.py, on HScene
    hlip-FAMILY.csv        those of train_hlip.py, on HLIP
    iharmony4-FAMILY.csv   those of train_iharmony4.py, on iHarmony4 or a set in its format
    two-stages-FAMILY.csv  those of two_stages.py, likewise

FAMILY is the `--recipe` that was trained. Of what was not run there is neither a table nor a row
nor a column, but a line at the end. Which photos, how many, which size and which protocol is said
under each table, as the file beside the CSV notes it.

    python benchmarks/tables.py scores --family paper --without-perceptual reference -o tables.md
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opmask.files import check_outputs, replacing
from opmask.markdown import markdown_table
from opmask.metrics.results import COLUMNS
from opmask.metrics.results import cell as show

METRICS = ("mse", "psnr", "ssim", "lpips_vgg")
ALL = "all"
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
# What examples/two_stages.py calls the rows that are the paper's, on other data.
STAGES = {"DIRL and DoveNet": "DIRL + DoveNet", "om, one stage": "omgan"}
# MSE and PSNR of HCOCO, HAdobe5k, HFlickr, Hday2night and all; HT is given the region.
SUBSETS = {"HCOCO": "c", "HAdobe5k": "a", "HFlickr": "f", "Hday2night": "d"}
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
        self.name = path.name
        self.models: dict[str, list[Row]] = {}
        self.about: dict[str, Any] = {}
        if not path.exists():
            return
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                self.models.setdefault(row["model"], []).append(row)
        notes = path.with_suffix(".json")
        if notes.exists():
            self.about = json.loads(notes.read_text())

    @property
    def note(self) -> str:
        """What was scored, as the file beside the scores has it."""
        listed = [f"{key} {self.about[key]}" for key in self.about if key != "seconds"]
        return f"{self.name}: {', '.join(listed) or 'no notes beside it'}."

    def cell(self, model: str, metric: str, chosen: Callable[[Row], bool] = bool) -> str:
        """The mean with its interval; nothing if there is no value."""
        rows = [row for row in self.models.get(model, []) if chosen(row)]
        scored = [row for row in rows if row.get(metric)]
        return show(scored, metric) if scored else ""

    def seconds(self, model: str) -> str:
        """The time for the whole set."""
        found = self.about.get("seconds", {})
        return f"{found[model]:.1f}" if model in found else ""


class Line(NamedTuple):
    """A row: for each column what was published, if anything, and what was measured, or ""."""

    title: str
    published: Sequence[float | None]
    measured: Sequence[str]


def table(first: str, names: Sequence[str], lines: Sequence[Line], notes: Sequence[str]) -> str:
    """The rows and the columns of which something was measured; nothing if there are none."""
    lines = [line for line in lines if any(line.measured)]
    if not lines:
        return ""
    headings, columns = [first], [[line.title for line in lines]]
    for place, name in enumerate(names):
        published, measured = ([line[part][place] for line in lines] for part in (1, 2))
        if not any(measured):
            continue
        if any(value is not None for value in published):
            headings.append(f"{name}, paper")
            columns.append(["" if value is None else f"{value:g}" for value in published])
        headings.append(name)
        columns.append(measured)
    rows = [list(row) for row in zip(*columns, strict=True)]
    text = markdown_table(headings, rows, rules=[" --- "] * len(headings))
    return "\n\n".join([text, *dict.fromkeys(notes)])


def titles(metrics: Sequence[str] = METRICS) -> list[str]:
    return [COLUMNS[metric][0] for metric in metrics]


def line(title: str, published: Published | None, scores: Scores, model: str) -> Line:
    known = (published or (None,) * len(METRICS))[: len(METRICS)]
    return Line(title, known, [scores.cell(model, metric) for metric in METRICS])


def table_a(dataset: str, scores: Scores) -> str:
    published = TABLE_A[dataset]
    names = [*published, *(name for name in scores.models if name not in published)]
    lines = [line(name, published.get(name), scores, name) for name in names]
    return table("model", titles(), lines, [scores.note])


def table_c(ablation: Mapping[str, Scores], family: str, plain: str) -> str:
    lines, notes = [], []
    for title, published, recipe, model in TABLE_C:
        scores = ablation[recipe.format(family=family, plain=plain)]
        lines.append(line(title, published, scores, model))
        notes += [scores.note] if scores.models else []
    return table("masks and losses", titles(), lines, notes)


def table_d(published: Mapping[str, Published | None], scores: Scores, *notes: str) -> str:
    lines = []
    for name, figures in published.items():
        known = line(name, figures, scores, name)
        seconds = [figures[-1] if figures else None], [scores.seconds(name)]
        lines.append(Line(name, [*known[1], *seconds[0]], [*known[2], *seconds[1]]))
    whole = "Seconds are those of the whole set, one by one."
    return table("method", [*titles(), "seconds"], lines, [scores.note, whole, *notes])


def two_stages(scores: Scores) -> str:
    published = {name: TABLE_D["hscene"].get(STAGES.get(name, "")) for name in scores.models}
    note = "The paper's figures are those on HScene, of OMGAN in one stage: other data than here."
    return table_d(published, scores, note)


def table_e(scores: Scores) -> str:
    places = [*SUBSETS, *(name for name in subsets_of(scores) if name not in SUBSETS), ALL]
    if len(subsets_of(scores)) == 1:
        places = [ALL]
    known = {*TABLE_E, *MODELS_E.values()}
    lines = []
    for name in [*TABLE_E, *(model for model in scores.models if model not in known)]:
        model = MODELS_E.get(name, name)
        figures = dict(zip([*SUBSETS, ALL], TABLE_E.get(name, ()), strict=False))
        published = [value for place in places for value in figures.get(place, (None, None))]
        measured = [
            scores.cell(model, metric, lambda row, place=place: place in (ALL, subset_of(row)))
            for place in places
            for metric in METRICS[:2]
        ]
        lines.append(Line(name, published, measured))
    names = [f"{place}: {title}" for place in places for title in titles(METRICS[:2])]
    return table("method", names, lines, [scores.note])


def subsets_of(scores: Scores) -> list[str]:
    """The subsets of which there are scores, in order."""
    return list(dict.fromkeys(subset_of(row) for rows in scores.models.values() for row in rows))


def subset_of(row: Row) -> str:
    """What the scores say; of older ones, what the first letter says, as iHarmony4 names files."""
    letters = {letter: name for name, letter in SUBSETS.items()}
    return row.get("subset") or letters.get(row["name"][0], "")


def tables(folder: Path, family: str, plain: str) -> str:
    """All tables, as Markdown."""
    hscene, hlip, harmony, stages = (
        Scores(folder, f"{name}-{family}")
        for name in ("hscene", "hlip", "iharmony4", "two-stages")
    )
    others = {name: Scores(folder, f"hscene-{name}") for name in (f"{family}-add", plain)}
    parts = {
        "Table 2 (A): HScene": table_a("hscene", hscene),
        "Table 2 (A): HLIP": table_a("hlip", hlip),
        "Supplement, table 1 (C): ablation on HScene": table_c(
            {family: hscene, **others}, family, plain
        ),
        "Supplement, table 2 (D): one stage or two, HScene": table_d(TABLE_D["hscene"], hscene),
        "Supplement, table 2 (D): one stage or two, HLIP": table_d(TABLE_D["hlip"], hlip),
        "One stage or two, both trained here": two_stages(stages),
        "Supplement, table 3 (E): iHarmony4": table_e(harmony),
    }
    intro = "Measured: the mean over images, and its 95 % interval (bootstrap over images)."
    made = [f"## {title}\n\n{text}" for title, text in parts.items() if text]
    every = (hscene, hlip, *others.values(), stages, harmony)
    missing = [f"{scores.name}: not there." for scores in every if not scores.models]
    return "\n\n".join([intro, *made, *missing]) + "\n"


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
