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


def test_a_scribble_ends_where_it_should_and_is_three_percent_of_the_height_wide(monkeypatch):
    places = torch.tensor([[[50.0, 20.0], [50.0, 100.0]] * 3]).view(1, 6, 2)
    monkeypatch.setattr("opmask.datasets.region_prompts._places", lambda *_: places)
    monkeypatch.setattr("opmask.datasets.region_prompts.STROKE_LENGTH", (0.5, 0.5))
    prompt = region_prompt(torch.ones(1, 100, 120, dtype=torch.long), ["scribbles"])[0, 0]
    rows, columns = (prompt == 1).nonzero().unbind(1)
    assert (int(rows.min()), int(rows.max())) == (49, 51)  # a radius of 1.5
    assert (int(columns.min()), int(columns.max())) == (19, 61)


def test_the_places_of_scribbles_are_anywhere_in_the_area_and_nowhere_else():
    from opmask.datasets.region_prompts import _places

    area = torch.zeros(1, 3, 4, dtype=torch.bool)
    area[0, 1, 1], area[0, 1, 3], area[0, 2, 0] = True, True, True
    places = _places(area, 300, generator())[0].int().tolist()
    found = {tuple(place): places.count(place) for place in places}
    assert found.keys() == {(1, 1), (1, 3), (2, 0)}
    assert min(found.values()) > 70


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
