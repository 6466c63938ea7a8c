r"""Show the pieces among which a model finds what was changed.

    python examples/show_pieces.py --out pieces.png
    python examples/show_pieces.py --model runs/small/model.safetensors --out pieces.png

From left to right: a composite, of the free photographs that come with scikit-image; the pieces
that :class:`opmask.backbones.segment_finder.SegmentFinder` divides it into; where it finds that
something was changed, told nothing; boxes; what it finds in them; and what was changed.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from reproduction.flags import add_overwrite, check_files, files_of
from show_harmonized import SIZE, Example, samples, with_lines
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask.backbones import RegionUNet
from opmask.datasets import region_prompt
from opmask.visualize import PanelRow, save_panel

SHADED = 0.4  # how bright is what lies outside of a box


@torch.no_grad()
def panel_row(network: RegionUNet, example: Example) -> PanelRow:
    """A composite (3, S, S), its pieces, and what is found, told nothing or boxes."""
    image, changed = example.composite, (example.regions > 0)[None].float()
    finder = network.finder
    boxes = region_prompt(
        example.regions[None], ["boxes"], generator=torch.Generator().manual_seed(0)
    )
    size = image.shape[1], image.shape[2]
    pieces, found_inside = (
        finder.pieces(image[None], told, network.trunk)
        for told in (torch.full_like(boxes, -1.0), boxes)
    )
    found, found_inside = (
        finder.paint(finder.logits(p), p.labels, size)[0].sigmoid() for p in (pieces, found_inside)
    )
    return PanelRow(
        {
            "composite": image,
            "pieces": with_lines(image, borders(pieces.labels, image.shape[-1])),
            "found, told nothing": found,
            "boxes": image * (SHADED + (1 - SHADED) * boxes[0]),
            "found, told the boxes": found_inside,
            "what was changed": changed,
        }
    )


def borders(labels: Tensor, side: int) -> Tensor:
    """Where another piece (1, h, w) begins below or on the right, `bool`, (1, side, side)."""
    large = F.interpolate(labels[None].double(), (side, side), mode="nearest")[0]
    there = torch.zeros_like(large, dtype=torch.bool)
    there[:, :-1] |= large.diff(dim=1) != 0
    there[..., :-1] |= large.diff(dim=2) != 0
    return there


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a checkpoint; else the bundled model")
    parser.add_argument("--out", type=Path, default=Path("pieces.png"), help="the picture")
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    check_files({"--out": args.out}, files_of(args.model), overwrite=args.overwrite)
    network = opmask.load(args.model).eval().backbone
    if not isinstance(network, RegionUNet) or network.finder is None:
        raise SystemExit("'--model' must be a RegionUNet with a finder: RegionUNet(finder=True).")
    examples = tqdm(list(samples(SIZE)), "find", disable=None)
    save_panel([panel_row(network, example) for example in examples], args.out)
    print(f"The picture is {args.out}.")


if __name__ == "__main__":
    launch.run(main)
