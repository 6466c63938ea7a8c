import numpy as np
import pytest
import torch
from reproduction.small import guided, pool
from reproduction.small.guided import ONE, ROUGH, STRENGTHS, Outcome
from reproduction.small.kinds import KINDS
from reproduction.small.network import build
from reproduction.small.scoring import mean, score

from opmask import LAB, Add, Calibration, Gated, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.inference.refine import EMPTY


def of_hue(*degrees, chroma=0.2):
    """Pixels of the same lightness and these hues, (1, 3, 1, N)."""
    angle = torch.deg2rad(torch.tensor(degrees).float())
    lab = [torch.full_like(angle, 0.6), chroma * angle.cos(), chroma * angle.sin()]
    return LAB.to_rgb(torch.stack(lab)[None, :, None])


def test_hues_turn_by_the_shorter_way_inside_the_region():
    region = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    turn = guided.hue_turns(of_hue(350, 50, 0), of_hue(10, 40, 180), region)
    assert turn.tolist() == pytest.approx([15.0], abs=0.2)


def test_the_hue_of_greys_does_not_count():
    real = torch.cat([of_hue(10), torch.full((1, 3, 1, 1), 0.5)], 3)
    turn = guided.hue_turns(of_hue(40, 90), real, torch.ones(1, 1, 1, 2))
    assert turn.tolist() == pytest.approx([30.0], abs=0.2)
    assert guided.hue_turns(real[..., 1:], real[..., 1:], torch.ones(1, 1, 1, 1)) == 0


def outcome(shares, turns=10.0, error=100.0, change=30.0):
    """What strengths come to for two composites of the same error, changed by so many levels."""
    errors = error * np.broadcast_to(shares, (2, len(STRENGTHS)))
    return Outcome(errors, np.broadcast_to(turns, len(STRENGTHS)), np.full(2, change))


def parabola(best, least):
    """Shares that fall from 1 to the least at the best strength, and rise again."""
    return least + (1 - least) * (np.array(STRENGTHS) / best - 1) ** 2


@pytest.mark.parametrize(
    ("shares", "turns", "expected"),
    [
        ({}, {}, 3.0),
        ({2.0: 1.1}, {}, 1.75),
        ({}, {1.5: 11.1}, 1.25),
        ({}, {1.5: 10.9}, 3.0),
        ({3.0: 2.0, 1.25: 1.01}, {3.0: 30.0}, 1.0),
        ({1.0: 1.2}, {}, 1.0),
    ],
)
def test_the_limit_is_below_what_first_makes_any_kind_worse(shares, turns, expected):
    fine = outcome(np.full(len(STRENGTHS), 0.5))
    other = outcome(
        [shares.get(s, 0.5) for s in STRENGTHS], [turns.get(s, 10.0) for s in STRENGTHS]
    )
    assert guided.limit([fine, other]) == expected


def best(*outcomes):
    """The strength for the change of the outcomes."""
    strength, error = guided.best_trust(outcomes)
    return strength / (1 + (error / outcomes[0].changes[0]) ** 2)


def test_the_best_strength_leaves_least_over_all_kinds_alike():
    assert best(outcome(parabola(0.6, 0.5))) == pytest.approx(0.6, abs=0.03)
    assert best(outcome(parabola(2.0, 0.5))) == 1.0
    both = [outcome(parabola(0.4, 0.5)), outcome(parabola(0.8, 0.5))]
    assert 0.4 < best(*both) < 0.8
    # The larger errors of one kind do not make it count for more.
    large = [both[0], both[1]._replace(errors=9 * both[1].errors)]
    assert best(*large) == best(*both)


def test_small_changes_are_trusted_less_where_they_are_mostly_error():
    large, small = outcome(parabola(0.9, 0.3)), outcome(parabola(0.3, 0.8), change=5.0)
    strength, error = guided.best_trust([large, small])
    shares = [strength * change**2 / (change**2 + error**2) for change in (30.0, 5.0)]
    assert shares == pytest.approx([0.9, 0.3], abs=0.1)
    assert large.trusted(guided.Trust(0.9, 0.0)).errors[0].tolist() == pytest.approx([100.0, 30.0])
    assert small.trusted(guided.Trust(1.0, 5.0)).shares[1] == pytest.approx(parabola(0.3, 0.8)[3])
    # No error is the best where small changes are as sure as large ones.
    assert guided.best_trust([large, large._replace(changes=np.full(2, 5.0))]).error == 0


