"""Score models, or pictures that any program made, under a named protocol.

python examples/evaluate.py runs/hscene --data ADEChallengeData2016
python examples/evaluate.py runs/hscene --recompress --untouched --lpips vgg alex
python examples/evaluate.py runs/hscene --triptychs HScene/test/composite --protocol reference
python examples/evaluate.py runs/guided --iharmony4 IHD --subset HCOCO --protocol idih
python examples/evaluate.py --outputs results --iharmony4 IHD

What is scored is a run folder, a checkpoint, or `--outputs`: a folder of pictures named as the
samples are. What it is scored on: composites of photos (`--data`, or synthetic scenes), triptychs
(a published test set, or the pictures of a benchmark), or iHarmony4, as published or as made by
`opmask make-iharmony4`, scored by subset and over all images. Models that were trained with the
region are given the region; `--paste` keeps their composites' backgrounds, as published code of
some does at test. The tables are printed; `--csv` keeps the scores of every image.
LPIPS takes the weights of torchvision's VGG16 and AlexNet from torchvision's cache, or from the
files or folders that `--weights` names; nothing is downloaded.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from reproduction.data import on_device, validation_set
from reproduction.flags import (
    add_overwrite,
    at_least,
    available_device,
    check_files,
    existing,
    files_of,
    given,
)
from reproduction.recipes import CHOICES
from reproduction.report import consecutive
from reproduction.scoring import (
    Pasted,
    Target,
    measure_speed,
    open_samples,
    panels,
    score_folder,
    score_masks,
    write_notes,
)
from torch import nn
from tqdm import tqdm

import opmask
from opmask.losses import LPIPS
from opmask.metrics import (
    PROTOCOLS,
    best_threshold,
    evaluate,
    results_table,
    untouched,
    write_scores,
)
from opmask.metrics.localization import ADD_THRESHOLD, SWEEP
from opmask.perturb import CompositeBatch

TRUNKS = {"vgg": "vgg16", "alex": "alexnet"}  # what the names of the weights' files begin with
Rows = list[dict[str, str | float]]
Change = Callable[[CompositeBatch], CompositeBatch]


def find_checkpoints(path: Path | None) -> dict[str, Path]:
    """The checkpoints of a run folder by model, or the one file itself."""
    if path is None:
        return {}
    if path.is_file():
        return {path.parent.name: path}
    files = list(path.glob("*/model.safetensors"))
    if not files:
        raise SystemExit(f"{path} is neither a checkpoint nor a run folder with finished models.")
    known = [name for name in CHOICES if path / name / "model.safetensors" in files]
    others = sorted({file.parent.name for file in files} - set(known))
    return {name: path / name / "model.safetensors" for name in (*known, *others)}


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


def lpips_networks(names: list[str], weights: list[Path], device: str) -> list[LPIPS]:
    try:
        networks = [LPIPS(net, weights=find_weights(net, weights)) for net in names]
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(str(error)) from error
    return [network.to(device) for network in networks]


def score_all(
    models: dict[str, nn.Module | None],
    target: Target,
    networks: list[LPIPS],
    device: torch.device,
    *,
    outputs: Path | None = None,
    also_untouched: bool = False,
) -> dict[str, Rows]:
    """The scores of every image: the composites first, then each model, or the pictures."""
    scores = {}

    def score_model(name: str, model: nn.Module | None, change: Change) -> None:
        samples = open_samples(target, model)
        batches = on_device(tqdm(samples.loader, name, leave=False), device)
        rows = evaluate(
            model,
            map(change, batches),
            guided=model is not None and model.region,
            protocol=target.protocol,
            lpips=networks,
            levels=SWEEP,
            pictures=panels(model) if target.paneled else None,
            add_threshold=ADD_THRESHOLD if target.iharmony4 else None,
        )
        if change is untouched:  # where nothing is to be found
            rows = [{key: row[key] for key in row if "iou" not in key} for row in rows]
        scores[name] = samples.labelled(rows)

    for name, model in {"composite": None, **models}.items():
        score_model(name, model, lambda batch: batch)
        if also_untouched and model is not None:
            score_model(f"{name}, untouched", model, untouched)
    if outputs:
        samples = open_samples(target, None, batch=1)
        rows = score_folder(outputs, samples, target.protocol, networks)
        scores[outputs.name] = samples.labelled(rows)
    return scores


def describe_localization(rows: Rows) -> str:
    sweep = {level: torch.tensor([row[f"iou@{level}"] for row in rows]) for level in SWEEP}
    listed = ", ".join(f"{level}: {values.mean():.3f}" for level, values in sweep.items())
    level, mean = best_threshold(sweep)
    return f"IoU by threshold, in levels of 255: {listed}; best {mean:.3f} at {level}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=existing, help="a run folder, or a checkpoint")
    parser.add_argument("--outputs", type=existing, help="pictures to score, named as the samples")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=existing, help="root as ADE20K's; else synthetic scenes")
    where.add_argument("--triptychs", type=existing, help="folder of real | composite | region")
    where.add_argument("--iharmony4", type=existing, help="root as iHarmony4's")
    parser.add_argument("--split", choices=["train", "test"], default="test", help="iHarmony4's")
    parser.add_argument("--subset", help="iHarmony4's, such as HCOCO; else each, and all")
    parser.add_argument("--inverted", action="store_true", help="its masks are black inside")
    parser.add_argument("--size", type=at_least(32), help="pixels; else 64, or 256 for pictures")
    parser.add_argument(
        "--recompress", action="store_true", help="composites without synthetic traces"
    )
    parser.add_argument("--untouched", action="store_true", help="score untouched photos too")
    parser.add_argument("--masks", action="store_true", help="score masks against fitted ones")
    parser.add_argument(
        "--paste", action="store_true", help="paste what models make into the region"
    )
    parser.add_argument("--timing", action="store_true", help="measure the speed too")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="else opmask; ih4-256 for iHarmony4")
    parser.add_argument("--lpips", nargs="+", choices=TRUNKS, default=[], help="score LPIPS too")
    parser.add_argument("--weights", nargs="+", type=existing, default=[], help="for --lpips")
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=available_device, default=default)
    parser.add_argument("--csv", "--out", type=Path, help="a file for the scores of every image")
    add_overwrite(parser)
    args = parser.parse_args()
    args.lpips = list(dict.fromkeys(args.lpips))  # each one once
    check(parser, args)
    return args


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuses combinations that mean nothing; fills in what depends on the kind of samples."""
    pictures = bool(args.triptychs or args.iharmony4)
    if args.path is None and args.outputs is None:
        parser.error("a run folder, a checkpoint or --outputs must be given")
    if args.weights and not args.lpips:
        parser.error("--weights are those for --lpips, which is not given")
    if pictures and (args.recompress or args.masks):
        parser.error("--recompress and --masks are for composites of photos, not for pictures")
    if args.recompress and args.masks:
        parser.error("--masks are fitted to exact composites, not to those of --recompress")
    for name in ("subset", "inverted"):
        if getattr(args, name) and not args.iharmony4:
            parser.error(f"--{name} is that of --iharmony4, which is not given")
    args.size = args.size or (256 if pictures else 64)
    args.protocol = args.protocol or ("ih4-256" if args.iharmony4 else "opmask")
    if args.csv:
        outputs = {"--csv": args.csv, "the notes beside it": args.csv.with_suffix(".json")}
        read = (*find_checkpoints(args.path).values(), *args.weights)
        folders = (args.outputs, args.data, args.triptychs, args.iharmony4)
        check_files(outputs, files_of(*read, *folders), overwrite=args.overwrite)


