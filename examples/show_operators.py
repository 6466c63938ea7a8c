"""Draws one photo through every operator, in one picture."""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from reproduction.flags import add_overwrite, check_files
from show_perturbations import Cells, draw_sheet, shrink
from torch import Tensor

import opmask
from opmask import Operator, Retoucher, operators
from opmask.color import to_levels
from opmask.datasets import SyntheticScenes, read_image
from opmask.files import replacing

BUILT: dict[str, Operator] = {
    "Add": opmask.Add(opmask.LAB, "l"),
    "Affine": operators.Affine(opmask.LAB, "l"),
    "Frozen": operators.Frozen(opmask.Mul(opmask.LAB), values={"l_mul": 1.0, "a_mul": 1.0}),
    "Gated": opmask.Gated(opmask.Add(opmask.LAB, "b")),
    "Grain": operators.Grain(size=0.008),
    "LowResolution": operators.LowResolution(operators.Temperature(), size=6),
    "Mul": opmask.Mul(opmask.LAB, "l"),
    "Parallel": operators.Parallel(operators.Exposure(), operators.Saturation()),
    "Tied": operators.Tied(opmask.Mul(opmask.LAB), ties={"chroma_mul": ("a_mul", "b_mul")}),
}
"""Operators that need something, or that are seen better so."""

ONE_SIDE = ("LowResolution", "Relight")
"""Operators that smooth their masks: these are on, with a hard edge, in the right half alone."""

STRONG: dict[str, dict[str, float]] = {
    "Add": {"l_add": 0.2},
    "Affine": {"l_scale": 1.8},
    "Blacks": {"blacks": 0.25},
    "BleachBypass": {"bleach_bypass": 1.0},
    "Blur": {"blur": 1.0},
    "Brightness": {"brightness": 0.8},
    "CDL": {"slope_blue": 1.5, "power_red": 1.5},
    "ChannelMixer": {"red_from_green": 0.6, "red_from_red": 0.2},
    "Clarity": {"clarity": 1.0},
    "ColorBalance": {"shadows_blue": 0.3, "highlights_red": 0.2},
    "ColorCurve": {"blue_curve_1": 1.5, "blue_curve_4": -2.0},
    "Dehaze": {"dehaze": 0.8},
    "Denoise": {"denoise": 1.0},
    "Exposure": {"exposure": 1.0},
    "Frozen": {"b_mul": 1.9},
    "Gated": {"b_add": 0.3, "gate": 1.0},
    "Grain": {"grain": 0.08},
    "Highlights": {"highlights": -0.4},
    "HueRotate": {"hue_rotate": 0.25},
    "HueShift": {"hue_shift": 0.25},
    "LiftGammaGain": {"lift_blue": 0.2, "gain_red": 1.3},
    "LowResolution": {"temperature": -1.0},
    "Mul": {"l_mul": 1.3},
    "Parallel": {"exposure": 0.7, "saturation": 1.8},
    "PhotoFilter": {"photo_filter": 0.5},
    "Relight": {"relight": -1.5},
    "SelectiveColor": {"reds_hue": 0.8, "blues_saturation": 1.0},
    "Sharpen": {"sharpen": 2.0},
    "SplitToning": {"split_shadows_b": -0.25, "split_highlights_b": 0.25},
    "Tied": {"chroma_mul": 1.9},
    "ToneCurve": {"curve_2": 1.5, "curve_5": -1.5},
    "ToneEqualizer": {"zone_3": 1.0, "zone_4": 1.0, "zone_5": 1.0, "zone_6": 0.5},
}
"""The masks to show, by operator; of all others it is the first, near the end of its range."""

NEAR = 0.8
"""How near to the end, as a share of the way from the identity."""


def build(name: str) -> Operator:
    """The operator of that name."""
    return BUILT[name] if name in BUILT else getattr(operators, name)()


def strong_masks(operator: Operator) -> dict[str, float]:
    """The masks to show, in operator units."""
    name, r = next(iter(operator.ranges.items()))
    default = {name: r.identity + NEAR * (r.high - r.identity)}
    return STRONG.get(type(operator).__name__, default)


def apply(operator: Operator, image: Tensor) -> Tensor:
    """An image of 8 bits, (3, H, W), through an operator with strong masks."""
    retoucher, x = Retoucher(operator), image[None] / 255
    values = {n: r.identity for n, r in retoucher.ranges.items()} | strong_masks(operator)
    masks = {name: torch.full_like(x[:, :1], value) for name, value in values.items()}
    if type(operator).__name__ in ONE_SIDE:
        for name, r in retoucher.ranges.items():
            masks[name][..., : x.shape[-1] // 2] = r.identity
    return to_levels(retoucher(x, masks)[0])


def title(operator: Operator) -> str:
    """The name of an operator, and what its masks are set to."""
    values = ", ".join(f"{value:.2g}" for value in strong_masks(operator).values())
    return f"{type(operator).__name__} {values}"


def cells(image: Tensor) -> Cells:
    """What to show: the photo, and then what the operators make of it, file by file."""
    small = shrink(image)
    names = [n for n in operators.__all__ if n not in ("MaskRange", "Operator")]
    built = sorted(map(build, names), key=lambda operator: type(operator).__module__)
    return [("photo", small), *((title(operator), apply(operator, small)) for operator in built)]


def save_each(image: Tensor, folder: Path) -> None:
    """What each operator makes of the photo, as NAME.jpg; what is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shown in cells(image):
        with replacing(folder / f"{name.partition(' ')[0]}.jpg") as path:
            Image.fromarray(shown.permute(1, 2, 0).numpy()).save(path, quality=90)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", help="default: a drawn scene")
    parser.add_argument("--out", type=Path, default=Path("operators.png"))
    parser.add_argument("--each", type=Path, help="a folder instead, one picture an operator")
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    image = read_image(args.photo) if args.photo else SyntheticScenes(1, size=448)[0].image
    if args.each:
        save_each(image, args.each)
        return
    check_files({"--out": args.out}, [args.photo], overwrite=args.overwrite)
    with replacing(args.out) as path:
        draw_sheet({"Operators, with strong masks": cells(image)}).save(path)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    launch.run(main)
