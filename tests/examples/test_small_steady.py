import numpy as np
import pytest
import torch
from PIL import Image
from reproduction.small import steady
from reproduction.small.network import build
from reproduction.small.steady import Pasted

import opmask


@pytest.fixture
def folder(tmp_path):
    """A composite of which the left half was changed."""
    for name in ("composite_images", "masks"):
        (tmp_path / "real_composites" / name).mkdir(parents=True)
    pixels = np.full((16, 24, 3), (90, 120, 200), np.uint8)
    pixels[:, :12, 0] = 200
    mask = np.zeros((16, 24), np.uint8)
    mask[:, :12] = 255
    Image.fromarray(pixels).save(tmp_path / "real_composites" / "composite_images" / "a.png")
    Image.fromarray(mask).save(tmp_path / "real_composites" / "masks" / "a.png")
    return tmp_path


def test_composites_are_enlarged_with_their_regions(folder):
    (pasted,) = steady.read_pasted(folder / "real_composites", 5)
    assert pasted.name == "a"
    assert pasted.image.shape == (3, 32, 48)
    assert pasted.image[:, 20, 4].tolist() == [200, 120, 200]
    assert torch.equal(pasted.region, (torch.arange(48) < 24).expand(32, 48))


def test_differences_are_means_over_the_region_in_levels(monkeypatch):
    def brightened(model, image, *, region, work_size):
        return image + region * (work_size // 16) + ~region * work_size

    monkeypatch.setattr(opmask, "harmonize", brightened)
    image, region = torch.zeros(3, 32, 64, dtype=torch.uint8), torch.rand(32, 64) < 0.3
    found = steady.differences(None, Pasted("a", image, region), (16, 32, 64, 128))
    to_composite = {(0, 16): 1.0, (0, 32): 2.0, (0, 64): 4.0}
    assert found == to_composite | {(16, 32): 1.0, (16, 64): 3.0, (32, 64): 2.0}


def test_a_model_that_does_nothing_is_steady(folder):
    composites = list(steady.read_pasted(folder / "real_composites", 1))
    found = steady.steadiness(build(8, "none").eval(), composites, (16, 64))
    assert found == {(0, 16): [0.0], (0, 64): [], (16, 64): []}


def test_models_stand_beside_each_other_in_a_table():
    box = {(0, 16): [4.0, 4.0], (16, 32): [1.0, 3.0], (16, 64): []}
    found = {"bundled": box, "a": {(0, 16): [2.0, 2.0], (16, 32): [0.5, 0.5]}}
    assert steady.table(found).splitlines()[2:] == [
        "| composite and 16 | 2 | 4.00 [4.00, 4.00] | 2.00 [2.00, 2.00] |",
        "| 16 and 32 | 2 | 2.00 [1.00, 3.00] | 0.50 [0.50, 0.50] |",
    ]


def test_the_command_compares_with_the_model_in_the_box(folder, monkeypatch, capsys):
    monkeypatch.setattr(steady, "FOLDERS", {"real_composites": 1})
    opmask.save(build(8, "none"), folder / "model.safetensors")
    model = str(folder / "model.safetensors")
    steady.main([model, "--data", str(folder), "--sizes", "32", "16"])
    heading, _, *_, row = capsys.readouterr().out.splitlines()[2:-1]
    assert heading == f"| work sizes, px | composites | bundled | {model} |"
    assert row.startswith("| 16 and 32 | 1 | ")
    assert row.endswith(" | 0.00 [0.00, 0.00] |")


def test_a_folder_without_composites_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="'--data' must hold composites in real_composites"):
        steady.main(["--data", str(tmp_path)])
