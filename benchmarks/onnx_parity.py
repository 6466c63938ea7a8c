"""Does ONNX Runtime, with its optimiser on, give what PyTorch gives? A table of differences.

Operators and presets are exported as retouchers, and get random colours in and out of gamut, some
of them grey, with random masks. Networks are exported whole, and get drawn scenes; those that are
not trained have random heads, so that their masks differ from place to place.

    python benchmarks/onnx_parity.py
    python benchmarks/onnx_parity.py --only hls RegionUNet
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

import opmask
from opmask import Add, Gated, Mul, OperatorMaskWrapper, Retoucher, operators
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.datasets import SyntheticScenes
from opmask.export import to_onnx
from opmask.markdown import markdown_row, markdown_table

HEADINGS = ("model or operators", "parts", "images", "masks", "picture")
SPACES = (
    *(opmask.RGB, opmask.LINEAR_RGB, opmask.LAB, opmask.LAB_CENTERED, opmask.LAB_UNIT),
    opmask.LAB_UNIT_CLAMPED,
    *(opmask.OKLAB, opmask.HLS, opmask.HLS_CLAMPED, opmask.HSV),
)
AROUND = ("Frozen", "LowResolution", "Parallel", "Tied")
OPERATORS = [
    kind(operators.Exposure()) if name in AROUND else kind()
    for name in operators.__all__
    if name not in ("Add", "Mul", "Gated", "MaskRange", "Operator")
    for kind in [getattr(operators, name)]
]
RETOUCHERS: dict[str, Retoucher] = {
    "lab_retoucher": opmask.lab_retoucher(),
    "hls_retoucher": opmask.hls_retoucher(),
    "paper_hls_retoucher": opmask.paper_hls_retoucher(),
    "paper_lab_retoucher": opmask.paper_lab_retoucher(),
    **{f"Mul, Add in {space.name}": Retoucher(Mul(space), Add(space)) for space in SPACES},
    "Gated(Mul, Add) in lab": Retoucher(Gated(Mul(opmask.LAB), Add(opmask.LAB))),
    **{type(operator).__name__: Retoucher(operator) for operator in OPERATORS},
}
SIZES = ((1, 256, 256), (2, 97, 131))


def untrained(backbone: nn.Module) -> OperatorMaskWrapper:
    model = OperatorMaskWrapper(backbone)
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def smp_unet() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet34", encoder_weights=None, classes=3)


NETWORKS: dict[str, Callable[[], OperatorMaskWrapper]] = {
    "SmallUNet": lambda: untrained(SmallUNet()),
    "RegionUNet (the bundled model)": opmask.load,
    "AttentionUNet": lambda: untrained(AttentionUNet()),
    "smp.Unet, resnet34": lambda: untrained(smp_unet()),
}


def colors(batch: int, height: int, width: int) -> Tensor:
    image = torch.rand(batch, 3, height, width) * 1.6 - 0.3
    image[..., ::8, :] = torch.linspace(-0.1, 1.1, width)
    return image


def masks(retoucher: Retoucher, batch: int, height: int, width: int) -> dict[str, Tensor]:
    drawn = {}
    for name, r in retoucher.ranges.items():
        low, high = max(r.low, r.identity - 2), min(r.high, r.identity + 2)
        drawn[name] = low + (high - low) * torch.rand(batch, 1, height, width)
    return drawn


def scenes(batch: int, height: int, width: int) -> Tensor:
    drawn = SyntheticScenes(batch, size=max(height, width))
    return torch.stack([drawn[i].image[:, :height, :width] / 255 for i in range(batch)])


def run(session: onnxruntime.InferenceSession, inputs: list[Tensor]) -> list[Tensor]:
    feed = {x.name: t.numpy() for x, t in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, feed)]


def open_session(
    model: OperatorMaskWrapper | Retoucher, parts: str
) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, path, parts)
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def difference(found: list[Tensor], expected: list[Tensor]) -> str:
    if not expected:
        return "–"
    pairs = zip(found, expected, strict=True)
    return f"{max((a - b).abs().max().item() for a, b in pairs):.1e}"


def compare_retoucher(name: str, retoucher: Retoucher) -> None:
    session = open_session(retoucher, "retoucher")
    for size in SIZES:
        image, drawn = colors(*size), masks(retoucher, *size)
        found = run(session, [image, *drawn.values()])
        cells = difference([], []), difference(found, [retoucher(image, drawn)])
        print(markdown_row([name, "retoucher", describe(size), *cells]), flush=True)


def compare_network(name: str, model: OperatorMaskWrapper) -> None:
    session = open_session(model, "both")
    for size in SIZES:
        image, inside = scenes(*size), torch.zeros(size[0], 1, *size[1:])
        inside[..., size[1] // 3 :, : size[2] // 2] = 1
        regions = {", region": [inside], ", no region": [-torch.ones_like(inside)]}
        for remark, region in regions.items() if model.region else [("", [])]:
            image_out, *found = run(session, [image, *region])
            expected = model(image, *region)
            cells = (
                difference(found, list(expected.masks.values())),
                difference([image_out], [expected.image]),
            )
            print(markdown_row([name, "both", describe(size) + remark, *cells]), flush=True)


def describe(size: tuple[int, int, int]) -> str:
    return f"{size[0]} of {size[1]}×{size[2]}"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[""], help="parts of names")
    wanted = parser.parse_args().only
    torch.manual_seed(0)
    print(markdown_table(HEADINGS))
    for name, retoucher in RETOUCHERS.items():
        if any(part in name for part in wanted):
            compare_retoucher(name, retoucher)
    for name, build in NETWORKS.items():
        if any(part in name for part in wanted):
            compare_network(name, build())


if __name__ == "__main__":
    main()
