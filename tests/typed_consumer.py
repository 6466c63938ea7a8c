"""What typed code of somebody else does with opmask; mypy and pyright find nothing in it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import opmask
from opmask.backbones import SmallUNet
from opmask.datasets import Composites, SyntheticScenes
from opmask.losses import charbonnier
from opmask.metrics import psnr
from opmask.perturb import CompositeBatch, Perturber, collate


class Exposure(opmask.Operator):
    """Exposure in stops."""

    space = opmask.LINEAR_RGB
    ranges = {"exposure": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * 2**mask


def train(model: opmask.OperatorMaskWrapper, batch: CompositeBatch) -> float:
    image, masks = model(batch.composite)
    torch.autograd.backward(charbonnier(image, batch.real))
    names: list[str] = list(masks)
    first: Tensor = masks[names[0]]
    return psnr(image, batch.real).mean().item() + first.mean().item()


def edit_photo(path: Path) -> list[str]:
    model: opmask.OperatorMaskWrapper = opmask.load()
    photo: opmask.Photo = opmask.read_photo(path)
    edit: opmask.Edit = opmask.plan(model, photo, region=Image.new("L", (64, 48), 255))
    edit.adjust("l_add", offset=0.1).save(path.with_suffix(".opmask"))
    harmonized: opmask.Photo = opmask.harmonize(model, photo, strength=0.5)
    opmask.write_photo(harmonized, path.with_name("harmonized.jpg"))
    array: np.ndarray = opmask.harmonize(model, photo.pixels)
    return [*edit.explain(photo).sentences, str(array.shape)]


def main() -> None:
    retoucher = opmask.Retoucher(Exposure(), opmask.Add(opmask.LAB))
    model = opmask.OperatorMaskWrapper(SmallUNet(), retoucher)
    samples = Composites(SyntheticScenes(2), Perturber())
    print(train(model, collate([samples[0], samples[1]])))
    masks: dict[str, Tensor] = retoucher.identity(torch.rand(1, 3, 8, 8))
    print(retoucher(torch.rand(1, 3, 8, 8), masks).shape, edit_photo(Path("photo.jpg")))
