"""Runs a training script with few scenes and narrow networks, as a process of its own.

python tests/small_training.py CASE --flags of train_hscene.py

CASE is `plain`; `steady`, without dropout; `dies`: process 1 fails in the third step; or `given`,
which is train_iharmony4.py.
"""

if __name__ == "__main__":
    from reproduction import launch

import sys
from functools import partial

import torch
import train_hscene
import train_iharmony4
from accelerate import PartialState
from reproduction import data, given_task, loop, networks
from torch.distributed.elastic.multiprocessing.errors import record

from opmask.backbones import AttentionUNet, SmallUNet
from opmask.discriminator import PatchDiscriminator


def shrink(setattr=setattr) -> None:
    """Few scenes, narrow networks: a run takes seconds."""
    setattr(train_hscene, "SCENES", 8)
    setattr(given_task, "SCENES", 12)
    setattr(given_task, "TESTED", 4)
    setattr(data, "VALIDATION", 6)
    setattr(networks, "SmallUNet", partial(SmallUNet, width=8))
    setattr(networks, "AttentionUNet", partial(AttentionUNet, width=4))
    setattr(loop, "PatchDiscriminator", partial(PatchDiscriminator, width=4))


def without_dropout(*arguments: int, **options: int) -> AttentionUNet:
    network = AttentionUNet(*arguments, width=4, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


def failing(run, *arguments):
    if run.step == 2 and PartialState().process_index == 1:
        raise RuntimeError("the disk of process 1 is gone")
    return ADVANCE(run, *arguments)


ADVANCE = loop.advance

if __name__ == "__main__":
    torch.set_num_threads(1)
    shrink()
    case = sys.argv.pop(1)
    if case == "steady":
        networks.AttentionUNet = without_dropout
    if case == "dies":
        loop.advance = failing
    script = train_iharmony4 if case == "given" else train_hscene
    launch.run(record(script.main))
