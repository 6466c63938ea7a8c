import numpy as np
import pytest
import torch
from reproduction.small import compare, pool
from reproduction.small.compare import STRENGTHS, Curve
from reproduction.small.network import build

import opmask

RISING = np.array(STRENGTHS)


def test_the_strength_is_that_at_which_the_mean_harm_is_as_wanted():
    harm = np.stack([2 * RISING, 4 * RISING])
    assert compare.strength_at(harm, 3.0) == pytest.approx(1.0)
    assert compare.strength_at(harm, 100.0) == STRENGTHS[-1]
    assert compare.strength_at(harm, 0.0) == 0.0


def test_a_line_has_the_errors_at_that_strength_and_given_the_region_at_full_strength():
    blind = np.stack([100 - 20 * RISING, 300 - 60 * RISING])
    guided = np.stack([100 - 40 * RISING, 300 - 120 * RISING])
    found = Curve(np.stack([RISING, RISING]), blind, guided)
    text = compare.line("run", found, harm=0.5)
    decibels = [-10 * np.log10(share) for share in (0.9, 0.6)]
    assert text == (
        f"| run | 0.50 | 0.50 | 0.900 | {decibels[0]:+.2f} | 0.600 | {decibels[1]:+.2f} |"
    )


def test_runs_are_compared_in_a_table(listed_photos, capsys):
    torch.manual_seed(0)
    packed = listed_photos / "packed"
    pool.pack(pool.Pool(listed_photos, "validation", size=64), packed)
    model = build(8, "none")
    opmask.save(model, listed_photos / "still" / "model.safetensors")
    torch.nn.init.normal_(model.backbone.out.weight)
    opmask.save(model, listed_photos / "moving" / "model.safetensors")
    runs = [str(listed_photos / name) for name in ("still", "moving")]
    compare.main([*runs, "--photos", str(packed), "--size", "32", "--every", "2"])
    still, moving = capsys.readouterr().out.splitlines()[2:]
    assert still.startswith("| still | 2.00 | 0.0")
    assert " | 1.000 | +0.00 | 1.000 | +0.00 |" in still
    assert moving.split(" | ")[2] == "3.00"
