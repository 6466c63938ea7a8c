"""What a model for photos is compared with: simple ways to give a region the colours around it.

Each takes an 8-bit photo (3, H, W) and a region (H, W), `bool`, and returns the photo with only
the pixels of the region changed. What lies around the region is all of the rest; where there is no
rest, or no region, nothing is changed.

packed photos -> composites of `scoring.scenes` -> rivals -> `Row`, as those of a model.

References:
    | Color Transfer between Images (Reinhard et al., 2001)
    | Digital Image Processing, 4th edition, section 3.3 (Gonzalez and Woods, 2018)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from skimage.exposure import match_histograms
from torch import Tensor
from tqdm import tqdm

from opmask.color import to_levels
from opmask.perturb import ColorTransfer
from reproduction.small.pool import Packed
from reproduction.small.scoring import Row, rows_of, scenes

Rival = Callable[[Tensor, Tensor], Tensor]


def reinhard(image: Tensor, region: Tensor, strength: float = 1.0) -> Tensor:
    r"""The means and standard deviations of the surroundings, in CIELAB.

    .. math:: y = x + s \left(\mu_o + \frac{\sigma_o}{\sigma_r} (x - \mu_r) - x\right)

    for each channel, with the mean and the deviation of the region, r, and of what is outside, o,
    and the strength s; the ratio of deviations is at most 4. Reinhard et al. have the space
    l-alpha-beta; iHarmony4's composites, and most who compare with the method, have CIELAB.
    """
    inside, outside = image[:, region][:, None], image[:, ~region][:, None]
    whole = ColorTransfer.between(inside, outside)
    shift = [strength * value for value in whole.shift]
    spread = [1 + strength * (value - 1) for value in whole.spread]
    return pasted(image, region, ColorTransfer(tuple(shift), tuple(spread))(inside))


def match_histogram(image: Tensor, region: Tensor) -> Tensor:
    r"""The histograms of the surroundings, for each channel of RGB.

    .. math:: y = F_o^{-1}(F_r(x))

    with the cumulative distributions of the levels in the region, r, and outside of it, o; as
    scikit-image interpolates them.
    """
    # As floats: of integers scikit-image cuts the fractions off, half a level on average.
    inside, outside = (image[:, where].T[None].double().numpy() for where in (region, ~region))
    matched = torch.from_numpy(match_histograms(inside, outside, channel_axis=-1))
    return pasted(image, region, matched[0].T[:, None].round())


RIVALS: dict[str, Rival] = {
    "Reinhard": reinhard,
    "Reinhard, a quarter": partial(reinhard, strength=0.25),
    "histogram": match_histogram,
}


def pasted(image: Tensor, region: Tensor, pixels: Tensor) -> Tensor:
    """The photo with other pixels (3, 1, N) in its region."""
    made = image.clone()
    made[:, region] = pixels[:, 0].to(made)
    return made


def score_rivals(
    photos: Packed, prompts: Sequence[str] = ("exact", "boxes"), *, kind: str = "mixed"
) -> list[Row]:
    """The rows of all images; those of doing nothing, which takes no region, are `unknown`."""
    rows = []
    for scene in tqdm(scenes(photos, prompts, kind), "rivals", leave=False, disable=None):
        image = scene.made.composite
        rows += rows_of(scene, "unknown", image, image, "nothing")
        for prompt, region in scene.prompts.items():
            for by, rival in RIVALS.items():
                rows += rows_of(scene, prompt, image, apply(rival, image, region > 0.5), by)
    return rows


def apply(rival: Rival, images: Tensor, regions: Tensor) -> Tensor:
    """What a rival makes of photos (B, 3, H, W) in [0, 1], given regions (B, 1, H, W)."""
    pairs = zip(to_levels(images), regions[:, 0], strict=True)
    made = [rival(i, r) if r.any() and not r.all() else i for i, r in pairs]
    return torch.stack(made) / 255
