import harmonize_scenes
import pytest
import torch
from PIL import Image
from small.network import build

import opmask
from opmask.datasets import Composites, SyntheticScenes
from opmask.perturb import Perturber


@pytest.fixture
def composites(monkeypatch):
    monkeypatch.setattr(harmonize_scenes, "SIZE", 64)
    return Composites(SyntheticScenes(2, size=64, seed=1), Perturber(), seed=1)


def test_a_row_has_a_column_for_everything_told(composites):
    row = harmonize_scenes.panel_row(build(8, None), composites, 0)
    assert list(row.images) == [
        "composite",
        *("told the region", "told a box", "not told"),
        *("scene", "region"),
    ]
    torch.testing.assert_close(row.images["not told"], row.images["composite"], atol=1e-3, rtol=0)


def test_a_checkpoint_is_shown_in_one_picture(composites, tmp_path, capsys):
    opmask.save(build(8, None), tmp_path / "model.safetensors")
    out = tmp_path / "scenes.png"
    checkpoint = str(tmp_path / "model.safetensors")
    harmonize_scenes.main([checkpoint, "--count", "2", "--out", str(out)])
    assert capsys.readouterr().out == f"The picture is {out}.\n"
    with Image.open(out) as picture:
        assert picture.width > 6 * 64