def main() -> None:
    args = parse()
    # Pictures that another program made of a benchmark's are scored as they are.
    paneled = bool(args.triptychs) and args.protocol == "reference" and args.outputs is None
    target = Target(**given(args, Target), paneled=paneled)
    device = torch.device(args.device)
    models = {n: opmask.load(f).to(device) for n, f in find_checkpoints(args.path).items()}
    scores = score_all(
        {name: Pasted(model) for name, model in models.items()} if args.paste else models,
        target,
        lpips_networks(args.lpips, args.weights, device),
        device,
        outputs=args.outputs,
        also_untouched=args.untouched,
    )
    pairs = consecutive({n: rows for n, rows in scores.items() if "untouched" not in n})
    print(results_table(scores, protocol=target.protocol, pairs=pairs))
    for name, rows in list(scores.items())[1:]:
        if "iou" in rows[0]:
            print(f"{name}: {describe_localization(rows)}")
    for name, model in models.items():
        if args.masks and isinstance(model, opmask.OperatorMaskWrapper):
            composites = validation_set(target.data, target.size, target.workers)
            errors = score_masks(model, composites, device).items()
            listed = (f"{n} {e.error.nanmean():.4f} ({e.share:.0%})" for n, e in errors)
            print(f"{name}: mask error, and its share of the identity's: {', '.join(listed)}")
    timed = models if args.timing else {}
    speeds = {name: measure_speed(model, target, device) for name, model in timed.items()}
    for name, speed in speeds.items():
        print(f"{name}: {speed.describe(args.device)}")
    if args.csv:
        write_scores(args.csv, scores, protocol=target.protocol)
        write_notes(args.csv.with_suffix(".json"), scores, target, speeds)


if __name__ == "__main__":
    launch.run(main)
