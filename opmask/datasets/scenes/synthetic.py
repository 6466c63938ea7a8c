r"""Procedural landscapes and streets with label maps: training data that needs no download.

Every scene has one light, one air and one season, which all of its classes share, and each class
has a typical appearance that varies. A filter over one class therefore shows by its disagreement
with the rest of the scene, while a memory of one colour for each class does not mend it.

(seed, index) -> ``SyntheticScenes`` -> ``Photo`` (8-bit) -> ``Composites`` -> model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from opmask.datasets.photos import Photo
from opmask.datasets.scenes.layouts import LAYOUTS
from opmask.datasets.scenes.palette import Label
from opmask.datasets.scenes.render import render
from opmask.datasets.scenes.scene import Scene
from opmask.perturb.rng import sample_seed

MIN_SIZE = 32  # below that a window is smaller than a pixel


class SyntheticScenes(Dataset[Photo]):
    r"""Drawn scenes: coasts, villages, mountain valleys, streets, meadows and winter days.

    A scene follows from `seed`, its index and `size` alone, whichever process asks for it and
    in whatever order. The same scene has the same layout at every size.

    Args:
        length: The number of scenes.
        size: The height and width :math:`S` of the scenes, in pixels.
        seed: The integer that decides all of them.

    Attributes:
        classes: The names of the classes; the place of a name is the label, 0 is unlabelled.

    Raises:
        ValueError: If `length` is below 1 or `size` below 32.

    Example:
        >>> scenes = SyntheticScenes(100, size=64, seed=0)
        >>> image, label_map, name = scenes[7]
        >>> image.shape, label_map.shape, name
        (torch.Size([3, 64, 64]), torch.Size([64, 64]), 'scene-0-7')
        >>> scenes.classes[:4]
        ('unlabelled', 'sky', 'sun', 'cloud')
    """

    classes: tuple[str, ...] = tuple(label.name.lower() for label in Label)

    def __init__(self, length: int, *, size: int = 64, seed: int = 0) -> None:
        if length < 1:
            raise ValueError(f"'length' must be at least 1, got {length}.")
        if size < MIN_SIZE:
            raise ValueError(f"'size' must be at least {MIN_SIZE}, got {size}.")
        self.length = length
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Photo:
        """The scene at `index`; negative ones count from the end."""
        place = range(self.length)[index]
        # Two generators, so that the layout does not depend on how much noise the size needs.
        draw, paint = np.random.default_rng(sample_seed(self.seed, 0, place)).spawn(2)
        scene = Scene(draw, 2 * self.size)
        LAYOUTS[draw.integers(len(LAYOUTS))](scene)
        codes, labels = render(scene, paint)
        image = torch.from_numpy(codes).permute(2, 0, 1).contiguous()
        return Photo(image, torch.from_numpy(labels), f"scene-{self.seed}-{place}")
