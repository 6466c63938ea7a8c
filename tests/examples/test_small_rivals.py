import numpy as np
import pytest
import torch
from reproduction.small import pool, rivals
from reproduction.small.scoring import scenes, squared_error
from skimage.color import lab2rgb, rgb2lab

LEFT = torch.zeros(16, 16, dtype=torch.bool)
LEFT[:, :6] = True


@pytest.fixture
def image():
    """A photo whose left part is darker than the rest."""
    photo = torch.randint(90, 170, (3, 16, 16), dtype=torch.uint8)
    photo[:, LEFT] //= 2
    return photo


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_reinhard_is_what_its_formula_says_in_the_lab_of_scikit_image(image, strength):
    lab = rgb2lab(image.permute(1, 2, 0).numpy() / 255)
    inside, outside = lab[LEFT.numpy()], lab[~LEFT.numpy()]
    whole = outside.mean(0) + (inside - inside.mean(0)) * outside.std(0) / inside.std(0)
    expected = 255 * lab2rgb(inside + strength * (whole - inside))
    made = rivals.reinhard(image, LEFT, strength)
    np.testing.assert_allclose(made[:, LEFT].T.numpy(), expected, atol=0.8)


def test_matched_histograms_give_each_rank_the_level_of_that_rank_in_the_surroundings():
    levels = torch.tensor([[10, 30, 20, 40, 100, 130, 110, 120]], dtype=torch.uint8)
    made = rivals.match_histogram(levels.expand(3, 1, 8), torch.arange(8)[None] < 4)
    assert made[:, 0, :4].tolist() == [[100, 120, 110, 130]] * 3


@pytest.mark.parametrize("rival", rivals.RIVALS.values())
def test_rivals_leave_the_surroundings_alone(image, rival):
    made = rival(image, LEFT)
    assert torch.equal(made[:, ~LEFT], image[:, ~LEFT])
    assert (made[:, LEFT] != image[:, LEFT]).any()


@pytest.mark.parametrize("region", [torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)])
def test_where_there_is_nothing_to_compare_with_nothing_is_changed(image, region):
    images = image[None] / 255
    made = rivals.apply(rivals.match_histogram, images, region.bool())
    torch.testing.assert_close(made, images)


def test_rivals_are_scored_on_the_composites_of_the_model(listed_photos):
    packed = pool.pack(pool.Pool(listed_photos, "validation", size=32), listed_photos / "packed")
    rows = rivals.score_rivals(packed, ("exact",), kind="light")
    (scene,) = scenes(packed, ("exact",), "light")
    assert [row.by for row in rows[::3]] == ["nothing", *rivals.RIVALS]
    assert {(row.kind, row.changed) for row in rows} == {("light", "light")}
    made = rivals.apply(rivals.reinhard, scene.made.composite, scene.prompts["exact"] > 0)
    expected = squared_error(made, scene.made.real).tolist()
    assert [row.after for row in rows if row.by == "Reinhard"] == expected
