import pytest
import torch
from reproduction.small import limits, pool
from reproduction.small.kinds import KINDS
from reproduction.small.limits import STRENGTHS, Outcome
from reproduction.small.network import build
from reproduction.small.scoring import mean, score

from opmask import LAB


def of_hue(*degrees, chroma=0.2):
    """Pixels of the same lightness and these hues, (1, 3, 1, N)."""
    angle = torch.deg2rad(torch.tensor(degrees).float())
    lab = [torch.full_like(angle, 0.6), chroma * angle.cos(), chroma * angle.sin()]
    return LAB.to_rgb(torch.stack(lab)[None, :, None])


def test_hues_turn_by_the_shorter_way_inside_the_region():
    region = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    turn = limits.hue_turns(of_hue(350, 50, 0), of_hue(10, 40, 180), region)
    assert turn.tolist() == pytest.approx([15.0], abs=0.2)


def test_the_hue_of_greys_does_not_count():
    real = torch.cat([of_hue(10), torch.full((1, 3, 1, 1), 0.5)], 3)
    turn = limits.hue_turns(of_hue(40, 90), real, torch.ones(1, 1, 1, 2))
    assert turn.tolist() == pytest.approx([30.0], abs=0.2)
    assert limits.hue_turns(real[..., 1:], real[..., 1:], torch.ones(1, 1, 1, 1)) == 0


def found(**changes):
    """Two kinds, of which nothing is made worse, but for `changes`."""
    fine = dict.fromkeys(STRENGTHS, Outcome(0.5, 10.0)) | {0.0: Outcome(1.0, 20.0)}
    return {"filters": fine, "light": fine | {float(k[1:]) / 4: v for k, v in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3.0),
        ({"_8": Outcome(1.1, 10.0)}, 1.75),
        ({"_6": Outcome(0.5, 11.1)}, 1.25),
        ({"_6": Outcome(0.5, 10.9)}, 3.0),
        ({"_12": Outcome(2.0, 30.0), "_5": Outcome(1.01, 0.0)}, 1.0),
        ({"_4": Outcome(1.2, 10.0)}, 1.0),
    ],
)
def test_the_limit_is_below_what_first_makes_any_kind_worse(changes, expected):
    assert limits.limit(found(**changes)) == expected


def test_strengths_0_and_1_come_to_what_doing_nothing_and_the_scores_say(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "train", size=32), listed_photos / "packed")
    model = build(8, "none").eval()
    torch.nn.init.normal_(model.backbone.out.weight, std=0.05)
    outcomes = limits.outcomes(model, packed, size=32)
    assert [*outcomes] == ["mixed", *KINDS]
    of_kind = outcomes["light"]
    rows = score(model, packed, ("exact",), size=32, kind="light", untouched=False)
    assert of_kind[0.0].share == 1
    share = mean([row.after for row in rows]) / mean([row.before for row in rows])
    assert of_kind[1.0].share == pytest.approx(share) != 1
    lines = limits.table(outcomes).splitlines()
    assert lines[0] == "| strength | mixed | filters | transfer | light |"
    assert len(lines) == 2 + len(STRENGTHS)
