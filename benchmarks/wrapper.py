"""What does wrapping cost? `model.predict` beside the bare network, and `opmask.load`, in one run.

Masks are predicted for an image of 256x256, without applying them: by a wrapper in evaluation mode
without gradients, and in a step of training, forward and backward. The competitor is a copy of the
same network, made before it was wrapped, which puts out its three channels. Loading the bundled
model, checks included, is compared with `torch.load` of the same tensors into the same network,
built anew.

Both run on one thread and under one allocator, and take turns. What counts is the time of the
processor; ratios are medians over the turns.

    python benchmarks/wrapper.py
    python benchmarks/wrapper.py --photo PHOTO --repeats 21 --networks SmallUNet
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from allocator import keep_memory
from PIL import Image
from torch import Tensor, nn

import opmask
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.datasets import SyntheticScenes
from opmask.markdown import markdown_table

SIZE = 256
HEADINGS = ("work", "network", "bare", "opmask", "opmask / bare")
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "AttentionUNet": AttentionUNet,
    "smp.Unet resnet34": lambda: smp.Unet("resnet34", encoder_weights=None, classes=3),
    "SmallUNet": SmallUNet,
}
Row = tuple[str, ...]


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def compared(
    work: str, name: str, bare: Callable[[], object], ours: Callable[[], object], repeats: int
) -> Row:
    """A row of the table: the median of either, and that of their ratios."""
    times = []
    for turn in range(repeats + 1):
        # Each is first in half of the turns: what ran before leaves its traces in caches.
        order = ("bare", "ours") if turn % 2 else ("ours", "bare")
        spent = {who: seconds(bare if who == "bare" else ours) for who in order}
        times.append((spent["bare"], spent["ours"]))
    del times[0]  # it warms up
    medians = [f"{1000 * statistics.median(column):.1f} ms" for column in zip(*times, strict=True)]
    ratio = statistics.median(own / other for other, own in times)
    return work, name, *medians, f"{ratio:.3f}"


def pairs(network: nn.Module) -> tuple[nn.Module, opmask.OperatorMaskWrapper]:
    """A network as it is, and a wrapper of another one with the same weights."""
    return copy.deepcopy(network), opmask.OperatorMaskWrapper(network)


def inference(name: str, network: nn.Module, image: Tensor, repeats: int) -> Row:
    bare, model = (each.eval() for each in pairs(network))
    with torch.inference_mode():
        return compared(
            "predict", name, lambda: bare(image), lambda: model.predict(image), repeats
        )


def training(name: str, network: nn.Module, image: Tensor, repeats: int) -> Row:
    bare, model = (each.train() for each in pairs(network))

    def step(learner: nn.Module, run: Callable[[], list[Tensor]]) -> None:
        learner.zero_grad()
        loss: Tensor = torch.stack([output.square().mean() for output in run()]).sum()
        loss.backward()

    return compared(
        "forward and backward",
        name,
        lambda: step(bare, lambda: [bare(image)]),
        lambda: step(model, lambda: [*model.predict(image).values()]),
        repeats,
    )


def loading(repeats: int) -> Row:
    """The bundled model, read with its checks and without."""
    backbone = opmask.load().backbone
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensors.pth"
        torch.save({name: t.half() for name, t in backbone.state_dict().items()}, path)

        def plainly() -> None:
            network = type(backbone)(**backbone.arguments)
            network.load_state_dict(torch.load(path))

        return compared("load", type(backbone).__name__, plainly, opmask.load, repeats)


def picture(photo: Path | None) -> Tensor:
    """An image of 256x256, with shape (1, 3, 256, 256), in [0, 1]."""
    if photo is None:
        return SyntheticScenes(1, size=SIZE)[0][0][None] / 255
    pixels = np.array(Image.open(photo).convert("RGB").resize((SIZE, SIZE)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photo", type=Path, help="default: a drawn scene")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--repeats", type=int, default=20)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    image = picture(flags.photo)
    works = [(work, name) for work in (inference, training) for name in flags.networks]
    rows = [work(name, NETWORKS[name](), image, flags.repeats) for work, name in works]
    print(markdown_table(HEADINGS, [*rows, loading(flags.repeats)]))


if __name__ == "__main__":
    keep_memory()
    main()
