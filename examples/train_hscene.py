"""Train operator-mask models on composites of scenes, evaluate them, and show what they do.

Without arguments this draws synthetic scenes, trains the paper's RGB baseline, a residual RGB
network and the operator-mask model for a few minutes on a CPU, and writes a table and a picture.
With `--data` it trains on photographs in ADE20K's layout, and `--recipe paper` is the paper's.

    python examples/train_hscene.py
    python examples/train_hscene.py --data ADEChallengeData2016 --recipe paper --model om omgan
    accelerate launch examples/train_hscene.py ...    or    torchrun examples/train_hscene.py ...

`--recipe` chooses among those in `recipes.py`; any value of theirs can be given as a flag.
`--model om-hls` predicts masks in HLS instead of LAB, as in the paper's supplement; `omgan` goes
on from `om` with a discriminator. A run can be interrupted at any time; `--resume` goes on where
it was. The loop itself is in `training.py`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse

from reproduction import training
from reproduction.options import parse
from reproduction.recipes import HSCENE
from torch.distributed.elastic.multiprocessing.errors import record

from opmask.datasets import ADE20K, Photos, SyntheticScenes, labelled

SCENES = 2048  # synthetic scenes to train on


def find_photos(args: argparse.Namespace) -> Photos:
    if args.data is None:
        return SyntheticScenes(SCENES, size=args.size, seed=args.seed)
    return labelled(ADE20K(args.data, "training"), workers=args.workers)


def main() -> None:
    args = parse(__doc__.splitlines()[0], HSCENE, out="runs/hscene")
    training.main(args, find_photos)


if __name__ == "__main__":
    launch.run(record(main))  # so that a launcher tells why a process failed
