"""Score a run folder, or single checkpoints, on held-out composites.

python examples/evaluate.py runs/hscene
python examples/evaluate.py runs/hscene/om/model.safetensors --data ADEChallengeData2016

Models that were trained with the region are given the region. The table is printed; with `--out`
the scores of every image are written too.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from report import moved, validation_loader
from tqdm import tqdm

import opmask
from opmask.files import replacing
from opmask.metrics import average, evaluate, to_markdown


def find_checkpoints(path: Path) -> dict[str, Path]:
    """The checkpoints of a run folder by model, or the one file itself."""
    files = [path] if path.is_file() else sorted(path.glob("*/model.safetensors"))
    if not files:
        raise SystemExit(f"{path} is neither a checkpoint nor a run folder with finished models.")
    return {file.parent.name: file for file in files}


def write_scores(path: Path, scores: dict[str, list[dict[str, float]]]) -> None:
    """One row for each model and image."""
    rows = [
        {"model": n, "image": i, **s} for n, all_ in scores.items() for i, s in enumerate(all_)
    ]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="a run folder, or a checkpoint")
    parser.add_argument(
        "--data", type=Path, help="root in ADE20K's layout; synthetic scenes if absent"
    )
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--workers", type=int, default=1, help="data loading processes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="a CSV file for the scores of every image")
    args = parser.parse_args()
    models = {
        n: opmask.load(f).to(args.device).eval() for n, f in find_checkpoints(args.path).items()
    }
    scores = {}
    for name, model in {"composite": None, **models}.items():
        loader = validation_loader(args.data, args.size, args.workers)
        batches = moved(tqdm(loader, name, leave=False), torch.device(args.device))
        scores[name] = evaluate(model, batches, guided=model is not None and model.region)
    print(to_markdown([{"model": name, **average(rows)} for name, rows in scores.items()]))
    if args.out:
        write_scores(args.out, scores)


if __name__ == "__main__":
    main()