def test_psnr_counts_beside_the_share():
    strong = outcome(parabola(1.0, 0.5), error=1000.0).errors
    slight = outcome(1 + 40 * np.array(STRENGTHS), error=0.1).errors
    together = Outcome(np.concatenate([strong, slight]), np.empty(0), np.full(4, 30.0))
    assert together.shares[ONE] < 0.51
    assert together.decibels[ONE] < -5
    assert best(together) < 0.5


@pytest.mark.parametrize(("finer", "expected"), [(0.4, True), (0.7, False)])
def test_what_is_fitted_for_regions_that_are_told(finer, expected):
    found = {("exact", False): {"mixed": outcome(parabola(0.9, 0.3))}}
    for given in ROUGH:
        found[given, False] = {"mixed": outcome(parabola(0.5, 0.6))}
        found[given, True] = {"mixed": outcome(parabola(0.7, finer))}
    fitted = guided.fit(found)
    assert (fitted["refines"], fitted["limit"]) == (expected, 1.75)
    calibration = Calibration(0.0, (0.5,), (1.0,), **fitted)
    strengths = calibration.told_strengths(torch.tensor([30.0, 30.0]), [False, True])
    assert strengths.tolist() == pytest.approx([0.9, 0.7 if expected else 0.5], abs=0.03)


def test_strengths_come_to_what_the_scores_say(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    model = build(8, "none").eval()
    torch.nn.init.normal_(model.backbone.out.weight, std=0.05)
    found = guided.outcomes(model, packed, size=32)
    assert all([*of_hint] == ["mixed", *KINDS] for of_hint in found.values())
    of_kind = found["exact", False]["light"]
    for strength, told in (1.0, 1.0), (0.5, 0.5):
        # So small, some outlines are those of boxes.
        model.calibration = Calibration(0.0, (0.5,), (1.0,), told=told, rough=told)
        rows = score(model, packed, ("exact",), size=32, kind="light", untouched=False)
        place = STRENGTHS.index(strength)
        errors = of_kind.errors[:, place]
        assert errors == pytest.approx(np.array([row.after for row in rows]), rel=0.05)
        decibels = mean([row.decibels for row in rows])
        assert of_kind.decibels[place] == pytest.approx(decibels, rel=0.05)
        assert of_kind.shares[place] != 1
    tables = guided.tables(found)
    assert list(tables)[::2] == ["exact", "boxes, refined", "scribbles, refined"]
    lines = tables["exact"].splitlines()
    assert lines[0] == "| strength | mixed | filters | transfer | light |"
    assert (len(lines), lines[2].count("°")) == (2 + len(STRENGTHS), 4)
    assert len(tables["boxes"].splitlines()) == 2 + ONE + 1


class Darkens(torch.nn.Module):
    """Darkens what is inside, the more the larger or smaller it is; its gate opens above."""

    def __init__(self, power, gate):
        super().__init__()
        self.power, self.gate = power, torch.nn.Parameter(torch.tensor(gate))

    def forward(self, x):
        inside = x[:, 3:].clamp_min(0)
        amount = inside.mean((1, 2, 3), keepdim=True).clamp_min(0.01) ** self.power
        gate = self.gate.expand(len(x), 1, *x.shape[2:]).clone()
        gate[:, :, x.shape[2] // 2 :] = -9.0
        return torch.cat([-5 * amount * (inside > 0), gate], 1)


@pytest.mark.filterwarnings(f"ignore:{EMPTY}")
@pytest.mark.parametrize(("gate", "same"), [(9.0, False), (-9.0, True)])
def test_rough_regions_are_tried_as_they_are_and_refined(listed_photos, gate, same):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    network, retoucher = Darkens(1.0, gate), Retoucher(Gated(Add(LAB, "l")))
    model = OperatorMaskWrapper(network, retoucher, region=True, head=OutputHead()).eval()
    found = guided.outcomes(model, packed, size=32)
    as_told, finer = (found["boxes", f]["mixed"].errors for f in (False, True))
    assert np.array_equal(as_told, finer) is same  # nothing is found where the gate is shut
