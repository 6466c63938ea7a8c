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
it was. A step is on one page, `train.py`, and what is around it in `loop.py`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

from pathlib import Path

from reproduction import loop
from reproduction.recipes import HSCENE, parse
from torch.distributed.elastic.multiprocessing.errors import record

from opmask.datasets import ADE20K, Photos, SyntheticScenes, labelled

SCENES = 2048  # synthetic scenes to train on, without --data


def find_photos(data: Path | None, *, size: int, seed: int, workers: int) -> Photos:
    if data is None:
        return SyntheticScenes(SCENES, size=size, seed=seed)
    return labelled(ADE20K(data, "training"), workers=workers)


def main() -> None:
    options, recipes = parse(__doc__.splitlines()[0], HSCENE, out="runs/hscene")
    size = recipes[options.model[0]].size
    photos = find_photos(options.data, size=size, seed=options.seed, workers=options.workers)
    loop.main(photos, recipes, options)


if __name__ == "__main__":
    launch.run(record(main))  # so that a launcher tells why a process failed
