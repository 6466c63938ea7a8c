import sys

import custom_operator
import pytest
import torch
from custom_operator import Warmth
from PIL import Image

import opmask


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(custom_operator, "SCENES", 4)
    monkeypatch.setattr(custom_operator, "HELD_OUT", 6)


def run(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["custom_operator.py", *flags])
    custom_operator.main()


def test_the_operator_keeps_the_contract():
    opmask.testing.check_operator(Warmth())


def test_a_stop_of_warmth_doubles_red_and_halves_blue():
    image, mask = torch.rand(1, 3, 2, 2), torch.ones(1, 1, 2, 2)
    expected = image * torch.tensor([2.0, 1.0, 0.5]).view(3, 1, 1)
    torch.testing.assert_close(Warmth()(image, mask), expected)


def test_composites_are_undone_by_the_mask_that_is_right():
    real = 0.3 + 0.1 * torch.rand(8, 3, 32, 32)
    label_maps = torch.randint(1, 4, (8, 32, 32))
    batch = custom_operator.relight(real, label_maps, torch.Generator().manual_seed(0))
    undone = opmask.Retoucher(Warmth())(batch.composite, {"warmth": batch.right})
    torch.testing.assert_close(undone, real, rtol=0, atol=2 / 255)  # stored in 8 bits
    outside = (1 - batch.region) * (batch.composite - real)
    assert outside.abs().max() < 0.51 / 255
    for region, label_map in zip(batch.region, label_maps, strict=True):
        assert len(label_map[region[0] == 1].unique()) == 1
        assert label_map[region[0] == 1].unique() not in label_map[region[0] == 0].unique()


def test_a_run_prints_the_table_and_draws_the_panel(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "--steps", "2", "--size", "32", "--out", str(tmp_path))
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:4]] == ["composite", "result"]
    Image.open(tmp_path / "panel.png").verify()


def test_bad_arguments_are_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--size", "16")
    assert "--size: must be a whole number from 32 on, got 16" in capsys.readouterr().err
