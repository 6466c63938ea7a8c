import pytest
import torch

from opmask.datasets.region_prompts import REGION_PROMPTS, region_prompt


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def regions():
    """Two squares with different labels, and one alone."""
    maps = torch.zeros(2, 100, 120, dtype=torch.long)
    maps[0, 10:30, 20:50] = 3
    maps[0, 60:90, 70:100] = 200
    maps[1, 40:60, 40:60] = 7
    return maps


def test_unknown_says_nothing_and_exact_says_all(regions):
    unknown, exact = region_prompt(regions, ["unknown", "exact"])
    assert (unknown == -1).all()
    torch.testing.assert_close(exact[0], (regions[1] > 0).float())


def test_each_image_gets_its_own_kind(regions):
    prompt = region_prompt(regions.repeat(2, 1, 1), ["exact", "unknown", "unknown", "exact"])
    torch.testing.assert_close(prompt[[0, 3], 0], (regions > 0).float())
    assert (prompt[1:3] == -1).all()


def test_a_dilated_region_grows_by_one_to_six_percent_of_the_height(regions):
    for seed in range(20):
        prompt = region_prompt(regions[1:], ["dilated"], generator=generator(seed))[0, 0]
        rows = prompt.any(1).nonzero()[:, 0]
        grown = 40 - int(rows[0])
        assert 1 <= grown <= 6
        assert int(rows[-1]) == 59 + grown
        torch.testing.assert_close(prompt, prompt.round())


def test_dilated_regions_differ_in_how_much_they_grow(regions):
    prompts = region_prompt(regions[1:].repeat(9, 1, 1), ["dilated"] * 9, generator=generator())
    assert len(prompts.sum((1, 2, 3)).unique()) > 2


def test_boxes_stand_around_each_region_but_for_an_error(regions, monkeypatch):
    monkeypatch.setattr("opmask.datasets.region_prompts.BOX_ERROR", 0.0)
    shape = torch.zeros_like(regions)
    shape[0, 10:30, 20], shape[0, 10, 20:50] = 3, 3  # an L, of which the box is the square
    shape[0, 60:90, 70:100] = regions[0, 60:90, 70:100]
    shape[1] = regions[1]
    prompt = region_prompt(shape, ["boxes", "boxes"])
    torch.testing.assert_close(prompt[:, 0], (regions > 0).float())


def test_the_edges_of_boxes_are_off_by_two_percent_of_the_height(regions):
    prompts = region_prompt(regions[1:].repeat(400, 1, 1), ["boxes"] * 400, generator=generator())
    tops = prompts[:, 0].any(2).float().argmax(1).float()
    assert abs(tops.mean() - 40) < 0.5
    assert 1.6 < tops.std() < 2.4


def test_scribbles_are_short_and_never_wrong(regions):
    prompts = region_prompt(regions, ["scribbles"] * 2, generator=generator())[:, 0]
    assert (prompts[regions > 0] != 0).all()
    assert (prompts[regions == 0] != 1).all()
    assert ((prompts == -1).float().mean((1, 2)) > 0.8).all()
    assert all((prompt == value).any() for prompt in prompts for value in (0, 1))


@pytest.fixture
def one_stroke(monkeypatch):
    """Makes a single scribble of each region, a given share of the way to another place long."""

    def scribble(regions, share):
        monkeypatch.setattr("opmask.datasets.region_prompts.STROKES", 1)
        monkeypatch.setattr("opmask.datasets.region_prompts.STROKE_LENGTH", (share, share))
        prompts = region_prompt(regions, ["scribbles"] * len(regions), generator=generator())
        return prompts[:, 0] == 1

    return scribble


def test_a_scribble_is_three_percent_of_the_height_wide(one_stroke):
    dots = one_stroke(torch.ones(50, 100, 120, dtype=torch.long), 0.0)
    for dot in dots:
        rows, columns = dot.nonzero().unbind(1)
        inside = dot[1:-1, 1:-1].sum() == len(rows)
        assert not inside or len(rows) == 9  # a radius of 1.5
        assert int(rows.max() - rows.min()) <= 2
        assert int(columns.max() - columns.min()) <= 2


def test_a_scribble_goes_a_share_of_the_way_to_another_place(one_stroke):
    regions = torch.zeros(400, 100, 120, dtype=torch.long)
    regions[:, 50, 10:110] = 1  # places in a row are 33 pixels apart on average
    lengths = one_stroke(regions, 0.5).sum((1, 2)).float()
    assert lengths.max() <= 0.5 * 99 + 3
    assert abs(lengths.mean() - (0.5 * 33.3 + 3)) < 1.5


def test_scribbles_begin_anywhere_in_the_region_and_nowhere_else(one_stroke):
    regions = torch.zeros(300, 3, 4, dtype=torch.long)
    regions[:, 1, 1], regions[:, 1, 3], regions[:, 2, 0] = 1, 1, 1
    begun = one_stroke(regions, 0.0).sum(0)
    assert begun.nonzero().tolist() == [[1, 1], [1, 3], [2, 0]]
    assert begun[begun > 0].min() > 70


@pytest.mark.parametrize("kind", REGION_PROMPTS)
def test_nothing_and_everything_changed_are_both_fine(kind):
    maps = torch.stack([torch.zeros(32, 40), torch.ones(32, 40)]).long()
    nothing, everything = region_prompt(maps, [kind] * 2, generator=generator())
    assert not (nothing == 1).any()
    assert kind == "boxes" or not (everything == 0).any()


@pytest.mark.parametrize("kind", REGION_PROMPTS)
def test_the_same_generator_draws_the_same(kind, regions):
    first, second = (region_prompt(regions, [kind] * 2, generator=generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert first.shape == (2, 1, 100, 120)


def test_an_unknown_kind_and_a_wrong_number_are_refused(regions):
    with pytest.raises(ValueError, match=r"'kinds' must be among unknown, exact, .*\['box'\]"):
        region_prompt(regions, ["box", "exact"])
    with pytest.raises(ValueError, match="one for each of 2, got 1"):
        region_prompt(regions, ["exact"])
