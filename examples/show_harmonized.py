"""Harmonize composites of synthetic scenes with a trained model, told where to look or not.

    python examples/harmonize_scenes.py runs/small/model.safetensors --out scenes.png

In the picture, from left to right: the composite, what is made of it when the region is told
exactly, by boxes, and not at all, the scene, and the region.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import opmask
from opmask.datasets import Composites, SyntheticScenes, region_hint
from opmask.perturb import Applied, Perturber
from opmask.visualize import PanelRow, save_panel

SIZE = 256
SEED = 2**31  # not that of any training run
TOLD = {"told the region": "exact", "told a box": "boxes"}


def panel_row(model: opmask.OperatorMaskWrapper, composites: Composites, place: int) -> PanelRow:
    """A composite, what is made of it, the scene and the region."""
    source, sample = composites.source(place), composites[place]
    regions = Applied.from_json(sample.applied).region_map(source.label_map)[None]
    generator = torch.Generator().manual_seed(place)
    images = {"composite": sample.composite}
    for title, kind in TOLD.items():
        hint = region_hint(regions, [kind], generator=generator)
        images[title] = opmask.harmonize(model, sample.composite, region=hint)
    images["not told"] = opmask.harmonize(model, sample.composite)
    return PanelRow({**images, "scene": sample.real, "region": sample.region})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a checkpoint")
    parser.add_argument("--count", type=int, default=5, help="how many scenes")
    parser.add_argument("--out", type=Path, default=Path("scenes.png"), help="the picture")
    args = parser.parse_args(arguments)
    scenes = SyntheticScenes(args.count, size=SIZE, seed=SEED)
    composites = Composites(scenes, Perturber(), seed=SEED)
    model = opmask.load(args.model)
    save_panel([panel_row(model, composites, place) for place in range(args.count)], args.out)
    print(f"The picture is {args.out}.")


if __name__ == "__main__":
    main()
