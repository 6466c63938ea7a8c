"""Train operator-mask models on composites of people, evaluate them, and show what they do.

As `train_hscene.py`, with photographs in LIP's layout and the paper's recipes for HLIP: 85,000
steps instead of 40,000, and other milestones.

    python examples/train_hlip.py --data LIP --recipe paper --model rgb om omgan
    accelerate launch examples/train_hlip.py ...    or    torchrun examples/train_hlip.py ...
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse

from reproduction import training
from reproduction.options import parse
from reproduction.recipes import HLIP
from torch.distributed.elastic.multiprocessing.errors import record

from opmask.datasets import LIP, Photos, SyntheticScenes, labelled

SCENES = 2048  # synthetic scenes to train on, without --data


def find_photos(args: argparse.Namespace) -> Photos:
    if args.data is None:
        return SyntheticScenes(SCENES, size=args.size, seed=args.seed)
    return labelled(LIP(args.data, "train"), workers=args.workers)


def main() -> None:
    args = parse(__doc__.splitlines()[0], HLIP, out="runs/hlip")
    training.main(args, find_photos)


if __name__ == "__main__":
    launch.run(record(main))  # so that a launcher tells why a process failed
