"""Train operator-mask models on composites of people, evaluate them, and show what they do.

As `train_hscene.py`, with photographs in LIP's layout and the paper's recipes for HLIP: 85,000
steps instead of 40,000, and other milestones.

    python examples/train_hlip.py --data LIP --recipe paper --model rgb om omgan
    accelerate launch examples/train_hlip.py ...    or    torchrun examples/train_hlip.py ...
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

from pathlib import Path

from reproduction import loop
from reproduction.recipes import HLIP, parse
from torch.distributed.elastic.multiprocessing.errors import record

from opmask.datasets import LIP, Photos, SyntheticScenes, labelled

SCENES = 2048  # synthetic scenes to train on, without --data


def find_photos(data: Path | None, *, size: int, seed: int, workers: int) -> Photos:
    if data is None:
        return SyntheticScenes(SCENES, size=size, seed=seed)
    return labelled(LIP(data, "train"), workers=workers)


def main() -> None:
    options, recipes = parse(__doc__.splitlines()[0], HLIP, out="runs/hlip")
    size = recipes[options.model[0]].size
    photos = find_photos(options.data, size=size, seed=options.seed, workers=options.workers)
    loop.main(photos, recipes, options)


if __name__ == "__main__":
    launch.run(record(main))  # so that a launcher tells why a process failed
