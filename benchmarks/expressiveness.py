"""What can a set of operators express? PSNR of the best constants and of the best free masks.

Whole photos are changed by each filter, CSS operation, LAB scaling and degradation, and fitted
back with each preset by ``opmask.fit_masks``: once with one constant for each mask, once with
masks that are free at every pixel but for their smoothness. No network is involved, so the figures
bound what one can reach with such masks. Figures above 60 dB count as 60 dB.

    python benchmarks/expressiveness.py --data ADE20K_ROOT
    python benchmarks/expressiveness.py --panel fit.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import perturb
from opmask.datasets import ADE20K, SyntheticScenes, read_image, segment
from opmask.files import replacing
from opmask.fitting import fit_masks
from opmask.markdown import markdown_row, markdown_table
from opmask.perturb.rng import make_rng
from opmask.visualize import PanelRow, save_panel

PRESETS = {
    "lab": opmask.lab_retoucher,
    "hls": opmask.hls_retoucher,
    "photo": opmask.photo_retoucher,
}
CSS = {
    "brightness": 1.4,
    "contrast": 0.6,
    "grayscale": 0.7,
    "hue_rotate": 30,
    "saturate": 1.6,
    "sepia": 0.7,
}
SCALINGS = {
    "L times 0.8": (0.8, 1.0, 1.0),
    "a times 0.8": (1.0, 0.8, 1.0),
    "b times 1.2": (1.0, 1.0, 1.2),
}
DEGRADATIONS = {
    "Gaussian noise, scale 9": lambda seed: perturb.GaussianNoise(9.0, seed),
    "Laplace noise, scale 9": lambda seed: perturb.LaplaceNoise(9.0, seed),
    "Poisson noise, rate 9": lambda seed: perturb.PoissonNoise(9.0, seed),
    "motion blur, 45 degrees": lambda seed: perturb.MotionBlur(45.0, 0.0),
    "Gaussian blur, sigma 1": lambda seed: perturb.GaussianBlur(),
    "JPEG, quality 50": lambda seed: perturb.JPEG(50),
}
MOST = 60.0  # dB: the error that is left would be a tenth of that of rounding to 8 bits
SHOWN = 4  # how many masks a panel shows, those that change most
Change = Callable[[Tensor], Tensor]


def groups(seed: int) -> dict[str, dict[str, Change]]:
    """The changes, by group and name."""
    return {
        "filters": {name: perturb.Filter(name) for name in perturb.FILTERS},
        "CSS operations": {f"{n} {a:g}": perturb.Filter(n, a) for n, a in CSS.items()},
        "LAB scaling": {name: perturb.LabScaling(f) for name, f in SCALINGS.items()},
        "degradations": {name: make(seed) for name, make in DEGRADATIONS.items()},
    }


def photos(root: Path | None, count: int, size: int, seed: int) -> list[Tensor]:
    """Some photos of a data set, `uint8`, (3, H, W), shrunk to a long side."""
    data = SyntheticScenes(count, size=size) if root is None else ADE20K(root, "validation")
    chosen = make_rng(seed).sample(range(len(data)), min(count, len(data)))
    return [shrink(data[index].image, size) for index in chosen]


def shrink(image: Tensor, size: int) -> Tensor:
    """The image with a long side of at most `size`."""
    share = min(1.0, size / max(image.shape[1:]))
    height, width = (round(side * share) for side in image.shape[1:])
    small = F.interpolate(image[None].float(), (height, width), mode="area")[0]
    return small.round().to(torch.uint8)


def psnr(output: Tensor, real: Tensor) -> float:
    """The ratio of signal to noise, in dB, up to a limit."""
    return min(MOST, -10 * (output - real).square().mean().clamp(min=1e-12).log10().item())


@torch.no_grad()
def fitted(
    retoucher: opmask.Retoucher, composite: Tensor, real: Tensor, smoothness: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The best constants of a whole image, and the best free masks."""
    everywhere = torch.ones_like(composite[:, 0], dtype=torch.long)
    constants = fit_masks(retoucher, composite, real, everywhere, pixels=1024)
    return constants, fit_masks(retoucher, composite, real, smoothness=smoothness)


def figures(change: Change, images: list[Tensor], smoothness: float) -> Tensor:
    """PSNR of the changed photos, and for each preset of constants and free masks, on average."""
    rows = []
    for image in images:
        composite, real = change(image)[None] / 255, image[None] / 255
        row = [psnr(composite, real)]
        for make in PRESETS.values():
            retoucher = make()
            for masks in fitted(retoucher, composite, real, smoothness):
                row.append(psnr(retoucher(composite, masks), real))
        rows.append(row)
    return torch.tensor(rows).mean(0)


def table(images: list[Tensor], seed: int, smoothness: float) -> Iterator[str]:
    """The lines of the table, as they are measured."""
    headings = [
        "change",
        "changed",
        *(f"{p}, {k}" for p in PRESETS for k in ("constants", "free")),
    ]
    yield markdown_table(headings)
    every = groups(seed)
    with tqdm(total=sum(map(len, every.values())), desc="changes", disable=None) as bar:
        for group, changes in every.items():
            found = []
            for name, change in changes.items():
                found.append(figures(change, images, smoothness))
                yield markdown_row([name, *(f"{value:.1f}" for value in found[-1].tolist())])
                bar.update()
            mean = torch.stack(found).mean(0).tolist()
            yield markdown_row([f"**{group}, mean**", *(f"**{value:.1f}**" for value in mean)])


def panel(image: Tensor, seed: int, smoothness: float, preset: str) -> PanelRow:
    """A photo with regions changed, what constants and free masks make of it, and the masks."""
    labels = segment(image)
    applied = perturb.draw(labels, seed, perturb.DEFAULT)
    sample = perturb.composite(image, labels, applied)
    composite, real = sample.composite[None], sample.real[None]
    retoucher = PRESETS[preset]()
    constants, masks = fitted(retoucher, composite, real, smoothness)
    pictures = {"real": real}
    results = {"constants": retoucher(composite, constants), "free": retoucher(composite, masks)}
    for title, picture in {"composite": composite, **results}.items():
        pictures[f"{title}: {psnr(picture, real):.1f} dB"] = picture
    offsets = {
        name: 2 * (masks[name] - r.identity) / (r.high - r.low)
        for name, r in retoucher.ranges.items()
    }
    strongest = sorted(offsets, key=lambda name: -offsets[name].abs().mean().item())[:SHOWN]
    return PanelRow(
        {title: picture[0] for title, picture in pictures.items()},
        {name: offsets[name][0] for name in offsets if name in strongest},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="root of ADE20K; default: synthetic scenes")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--size", type=int, default=96, help="the long side, in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the choice, noise and regions")
    parser.add_argument("--smoothness", type=float, default=0.03)
    parser.add_argument("--panel", type=Path, help="draw this picture instead of measuring")
    parser.add_argument("--photo", type=Path, help="the photo of the panel; default: a cup")
    parser.add_argument("--preset", choices=PRESETS, default="photo", help="of the panel")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.panel:
        for line in table(
            photos(args.data, args.photos, args.size, args.seed), args.seed, args.smoothness
        ):
            print(line, flush=True)
        return
    cup = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)
    image = shrink(read_image(args.photo) if args.photo else cup, max(args.size, 256))
    row = panel(image, args.seed, args.smoothness, args.preset)
    with replacing(args.panel) as path:
        save_panel([row], path, limit=0.5, caption="offset, in half ranges")
    print(f"wrote {args.panel}")


if __name__ == "__main__":
    main()
