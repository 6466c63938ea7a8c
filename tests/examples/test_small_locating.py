from types import SimpleNamespace

import pytest
import torch
from reproduction.small import locating, pool
from reproduction.small.kinds import KINDS
from reproduction.small.network import build
from reproduction.small.scoring import scenes
from scipy.stats import mannwhitneyu

import opmask


@pytest.fixture
def model():
    model = build(8, "none").eval()
    torch.nn.init.normal_(model.backbone.out.weight)
    return model


@pytest.fixture
def packed(listed_photos):
    return pool.pack(pool.Pool(listed_photos, "validation", size=32), listed_photos / "packed")


def test_the_auc_is_the_share_of_pairs_in_the_right_order():
    scores, truth = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True])
    assert locating.auc(scores, truth) == pytest.approx(0.75)


def test_the_auc_is_mann_and_whitneys_statistic_as_scipy_has_it():
    scores, truth = torch.rand(200), torch.rand(200) < 0.3
    u = mannwhitneyu(scores[truth], scores[~truth]).statistic
    assert locating.auc(scores, truth) == pytest.approx(u / (truth.sum() * (~truth).sum()))


def test_overlaps_are_shares_of_what_either_covers():
    found, region = torch.zeros(2, 2, 1, 4, 4)
    region[:, :, 1:3] = 1
    found[0, :, :2] = 1
    assert locating.iou(found > 0, region) == pytest.approx([1 / 3, 0.0])


def test_gates_that_are_the_region_find_all_of_it(packed):
    (scene,) = scenes(packed, (), "light")
    knows = SimpleNamespace(predict=lambda *given, size: {"gate": scene.made.region})
    cells = locating.gate_cells(knows, packed, 32, "light")
    assert cells[:3] == ["1.000", "1.000", "1.000 [1.000, 1.000]"]


def test_each_kind_has_a_line_about_the_gate(packed, model):
    lines = locating.gates(model, packed, 32).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {k}" for k in ("mixed", *KINDS)]


def test_masks_at_the_identity_are_as_far_off_as_the_identity(packed):
    text = locating.mask_errors(build(8, "none").eval(), packed, 32)
    assert text.count("(100%)") == 2 * len(opmask.lab_retoucher().ranges)
