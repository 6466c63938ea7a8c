r"""Composites: photos of which some regions were changed, each in its own way.

Sampling (:func:`draw`) is apart from applying (:func:`composite`), so that a composite can be
rebuilt from the record of what was drawn, :class:`Applied`. :class:`Perturber` does both, for a
batch.

8-bit photo + label map + seed -> (composite, real, region, applied), the training sample.

References:
    | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from opmask.perturb.draws import pick, stream
from opmask.perturb.filters import FILTERS, Filter, check_eight_bit
from opmask.perturb.regions import choose_regions


@dataclass(frozen=True)
class RegionChange:
    """What is done to one region.

    Args:
        label: The class whose pixels are changed.
        perturbations: What is applied to them, in order.
    """

    label: int
    perturbations: tuple[Filter, ...]


@dataclass(frozen=True)
class Applied:
    """The record of a composite: with the photo and its label map, enough to rebuild it.

    Args:
        seed: The seed from which it was drawn.
        regions: What was done to each region.

    Example:
        >>> applied = Applied(7, (RegionChange(3, (Filter("moon"),)),))
        >>> applied.to_json()
        '{"seed": 7, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
        >>> Applied.from_json(applied.to_json()) == applied
        True
    """

    seed: int
    regions: tuple[RegionChange, ...]

    def to_json(self) -> str:
        """The record as one line of JSON."""
        regions = [
            {
                "label": change.label,
                "perturbations": [{"filter": p.name} for p in change.perturbations],
            }
            for change in self.regions
        ]
        return json.dumps({"seed": self.seed, "regions": regions})

    @classmethod
    def from_json(cls, text: str) -> Applied:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is something else.
        """
        try:
            record = json.loads(text)
            return cls(record["seed"], tuple(_region_from(entry) for entry in record["regions"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"'text' must be what Applied.to_json wrote, got {text[:80]!r} ({error})."
            ) from error


class Composite(NamedTuple):
    r"""A composite and what it was made from.

    Attributes:
        composite: The changed image, ``float32``, with shape :math:`(3, H, W)`: multiples of 1/255
            in :math:`[0, 1]`.
        real: The untouched image, with the type, shape and range of `composite`.
        region: 1 where the image was changed and 0 elsewhere, ``float32``, with shape
            :math:`(1, H, W)`.
        applied: The record of what was done.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    applied: Applied


class CompositeBatch(NamedTuple):
    r"""Composites of equal size, stacked.

    Attributes:
        composite: The changed images, ``float32``, with shape :math:`(B, 3, H, W)`: multiples of
            1/255 in :math:`[0, 1]`.
        real: The untouched images, with the type, shape and range of `composite`.
        region: 1 where an image was changed and 0 elsewhere, ``float32``, with shape
            :math:`(B, 1, H, W)`.
        applied: The records of what was done, one for each image.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    applied: tuple[Applied, ...]


def draw(label_map: Tensor, seed: int) -> Applied:
    r"""Decides what is done to a photo: which regions, and for each a filter.

    Args:
        label_map: The class of each pixel, integers, with shape :math:`(H, W)`; 0 is unlabelled.
        seed: The integer that decides, not negative.

    Returns:
        The record, to be handed to :func:`composite`.

    Raises:
        ValueError: If no pixel is labelled or the seed is negative.

    Example:
        >>> draw(torch.tensor([[0, 1, 2]]), seed=0).regions
        (RegionChange(label=2, perturbations=(Filter(name='slumber'),)),)
    """
    numbers = stream(seed)
    labels = choose_regions(label_map, numbers)
    return Applied(
        seed, tuple(RegionChange(label, (Filter(pick(FILTERS, numbers)),)) for label in labels)
    )


def composite(image: Tensor, label_map: Tensor, applied: Applied) -> Composite:
    r"""Makes the composite that a record describes.

    Each perturbation sees the whole untouched image (some filters darken towards its corners), and
    the pixels of its region are taken over. This is exact; the reference code goes through 8-bit
    LAB, which can be 24 levels off.

    Args:
        image: The RGB photo, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        label_map: The class of each pixel, integers, with shape :math:`(H, W)`.
        applied: What to do, see :func:`draw`.

    Returns:
        The composite, the real image, the region and the record.

    Raises:
        ValueError: If shapes do not fit, or the record names a label that the map does not have.
        TypeError: If the image is not 8-bit or the label map does not hold integers.

    Example:
        >>> image = torch.full((3, 1, 3), 128, dtype=torch.uint8)
        >>> label_map = torch.tensor([[0, 1, 2]])
        >>> composite(image, label_map, draw(label_map, seed=0)).region
        tensor([[[0., 0., 1.]]])
    """
    check_eight_bit(image, "image", "(3, H, W)")
    _check_label_map(label_map, "label_map", "image", image.shape[1:])
    changed, region = image, torch.zeros_like(label_map, dtype=torch.bool)
    for change in applied.regions:
        inside = label_map == change.label
        if not inside.any():
            raise ValueError(
                f"'applied' must name labels of 'label_map', got {change.label}, which no pixel "
                f"has. Was it drawn for another photo?"
            )
        filtered = image
        for perturbation in change.perturbations:
            filtered = perturbation(filtered)
        changed = torch.where(inside, filtered, changed)
        region = region | inside
    return Composite(_to_float(changed), _to_float(image), region[None].float(), applied)


@dataclass(frozen=True)
class Perturber:
    r"""Makes composites of a batch of photos; each depends on its own photo and seed only.

    Example:
        >>> images = torch.full((2, 3, 1, 3), 128, dtype=torch.uint8)
        >>> label_maps = torch.tensor([[[0, 1, 2]], [[3, 3, 0]]])
        >>> batch = Perturber()(images, label_maps, seeds=[0, 1])
        >>> batch.region.flatten(1)
        tensor([[0., 0., 1.],
                [1., 1., 0.]])
    """

    def __call__(
        self, images: Tensor, label_maps: Tensor, seeds: Tensor | Sequence[int]
    ) -> CompositeBatch:
        r"""Draws a change for each photo and applies it.

        Args:
            images: The RGB photos, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
            label_maps: The class of each pixel, integers, with shape :math:`(B, H, W)`; 0 is
                unlabelled.
            seeds: The seed of each photo, ``int64`` with shape :math:`(B,)` or a sequence of
                integers, see :func:`opmask.perturb.draws.sample_seed`.

        Returns:
            The composites, the real images, the regions and the records.

        Raises:
            ValueError: If shapes or counts do not fit, or a photo has no labelled pixel.
            TypeError: If images are not 8-bit or label maps do not hold integers.
        """
        check_eight_bit(images, "images", "(B, 3, H, W)")
        _check_label_map(label_maps, "label_maps", "images", (len(images), *images.shape[2:]))
        numbers = seeds.tolist() if isinstance(seeds, Tensor) else seeds
        if len(numbers) != len(images):
            raise ValueError(
                f"'seeds' must hold one seed for each of {len(images)} images, got {len(numbers)}."
            )
        samples = [
            composite(image, label_map, draw(label_map, seed))
            for image, label_map, seed in zip(images, label_maps, numbers, strict=True)
        ]
        composites, reals, regions, applied = zip(*samples, strict=True)
        return CompositeBatch(
            torch.stack(composites), torch.stack(reals), torch.stack(regions), applied
        )


def _region_from(entry: dict[str, Any]) -> RegionChange:
    return RegionChange(
        entry["label"], tuple(Filter(record["filter"]) for record in entry["perturbations"])
    )


def _check_label_map(label_map: Tensor, argument: str, image: str, shape: Sequence[int]) -> None:
    if label_map.is_floating_point() or label_map.dtype == torch.bool:
        raise TypeError(f"'{argument}' must hold integers, got {label_map.dtype}.")
    if label_map.shape != torch.Size(shape):
        raise ValueError(
            f"'{argument}' must have the size of '{image}', {tuple(shape)}, "
            f"got {tuple(label_map.shape)}."
        )


def _to_float(image: Tensor) -> Tensor:
    # CUDA would multiply by the reciprocal of a plain number, and k * (1/255) is not k/255.
    return image.float() / torch.full((), 255.0, device=image.device)
