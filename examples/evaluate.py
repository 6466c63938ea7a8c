"""Score a run folder, or single checkpoints, on held-out composites.

python examples/evaluate.py runs/hscene
python examples/evaluate.py runs/hscene/om/model.safetensors --data ADEChallengeData2016
python examples/evaluate.py runs/hscene --lpips vgg alex --weights ~/weights

Models that were trained with the region are given the region. The table is printed; with `--out`
the scores of every image are written too. `--protocol reference` computes them as the paper's code
does. LPIPS takes the weights of torchvision's VGG16 and AlexNet from torchvision's cache, or from
the files or folders that `--weights` names; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from arguments import at_least, available_device, existing
from report import moved, validation_loader
from tqdm import tqdm

import opmask
from opmask.files import replacing
from opmask.losses import LPIPS
from opmask.metrics import average, evaluate, to_markdown

TRUNKS = {"vgg": "vgg16", "alex": "alexnet"}  # what the names of the weights' files begin with


def find_checkpoints(path: Path) -> dict[str, Path]:
    """The checkpoints of a run folder by model, or the one file itself."""
    files = [path] if path.is_file() else sorted(path.glob("*/model.safetensors"))
    if not files:
        raise SystemExit(f"{path} is neither a checkpoint nor a run folder with finished models.")
    return {file.parent.name: file for file in files}


def find_weights(net: str, paths: list[Path]) -> Path | None:
    """The file for one of TRUNKS among files and folders, or none: then it is in the cache."""
    if not paths:
        return None
    files = [f for path in paths for f in (path.iterdir() if path.is_dir() else [path])]
    fitting = [f for f in files if f.name.startswith(TRUNKS[net]) and f.suffix == ".pth"]
    if len(fitting) != 1:
        raise SystemExit(
            f"--weights must hold one file {TRUNKS[net]}*.pth for --lpips {net}, "
            f"got {[str(f) for f in fitting]}."
        )
    return fitting[0]


def lpips_networks(args: argparse.Namespace) -> list[LPIPS]:
    try:
        networks = [LPIPS(net, weights=find_weights(net, args.weights)) for net in args.lpips]
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(str(error)) from error
    return [network.to(args.device) for network in networks]


def write_scores(path: Path, scores: dict[str, list[dict[str, float]]]) -> None:
    """One row for each model and image."""
    rows = [
        {"model": n, "image": i, **s} for n, all_ in scores.items() for i, s in enumerate(all_)
    ]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=existing, help="a run folder, or a checkpoint")
    parser.add_argument("--data", type=existing, help="root as ADE20K's; else synthetic scenes")
    parser.add_argument("--size", type=at_least(32), default=64, help="of the images, in pixels")
    parser.add_argument("--protocol", choices=["opmask", "reference"], default="opmask")
    parser.add_argument("--lpips", nargs="+", choices=TRUNKS, default=[], help="score LPIPS too")
    parser.add_argument("--weights", nargs="+", type=existing, default=[], help="for --lpips")
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=available_device, default=default)
    parser.add_argument("--out", type=Path, help="a CSV file for the scores of every image")
    args = parser.parse_args()
    args.lpips = list(dict.fromkeys(args.lpips))  # each one once
    if args.weights and not args.lpips:
        parser.error("--weights are those for --lpips, which is not given")
    return args


def main() -> None:
    args = parse()
    networks = lpips_networks(args)
    models = {
        n: opmask.load(f).to(args.device).eval() for n, f in find_checkpoints(args.path).items()
    }
    scores = {}
    for name, model in {"composite": None, **models}.items():
        loader = validation_loader(args.data, args.size, args.workers)
        batches = moved(tqdm(loader, name, leave=False), torch.device(args.device))
        guided = model is not None and model.region
        scores[name] = evaluate(
            model, batches, guided=guided, protocol=args.protocol, lpips=networks
        )
    print(to_markdown([{"model": name, **average(rows)} for name, rows in scores.items()]))
    if args.out:
        write_scores(args.out, scores)


if __name__ == "__main__":
    main()
