r"""Composites: photos of which some regions were changed, each in its own way.

Sampling (:func:`opmask.perturb.draw`) is apart from applying (:func:`composite`), so that a
composite can be rebuilt from the record of what was drawn,
:class:`opmask.perturb.PerturbationRecord`. :class:`Perturber` does both, for a batch.

8-bit photo + label map + seed -> (composite, real, region, applied), the training sample.

References:
    | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from opmask.perturb.degrade import degrade
from opmask.perturb.engine import change_regions
from opmask.perturb.filters import check_eight_bit
from opmask.perturb.records import PerturbationRecord
from opmask.perturb.regions import present_labels
from opmask.perturb.sample import Composite, CompositeBatch, join
from opmask.perturb.settings import DEFAULT, Settings, draw_for_classes


def composite(
    image: Tensor,
    label_map: Tensor,
    applied: PerturbationRecord,
    *,
    size: int | None = None,
) -> Composite:
    r"""Makes the composite that a record describes.

    Each perturbation sees the whole untouched image (some filters darken towards its corners), and
    the pixels of its region are taken over. A degradation is for the real image, which then
    surrounds the regions, so that they are cleaner than what is around them.

    A record drawn with :data:`opmask.perturb.REFERENCE` gives 8-bit LAB as RGB that is *not*
    clipped: ``opmask.LAB_CENTERED.from_rgb`` turns it back into the reference's tensor, to 1e-5.

    Args:
        image: The RGB photo, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        label_map: The class of each pixel, integers, with shape :math:`(H, W)`.
        applied: What to do, see :func:`opmask.perturb.draw`.
        size: The height and width to which all is resized at the end, without keeping the aspect
            ratio. Default: it is not resized.

    Returns:
        The composite, the real image, the region and the record.

    Raises:
        ValueError: If shapes do not fit, the record names a label that the map does not have, or
            `size` is below 1.
        TypeError: If the image is not 8-bit or the label map does not hold integers.

    Example:
        >>> from opmask.perturb import draw
        >>> image = torch.full((3, 1, 3), 128, dtype=torch.uint8)
        >>> label_map = torch.tensor([[0, 1, 2]])
        >>> composite(image, label_map, draw(label_map, seed=0)).region
        tensor([[[0., 0., 1.]]])
    """
    check_eight_bit(image, "image", "(3, H, W)")
    _check_label_map(label_map, "label_map", "image", image.shape[1:])
    _check_size(size)
    made, real, region = _compose(image[None], label_map[None], [applied], size)
    return Composite(made[0], real[0], region[0], applied)


def _compose(
    images: Tensor,
    label_maps: Tensor,
    applied: Sequence[PerturbationRecord],
    size: int | None,
    compile: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Composites, real images and regions; all records have one compositing."""
    compile = compile and images.is_cuda
    changed = change_regions(images, label_maps, applied, compile=compile)
    how = applied[0].compositing
    # Each pixel is converted for itself, so that the changed ones can be converted alone.
    real, codes = how.to_codes(images), how.to_codes(changed.levels[:, None])[:, 0]
    real = degrade(real, [record.degradation for record in applied])
    composites, regions = changed.scatter(real, codes), changed.inside[:, None].float()
    if size is not None and images.shape[2:] != (size, size):
        composites, real, regions = how.resize(composites, real, regions, size, compile=compile)
    return how.to_rgb(composites), how.to_rgb(real), regions


_AT_ONCE = 2**16
"""How many pixels of small photos are changed at once on a CPU."""


@dataclass(frozen=True)
class Perturber:
    r"""Makes composites of a batch of photos; each depends on its own photo and seed only.

    Args:
        settings: How composites are drawn and put together, such as
            :data:`opmask.perturb.REFERENCE`.
        compile: Whether filters and resizing are compiled with ``torch.compile`` on a GPU, which
            takes a minute once and gives the same bits. On a CPU nothing is compiled.

    Example:
        >>> images = torch.full((2, 3, 1, 3), 128, dtype=torch.uint8)
        >>> label_maps = torch.tensor([[[0, 1, 2]], [[3, 3, 0]]])
        >>> batch = Perturber()(images, label_maps, seeds=[0, 1])
        >>> batch.region.flatten(1)
        tensor([[0., 0., 1.],
                [1., 1., 0.]])
    """

    settings: Settings = DEFAULT
    compile: bool = False

    def __call__(
        self,
        images: Tensor,
        label_maps: Tensor,
        seeds: Tensor | Sequence[int],
        *,
        size: int | None = None,
    ) -> CompositeBatch:
        r"""Draws a change for each photo and applies it.

        Args:
            images: The RGB photos, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
            label_maps: The class of each pixel, integers, with shape :math:`(B, H, W)`; 0 is
                unlabelled.
            seeds: The seed of each photo, ``int64`` with shape :math:`(B,)` or a sequence of
                integers, see :func:`opmask.perturb.rng.sample_seed`.
            size: The height and width to which samples are resized after they were changed, see
                :func:`opmask.perturb.composite`. Default: they are not resized.

        Returns:
            The composites, the real images, the regions and the records.

        Raises:
            ValueError: If shapes or counts do not fit, a photo has no labelled pixel, or `size`
                is below 1.
            TypeError: If images are not 8-bit or label maps do not hold integers.
        """
        check_eight_bit(images, "images", "(B, 3, H, W)")
        _check_label_map(label_maps, "label_maps", "images", (len(images), *images.shape[2:]))
        numbers = seeds.tolist() if isinstance(seeds, Tensor) else seeds
        if len(numbers) != len(images):
            raise ValueError(
                f"'seeds' must hold one seed for each of {len(images)} images, got {len(numbers)}."
            )
        _check_size(size)
        # A CPU is fastest with as many pixels at a time as stay in its caches.
        count = len(images) if images.is_cuda else max(1, _AT_ONCE // label_maps[0].numel())
        parts = [
            self._make(images[part], label_maps[part], numbers[part], size)
            for part in (slice(i, i + count) for i in range(0, len(images), count))
        ]
        return join(parts)

    def _make(
        self, images: Tensor, label_maps: Tensor, seeds: Sequence[int], size: int | None
    ) -> CompositeBatch:
        applied = tuple(
            draw_for_classes(classes, seed, self.settings)
            for classes, seed in zip(present_labels(label_maps), seeds, strict=True)
        )
        made = _compose(images, label_maps, applied, size, self.compile)
        return CompositeBatch(*made, applied)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise ValueError(f"'size' must be at least 1, got {size}.")


def _check_label_map(label_map: Tensor, argument: str, image: str, shape: Sequence[int]) -> None:
    if label_map.is_floating_point() or label_map.dtype == torch.bool:
        raise TypeError(f"'{argument}' must hold integers, got {label_map.dtype}.")
    if label_map.shape != torch.Size(shape):
        raise ValueError(
            f"'{argument}' must have the size of '{image}', {tuple(shape)}, "
            f"got {tuple(label_map.shape)}."
        )
