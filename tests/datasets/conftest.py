"""Made-up trees of photographs and label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDERS = {
    "ade20k": ("images/validation", "annotations/validation"),
    "lip": ("val_images", "val_segmentations"),
}


def _plant(root: Path, data: str = "ade20k", count: int = 5, empty: tuple[int, ...] = ()) -> Path:
    """Writes photos of noise, each with three labels, or none where `empty` says so."""
    for folder in FOLDERS[data]:
        (root / folder).mkdir(parents=True)
    images, label_maps = (root / folder for folder in FOLDERS[data])
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40 + number, 3), np.uint8)
        labels = np.zeros(pixels.shape[:2], np.uint8)
        if number not in empty:
            labels[:, 8:18], labels[:, 18:28], labels[10:, 28:] = 1, 2, 3
        Image.fromarray(pixels).save(images / f"p{number}.jpg")
        Image.fromarray(labels).save(label_maps / f"p{number}.png")
    return root


@pytest.fixture
def plant():
    """The function that writes a tree."""
    return _plant


@pytest.fixture
def ade20k(tmp_path):
    """Five photos in the layout of ADE20K; the second has no labelled pixel."""
    return _plant(tmp_path / "ade20k", empty=(1,))
