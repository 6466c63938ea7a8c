"""What several tests of the examples need."""

import csv

import numpy as np
import pytest
import train_small
from PIL import Image
from reproduction.small import pool


@pytest.fixture
def listed_photos(tmp_path, monkeypatch):
    """Photographs of squares, labelled, and a list of them."""
    rows = [["file", "source", "licence", "clear", "labels", "split"]]
    for number in range(15):
        rng = np.random.default_rng(number)
        colors = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(colors).resize((48, 48), Image.Resampling.BILINEAR).save(
            tmp_path / f"{number}.png"
        )
        labels = np.arange(9, dtype=np.uint8).reshape(3, 3)
        Image.fromarray(labels).resize((48, 48), Image.Resampling.NEAREST).save(
            tmp_path / f"{number}_labels.png"
        )
        split = ("train", "train", "validation", "test", "foreign")[number // 3]
        clear = "yes" if number < 3 else "no"
        rows.append([f"{number}.png", "s", "", clear, f"{number}_labels.png", split])
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    monkeypatch.setattr(pool, "LIST", tmp_path / "photos.csv")
    monkeypatch.setattr(train_small, "SIDE", 64)
    return tmp_path
