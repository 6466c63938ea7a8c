r"""The models that make the pictures of a method: opmask's own, and published networks.

Data flow: `files -> PUBLISHED or opmask.load -> Models -> Models.harmonize -> picture`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.backbones import (
    DHT,
    DIRL,
    S2AD,
    BargainNet,
    DoveNet,
    HarmonyTransformer,
    HarmonyTransformerPlus,
    RainNet,
    paste,
)
from opmask.checkpoints import (
    load,
    load_bargainnet,
    load_dht,
    load_dirl,
    load_dovenet,
    load_harmony_transformer,
    load_rainnet,
    load_reference_checkpoint,
    load_s2ad,
    load_sgmmh_harmony_transformer,
)
from opmask.inference import harmonize
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.baseline import DirectRGB
from opmask.wrapper.model import resize

__all__ = ["PUBLISHED", "SIDE", "Models", "load_model"]

SIDE = 256
"""Height and width, in pixels, at which the paper's networks were trained."""

FOUND_AT = 224
"""Height and width, in pixels, at which DIRL finds regions, as published."""

Painter = DoveNet | RainNet | BargainNet | S2AD | HarmonyTransformer | HarmonyTransformerPlus | DHT


class Models(NamedTuple):
    """What makes the pictures of a method: a model and, in two stages, what finds the region."""

    model: OperatorMaskWrapper | DirectRGB
    region: Literal["never", "optional", "needed"]
    finder: DIRL | None = None

    def to(self, device: str | torch.device) -> Models:
        """The same models, on a device."""
        finder = None if self.finder is None else self.finder.to(device)
        return self._replace(model=self.model.to(device), finder=finder)

    @torch.no_grad()
    def harmonize(
        self, picture: np.ndarray, region: Tensor | None = None, *, work_size: int = SIDE
    ) -> np.ndarray:
        """The harmonized picture, (H, W, 3) in 8 bits like the one before.

        Masks are predicted at the work size and applied to the picture itself. What paints does so
        in a square of that size, as published code does; it is enlarged and, where the region is
        known, pasted.
        """
        region = None if self.region == "never" else region
        if isinstance(self.model, OperatorMaskWrapper):
            return harmonize(self.model, picture, region=region, work_size=work_size)
        device = next(self.model.parameters()).device
        image = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None] / 255
        full, side = (image.shape[-2], image.shape[-1]), (work_size, work_size)
        if self.finder is not None:
            found = self.finder(resize(image, (FOUND_AT, FOUND_AT))) > 0.5
            region = found.to(image)
        painted = self._paint(resize(image, side), region, full)
        if region is not None:
            painted = paste(painted, image, resize(region.to(image), full))
        return (255 * painted[0].permute(1, 2, 0)).round().byte().cpu().numpy()

    def _paint(self, image: Tensor, region: Tensor | None, full: tuple[int, int]) -> Tensor:
        if region is not None:
            size = image.shape[-2], image.shape[-1]
            region = (resize(region.to(image), size) >= 0.5).to(image)
        painted = self.model(image, region).image
        return F.interpolate(painted, full, mode="bicubic", antialias=True).clamp(0, 1)


class Kind(NamedTuple):
    """A published network: what its files hold, what loads them, and what their loader is called.

    The last is what messages about files of another network advise.
    """

    files: tuple[str, ...]
    load: Callable[..., Models]
    loader: str


def painter(network: Painter, *, guided: bool = True) -> Models:
    """A published network that paints, which is told the region or not."""
    model = DirectRGB(network, region=guided, multiple_of=network.multiple_of, centered=False)
    return Models(model.eval(), "needed" if guided else "never")


def _s2ad(path: Path) -> Models:
    network: S2AD = load_s2ad(path)
    return painter(network, guided=network.arguments["in_channels"] > 3)


def _two_stages(encoder: Path, decoder: Path, generator: Path) -> Models:
    return Models(painter(load_dovenet(generator)).model, "never", load_dirl(encoder, decoder))


def _sgmmh(path: Path) -> Models:
    model = load_reference_checkpoint(path).eval()
    if isinstance(model, OperatorMaskWrapper):
        model.size = SIDE, SIDE
    return Models(model, "never")


def _sgmmh_ht(path: Path) -> Models:
    model = load_sgmmh_harmony_transformer(path)
    model.size = SIDE, SIDE
    return Models(model, "needed" if model.region else "never")


ONE = ("GENERATOR",)
PUBLISHED = {
    "dovenet": Kind(ONE, lambda path: painter(load_dovenet(path)), "load_dovenet"),
    "rainnet": Kind(ONE, lambda path: painter(load_rainnet(path)), "load_rainnet"),
    "bargainnet": Kind(
        ("GENERATOR", "EXTRACTOR"),
        lambda *paths: painter(load_bargainnet(*paths)),
        "load_bargainnet(generator, extractor)",
    ),
    "ht": Kind(
        ONE,
        lambda path: painter(load_harmony_transformer(path, "v1")),
        "load_harmony_transformer(path, version='v1')",
    ),
    "ht-plus": Kind(
        ONE,
        lambda path: painter(load_harmony_transformer(path, "plus")),
        "load_harmony_transformer(path, version='plus')",
    ),
    "dht": Kind(ONE, lambda path: painter(load_dht(path, "v1")), "load_dht(path, version='v1')"),
    "dht-v2": Kind(
        ONE, lambda path: painter(load_dht(path, "v2")), "load_dht(path, version='v2')"
    ),
    "s2ad": Kind(ONE, _s2ad, "load_s2ad"),
    "dirl+dovenet": Kind(("ENCODER", "DECODER", "GENERATOR"), _two_stages, "load_dirl"),
    "sgmmh": Kind(ONE, _sgmmh, "load_reference_checkpoint"),
    "sgmmh-ht": Kind(ONE, _sgmmh_ht, "load_sgmmh_harmony_transformer(path)"),
}
"""The published networks by what a source begins with, and how their files become models."""


def load_model(path: Path) -> Models:
    """A model that :func:`opmask.save` wrote."""
    model = load(path)
    if isinstance(model, DirectRGB):
        return Models(model, "needed" if model.region else "never")
    return Models(model, "optional" if model.region else "never")
