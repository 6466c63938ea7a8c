"""Train the published networks that are given the region, and compare them in one table.

Without arguments this makes a set in iHarmony4's format of synthetic scenes, trains DoveNet,
RainNet, BargainNet, the Harmony Transformers and D-HT on it, small ones, each by its own losses
and learning rates, for some minutes each on a CPU, and writes a table and a picture. With `--data`
it takes a folder in iHarmony4's format, as published or as `opmask make-iharmony4` makes it, and
`--recipe published` is what was published.

    python examples/train_iharmony4.py
    python examples/train_iharmony4.py --data IHD --recipe published --model dovenet rainnet
    accelerate launch examples/train_iharmony4.py ...    or    torchrun ...

`ht` paints images, `ht-lab`, `ht-hls` and `ht-hls-add` predict the paper's masks with the same
network, `dht` is D-HT. Recipes are in `reproduction/given.py`; any value of theirs can be given as
a flag, for all models at once. A run can be interrupted at any time; `--resume` goes on where it
was. `examples/evaluate.py RUN --iharmony4 IHD` scores its models under any other protocol.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

from reproduction import loop
from reproduction.given import FAMILIES, GivenOptions, GivenRecipe
from reproduction.given_task import of_iharmony4
from reproduction.recipes import parse
from torch.distributed.elastic.multiprocessing.errors import record


def main() -> None:
    kinds = GivenOptions, GivenRecipe
    options, recipes = parse(__doc__.splitlines()[0], FAMILIES, "runs/iharmony4", kinds)
    loop.run(of_iharmony4(recipes, options), recipes, options)


if __name__ == "__main__":
    launch.run(record(main))  # so that a launcher tells why a process failed
