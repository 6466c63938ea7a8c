"""Changes of regions, and what they must give: one filter of the whole image after another."""

from random import Random

import torch

from opmask.perturb import (
    DEFAULT,
    JPEG,
    LIFELIKE,
    REFERENCE,
    REFERENCE_RGB,
    ColorTransfer,
    Filter,
    LabScaling,
    LabScaling8,
    Light,
)

ALL = [REFERENCE, REFERENCE_RGB, DEFAULT, LIFELIKE]
TRANSFER = ColorTransfer((5.0, -3.0, 8.0), (0.8, 1.2, 0.9), (0.3, 0.0, -0.2), 0.03)
HEIGHT, WIDTH = 45, 62
CHAINS = [
    (Filter("kelvin"), Filter("contrast", 1.3)),
    (Filter("walden"), Filter("hue_rotate", 20.0)),
    (Filter("sepia", 0.4), Filter("saturate", 1.2), Filter("brightness", 0.9)),
    (Filter("rise"), Filter("earlybird")),
    (Filter("moon"), Filter("maven"), Filter("grayscale", 0.5)),
    (Filter("nashville"), LabScaling((0.9, 1.1, 1.0)), Filter("xpro2")),
    (LabScaling8((1.1, 0.9, 1.0)), Filter("contrast", 0.7)),
    (*(Filter(name) for name in ("walden", "walden", "reyes")),),
    (Light(temperature=0.4, exposure=-0.5, shadows=0.1), Filter("rise")),
    (TRANSFER, TRANSFER),
    (Filter("moon"), TRANSFER, JPEG(60)),
]


def photo(seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
    return image, torch.arange(1, 16).repeat_interleave(186).view(HEIGHT, WIDTH)


def by_definition(image, label_map, applied):
    """Each perturbation sees the whole image, and the pixels of its region are taken over.

    Only a transfer of colours sees nothing but its region.
    """
    result = image
    for change in applied.regions:
        changed, inside = image.clone(), label_map == change.label
        for perturbation in change.perturbations:
            if isinstance(perturbation, ColorTransfer):
                changed[:, inside] = perturbation(changed[:, inside][:, None])[:, 0]
            else:
                changed = perturbation(changed)
        result = torch.where(inside, changed, result)
    return result


def swap(image):
    """A perturbation of one's own that moves pixels."""
    return image.flip(2)


def rng_of(numbers):
    """A generator that gives these numbers; to ask for more is an error."""
    rng = Random()
    rng.random = iter(numbers).__next__
    return rng
