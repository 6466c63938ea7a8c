"""Go on training the bundled model, on photos of your own: on one page.

    python examples/fine_tune.py
    python examples/fine_tune.py my_photos --steps 1000 --size 192 --out tuned.safetensors

photos -> segments -> composites as in life -> the model, told the region in one of five ways ->
loss -> optimiser, and at the end what is left of the error on photos that were held back. Any
folder of some dozens of pictures will do: nobody needs to label them, segments of even colour are
what is changed. Without a folder these are drawn scenes, for some minutes on a CPU.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from pathlib import Path

import torch
from reproduction.flags import add_overwrite, at_least, check_files, existing, positive
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask.datasets import (
    REGION_PROMPTS,
    BrokenPhotoError,
    Composites,
    Photo,
    SyntheticScenes,
    read_image,
    region_prompt,
    segment,
)
from opmask.files.pictures import picture_files
from opmask.losses import charbonnier
from opmask.markdown import markdown_table
from opmask.metrics import mse, psnr
from opmask.perturb import LIFELIKE, CompositeBatch, Perturber, collate
from opmask.wrapper.model import resize

SCENES = 96  # without a folder
BATCH = 8
HELD_BACK = 8  # every eighth photo is scored, and not trained on
SCORED = 4  # composites of each of them
FEWEST = 2 * HELD_BACK  # photos
LARGEST = 1024  # pixels of a crop
PROMPTS = (0.2, 0.35, 0.15, 0.2, 0.1)  # how often each of REGION_PROMPTS is given


def read_photos(folder: Path | None, size: int) -> list[Photo]:
    """Photos whose shorter side is a quarter longer than `size`, with segments as their things."""
    side = round(1.25 * size)
    if folder is None:
        return list(SyntheticScenes(SCENES, size=side))
    photos = []
    for path in tqdm(picture_files(folder), "photos"):
        try:
            image = read_image(path)[None].float()
        except BrokenPhotoError as error:
            tqdm.write(f"Left out: {error}")
            continue
        scale = side / min(image.shape[2:])
        small = resize(image, (round(scale * image.shape[2]), round(scale * image.shape[3])))
        pixels = small[0].round().clamp(0, 255).to(torch.uint8)
        photos.append(Photo(pixels, segment(pixels), path.stem))
    return photos


def load_batches(photos: list[Photo], count: int, size: int, *, training: bool) -> DataLoader:
    """Crops, each with some regions changed as in life; the seed decides all of it."""
    composites = Composites(
        photos, Perturber(LIFELIKE), crop=size, shuffle=training, seed=int(not training)
    )
    return DataLoader(composites, BATCH, sampler=range(count), collate_fn=collate)


def tell(batch: CompositeBatch, kinds: list[str], seed: int) -> Tensor:
    """What the model is told of each changed region: all of it, some, or nothing."""
    changed = (batch.region[:, 0] > 0.5).long()
    return region_prompt(changed, kinds, generator=_generator(seed))


def train(model: opmask.OperatorMaskWrapper, batches: DataLoader, rate: float) -> None:
    """As many steps as there are batches, at a rate that falls to nothing."""
    learnable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnable, rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, len(batches))
    shares = torch.tensor(PROMPTS)
    # In evaluation mode: norms keep the statistics that they have, of many more photos.
    for step, batch in enumerate(progress := tqdm(batches, "train")):
        drawn = shares.multinomial(len(batch.real), True, generator=_generator(step)).tolist()
        region = tell(batch, [REGION_PROMPTS[kind] for kind in drawn], step)
        image, _ = model(batch.composite, region)
        loss = charbonnier(image, batch.real, eps=0.05)
        if not loss.isfinite():
            raise SystemExit(f"The loss is not finite after {step} steps: take a lower --lr.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.4f}")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def score(
    model: opmask.OperatorMaskWrapper, batches: DataLoader
) -> dict[str, tuple[float, float]]:
    """For each kind of region: the share of the MSE that is left, and the gain of PSNR in dB."""
    found = {}
    for kind in ("exact", "boxes", "unknown"):
        before, after, gain = [], [], []
        for number, batch in enumerate(batches):
            region = tell(batch, [kind] * len(batch.real), number)
            image, _ = model(batch.composite, region)
            before.append(mse(batch.composite, batch.real))
            after.append(mse(image, batch.real))
            gain.append(psnr(image, batch.real) - psnr(batch.composite, batch.real))
        share = torch.cat(after).mean() / torch.cat(before).mean()
        found[kind] = share.item(), torch.cat(gain).mean().item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=existing, nargs="?", help="a folder; else drawn scenes")
    parser.add_argument("--model", type=existing, help="a checkpoint; else the bundled one")
    parser.add_argument("--steps", type=at_least(1), default=100, help="(%(default)s)")
    parser.add_argument("--size", type=at_least(32), default=96, help="pixels of crops (96)")
    parser.add_argument("--lr", type=positive, default=3e-4, help="the highest rate (3e-4)")
    parser.add_argument(
        "--out", type=Path, default=Path("tuned.safetensors"), help="the model (%(default)s)"
    )
    add_overwrite(parser)
    args = parser.parse_args()
    if args.out.suffix != ".safetensors":
        parser.error(f"--out must end in .safetensors, got {args.out}.")
    if args.size > LARGEST:
        parser.error(f"--size must be at most {LARGEST}, got {args.size}.")
    check_files({"--out": args.out}, [args.model], overwrite=args.overwrite)
    model = opmask.load(args.model)
    if not (isinstance(model, opmask.OperatorMaskWrapper) and model.region):
        parser.error(f"--model must be one that is told regions, got {args.model}.")
    photos = read_photos(args.photos, args.size)
    if len(photos) < FEWEST:
        parser.error(
            f"photos must be a folder with at least {FEWEST} pictures in it (folders in it are "
            f"not read), got {len(photos)} in {args.photos}."
        )
    held_back, others = photos[::HELD_BACK], [p for i, p in enumerate(photos) if i % HELD_BACK]
    torch.manual_seed(0)
    scored = load_batches(held_back, SCORED * len(held_back), args.size, training=False)
    before = score(model, scored)
    train(model, load_batches(others, BATCH * args.steps, args.size, training=True), args.lr)
    after = score(model, scored)
    headings = ["told", "MSE left, before", "after", "PSNR gain in dB, before", "after"]
    rows = [
        [kind, f"{was:.3f}", f"{now:.3f}", f"{gained:+.2f}", f"{gains:+.2f}"]
        for kind, (was, gained), (now, gains) in zip(
            before, before.values(), after.values(), strict=True
        )
    ]
    print(markdown_table(headings, rows))
    count = SCORED * len(held_back)
    print(f"{count} composites of {len(held_back)} photos; {len(others)} to learn from.")
    if worse := [kind for kind in before if after[kind][0] > before[kind][0]]:
        print(f"Worse than it was, told {', '.join(worse)}: take more photos, or a lower --lr.")
    opmask.save(model, args.out, half=True)
    print(
        f"Masks act in full here. Written: {args.out}. Its calibration is still that of the model "
        "it started from."
    )


if __name__ == "__main__":
    launch.run(main)
