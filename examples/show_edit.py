"""Show an edit: a photo, what is made of it, the change of L*, a* and b*, and the edit changed.

    python examples/show_edit.py --out edit.png
    python examples/show_edit.py photo.jpg --region mask.png --out edit.png

Without a photo this is the cup of coffee that comes with scikit-image, its cup and saucer put
through a filter. The example is chosen; `show_harmonized.py` shows some that are not.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from pathlib import Path

import skimage.data
import torch
from PIL import Image
from reproduction.flags import add_overwrite, check_files, files_of
from torch import Tensor

import opmask
from opmask.datasets import read_image, segment
from opmask.files.pictures import open_picture
from opmask.inference.panel import LIMIT, TITLES
from opmask.perturb import Filter
from opmask.visualize import PanelRow, save_panel

LIGHTER = 0.08  # what is added to L in the changed edit: L* = 8
ELLIPSE = (205.0, 175.0), (295.0, 190.0)  # about the saucer: middle and radius, down and across


def sample() -> tuple[Tensor, Tensor]:
    """The cup of coffee (3, H, W), `uint8`, and where it was filtered (1, H, W)."""
    photo = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)
    labels = segment(photo)
    down, across = (
        ((torch.arange(size) - middle) / radius).square()
        for size, (middle, radius) in zip(labels.shape, ELLIPSE, strict=True)
    )
    inside = (down[:, None] + across) < 1
    cup = [n for n in labels.unique() if inside[labels == n].float().mean() > 0.5]
    region = torch.isin(labels, torch.stack(cup))
    return torch.where(region, Filter("nashville")(photo), photo), region[None].float()


def panel_row(model: opmask.OperatorMaskWrapper, photo: Tensor, region: object) -> PanelRow:
    """A photo, what is made of it, the same made lighter, and the change of the first."""
    edit = opmask.plan(model, photo, region=region)
    lighter = edit.adjust("l_add", offset=LIGHTER)
    images = {
        "the photo": photo,
        "harmonized": edit.render(photo),
        f"edited: l_add +{LIGHTER}": lighter.render(photo),
    }
    change = edit.explain(photo).change[0]
    masks = dict(zip(TITLES[2:], change[:, None], strict=True))
    return PanelRow({title: image / 255 for title, image in images.items()}, masks)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="?", help="a photo; else the cup of coffee")
    parser.add_argument("--region", type=Path, help="where it was changed, a mask")
    parser.add_argument("--model", type=Path, help="a checkpoint; else the bundled one")
    parser.add_argument("--out", type=Path, default=Path("edit.png"), help="the picture")
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    if args.region and not args.photo:
        parser.error("--region goes with a photo.")
    read = files_of(args.model, args.photo, args.region)
    check_files({"--out": args.out}, read, overwrite=args.overwrite)
    model = opmask.load(args.model)
    if args.photo:
        photo = read_image(args.photo)
        region: Tensor | Image.Image | None = args.region and open_picture(args.region)
    else:
        photo, region = sample()
    save_panel(
        [panel_row(model, photo, region)], args.out, limit=LIMIT, caption="change in CIELAB"
    )
    print(f"The picture is {args.out}.")


if __name__ == "__main__":
    launch.run(main)
