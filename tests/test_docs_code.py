"""The Python of the pages that is no doctest runs, with what its sentences take for granted."""

import logging
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference_unet import ReferenceUNet
from torch import nn

import opmask
from opmask.datasets import SyntheticScenes

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^( *)\.\. code-block:: python\n((?:\1 +.*\n|\n)+)", re.MULTILINE)


def blocks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return [textwrap.dedent(found) for _, found in BLOCK.findall(text)]


def write_scenes(root, images, labels, suffix="jpg"):
    """Three drawn scenes, as photographs and label maps in two folders."""
    for scene in SyntheticScenes(3, size=64):
        for folder, ending, pixels in (
            (images, suffix, scene.image.permute(1, 2, 0)),
            (labels, "png", scene.label_map.byte()),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(root / folder / f"{scene.name}.{ending}")


def ade20k(folder):
    for split in "training", "validation":
        root = folder / "ADEChallengeData2016"
        write_scenes(root, f"images/{split}", f"annotations/{split}")


def learners(folder, size=64):
    """A network small enough for a test, with images and a region for it."""
    image = torch.rand(2, 3, size, size)
    return {
        "model": opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)),
        "composite": image,
        "real": image.flip(0),
        "region": (image[:, :1] > 0.5).float(),
    }


def losses(folder):
    class Network(opmask.backbones.DoveNet):
        extractor = staticmethod(lambda image, region: (image * region).mean((2, 3)))

        def forward(self, image, region, background=None):
            return super().forward(image, region)

    return (
        vars(opmask.losses)
        | learners(folder, size=256)  # the least that DoveNet's discriminator takes
        | {
            "network": Network(width=8, depth=5),
            "discriminator": opmask.PatchDiscriminator(width=8),
            "lpips": lambda one, other: (one - other).abs().mean(),
            "l1_loss": nn.functional.l1_loss,
        }
    )


def paper(folder):
    torch.save({"params": ReferenceUNet(6, 8, 5).state_dict()}, folder / "net_g_latest.pth")
    return {"composite": torch.rand(1, 3, 97, 131)}


def datasets(folder):
    ade20k(folder)
    for split in "train", "val":
        write_scenes(folder / "LIP", f"{split}_images", f"{split}_segmentations")
        names = "\n".join(scene.name for scene in SyntheticScenes(3, size=64))
        (folder / "LIP" / f"{split}_id.txt").write_text(names)
    write_scenes(folder / "barns", ".", ".", "tif")
    return {"logging": logging, "root": "ADEChallengeData2016", "Path": Path}


@dataclass(frozen=True)
class Vignette:
    strength: float

    def __call__(self, image):
        return (image * self.strength).to(torch.uint8)


def filter_or_vignette(rng):
    return Vignette(0.5 + rng.random() / 2)


def benchmarks(folder):
    from opmask.datasets import Benchmark

    ade20k(folder)
    triptych = torch.cat([scene.image for scene in SyntheticScenes(3, size=64)], 2)
    (folder / "HScene/test/composite").mkdir(parents=True)
    Image.fromarray(triptych.permute(1, 2, 0).numpy()).save(folder / "HScene/test/composite/a.png")
    return {
        "Vignette": Vignette,
        "filter_or_vignette": filter_or_vignette,
        "Benchmark": Benchmark,
        "root": "ADEChallengeData2016",
        "out": "own",
    }


def evaluation(folder):
    from opmask.datasets import Composites
    from opmask.perturb import Perturber, collate

    samples = Composites(SyntheticScenes(2, size=64), Perturber())
    picture = np.full((20, 30, 3), 100, np.uint8)
    return learners(folder) | {
        "output": picture,
        "real": picture + 1,
        "region": np.ones((20, 30), bool),
        "batches": [collate([samples[0], samples[1]])],
        "names": ["a", "b"],
    }


def video(folder):
    pytest.importorskip("av")  # there is none for Python 3.10
    from clips import make_clip

    make_clip(folder / "clip.mp4")
    from opmask.inference.video import harmonize_frames

    return {"model": opmask.load(), "harmonize_frames": harmonize_frames}


def photo(folder):
    picture = Image.new("RGB", (64, 48), "teal")
    picture.save(folder / "photo.tif")
    picture.save(folder / "photo.jpg")
    region = Image.new("L", picture.size)
    region.paste(255, (10, 10, 40, 30))
    region.save(folder / "region.png")
    return {"model": opmask.load(), "photo": picture, "mask": region, "Path": Path}


PAGES = {
    "api/losses.rst": losses,
    "concepts/paper.rst": paper,
    "how-to/benchmarks.rst": benchmarks,
    "how-to/datasets.rst": datasets,
    "how-to/evaluation.rst": evaluation,
    "how-to/harmonize.rst": photo,
    "how-to/operators.rst": photo,
    "how-to/training.rst": learners,
    "how-to/video.rst": video,
    "index.rst": photo,
    "reference/protocols.rst": evaluation,
    "reference/operators.rst": lambda folder: {"operators": opmask.operators},
}


def test_every_page_with_such_code_is_here():
    pages = (path.relative_to(DOCS) for path in DOCS.rglob("*.rst"))
    mine = (page for page in pages if page.parts[0] not in ("gallery", "_build"))
    assert sorted(page.as_posix() for page in mine if blocks(page)) == sorted(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    if page.endswith("operators.rst") and "how-to" in page:  # it would run until Ctrl-C
        monkeypatch.setattr(
            "opmask.editor.server.serve", lambda model, socket, photo: socket.close()
        )
    monkeypatch.chdir(tmp_path)
    names = {"opmask": opmask, "torch": torch} | PAGES[page](tmp_path)
    for code in blocks(page):
        exec(compile(code, page, "exec"), names)
