import numpy as np
import pytest
import show_edit
import torch
from PIL import Image
from reproduction.small.network import build

import opmask


@pytest.fixture
def checkpoint(tmp_path):
    opmask.save(build(8, "none"), tmp_path / "model.safetensors")
    return ["--model", str(tmp_path / "model.safetensors")]


def test_the_cup_and_its_saucer_are_filtered_and_the_table_is_not():
    photo, region = show_edit.sample()
    table = torch.from_numpy(show_edit.skimage.data.coffee()).permute(2, 0, 1)
    assert 0.4 < region.mean() < 0.55
    changed = (photo != table).any(0)
    assert not changed[region[0] == 0].any()
    assert changed[region[0] == 1].float().mean() > 0.99


def test_the_changed_edit_is_lighter_and_the_maps_say_by_how_much():
    photo, region = show_edit.sample()
    row = show_edit.panel_row(opmask.load(), photo, region)
    before, harmonized, lighter = (image.mean() for image in row.images.values())
    assert harmonized < before
    assert lighter > harmonized + 0.02
    # But for the rounding of a conversion there and back, in units of CIE LAB.
    assert all(change[0, 0, 0].abs() < 1e-4 for change in row.masks.values())
    assert row.masks["b*: red is yellower"].max() > 5


def test_a_photo_of_ones_own_and_its_region_are_shown(tmp_path, checkpoint, capsys):
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    Image.new("L", (80, 60), 255).save(tmp_path / "mask.png")
    files = [str(tmp_path / "photo.png"), "--region", str(tmp_path / "mask.png")]
    out = tmp_path / "edit.png"
    show_edit.main([*files, *checkpoint, "--out", str(out)])
    assert capsys.readouterr().out == f"The picture is {out}.\n"
    with Image.open(out) as picture:
        assert picture.width > 1000


def test_a_region_without_a_photo_is_refused(capsys):
    with pytest.raises(SystemExit):
        show_edit.main(["--region", "mask.png"])
    assert "--region goes with a photo" in capsys.readouterr().err
