import pytest
import torch
from reproduction.small import kinds, pool, scoring

from opmask.perturb import ColorTransfer, Filter, Light, PerturbationRecord, composite


@pytest.fixture
def packed(listed_photos):
    return pool.pack(pool.Pool(listed_photos, "validation", size=64), listed_photos / "packed")


@pytest.mark.parametrize(
    ("kind", "change"), [("filters", Filter), ("transfer", ColorTransfer), ("light", Light)]
)
def test_each_kind_changes_one_region_in_its_way(packed, kind, change):
    applied = kinds.draw_kind(kind, packed, 0, seed=3)
    assert [type(region.perturbations[0]) for region in applied.regions] == [change]
    assert PerturbationRecord.from_json(applied.to_json()) == applied


def test_a_transfer_takes_the_colours_of_another_photo(packed):
    applied = kinds.draw_kind("transfer", packed, 0, seed=3)
    made = composite(packed.images[0], packed.labels[0].long(), applied)
    both = torch.stack([made.real, made.composite])[:, :, made.region[0] > 0]
    was, became = (kinds.mean(pixels[:, None] * 255) for pixels in both)
    shift = applied.regions[0].perturbations[0].shift
    moved = (became - was) * torch.tensor([100, 128, 128])
    torch.testing.assert_close(moved, torch.tensor(shift), atol=4.0, rtol=0)


def test_small_regions_are_left_alone_where_there_are_large_ones():
    label_map = torch.zeros(20, 20, dtype=torch.uint8)
    label_map[0, 0], label_map[10:] = 3, 7
    rng = kinds.make_rng(0)
    assert {kinds.pick_region(label_map, rng) for _ in range(20)} == {7}
    label_map[10:] = 0
    assert kinds.pick_region(label_map, rng) == 3


def test_scores_are_said_by_kind(packed):
    scenes = [next(scoring.scenes(packed, (), kind)) for kind in ("mixed", *kinds.KINDS)]
    changed = [{kinds.family(record) for record in scene.made.applied} for scene in scenes]
    assert changed[2:] == [{"transfer"}, {"light"}]
    assert changed[1] <= {"photo filter", "photo filter, scaling"}
