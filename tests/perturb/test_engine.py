from dataclasses import replace

import pytest
import torch
from changes import ALL, CHAINS, by_definition, photo, swap

from opmask.perturb import (
    DEFAULT,
    FILTERS,
    OTHER_FILTERS,
    REFERENCE,
    Filter,
    PerturbationRecord,
    Perturber,
    RegionChange,
    draw,
)
from opmask.perturb.engine import change_regions


def check(chain, **options):
    image, label_map = photo()
    applied = PerturbationRecord(0, (RegionChange(3, chain), RegionChange(7, (Filter("moon"),))))
    changed, region = change(image, label_map, applied, **options)
    assert torch.equal(changed, by_definition(image, label_map, applied))
    assert torch.equal(region, (label_map == 3) | (label_map == 7))


def change(image, label_map, applied, **options):
    """The changed photo and region of one sample."""
    made = change_regions(image[None], label_map[None], [applied], **options)
    return made.scatter(image[None], made.levels)[0], made.inside[0]


@pytest.mark.parametrize("name", FILTERS + OTHER_FILTERS)
def test_a_filter_of_a_region_is_that_of_the_whole_image(name):
    check((Filter(name), Filter("sepia", 0.7)))


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_are_applied_in_order(chain):
    check(chain)


@pytest.mark.parametrize("chain", [(swap,), (Filter("rise"), swap), (swap, Filter("rise"))])
def test_perturbations_of_ones_own_see_the_whole_image(chain):
    check(chain)


def test_perturbations_of_ones_own_may_be_any_callable():
    table = {0: 100}  # not hashable, as many callables
    check((lambda image: image.clamp(min=table[0]),))


@pytest.mark.parametrize("settings", ALL)
def test_drawn_changes_equal_their_definition(settings):
    for seed in range(12):
        image, label_map = photo(seed)
        applied = draw(label_map, seed, settings)
        changed, _ = change(image, label_map, applied)
        assert torch.equal(changed, by_definition(image, label_map, applied))


def test_the_photo_and_its_labels_may_have_any_memory_layout():
    image, label_map = photo()
    applied = draw(label_map, 0)
    expected, _ = change(image, label_map, applied)
    strided = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    changed, _ = change(strided, label_map.mT.contiguous().mT, applied)
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("bad", [lambda image: image.float(), lambda image: image[:, 1:]])
def test_perturbations_that_give_something_else_are_refused(bad):
    with pytest.raises(
        ValueError, match=r"must give an 8-bit image of the size .* from <function"
    ):
        check((bad,))
    with pytest.raises(TypeError, match=r"must give an 8-bit image .* got NoneType from"):
        check((lambda image: None,))


def test_what_draws_a_perturbation_must_return_it():
    _, label_map = photo()
    with pytest.raises(TypeError, match=r"called with an image, got None\. What draws one"):
        draw(label_map, 0, replace(DEFAULT, draw_first=lambda rng: None))


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("size", [None, 16])
def test_batches_may_be_split_anyhow(settings, size):
    images, label_maps = (torch.stack(part) for part in zip(*map(photo, range(6)), strict=True))
    perturber = Perturber(replace(settings, degradation_rate=0.3))
    whole = perturber(images, label_maps, list(range(6)), size=size)
    for some in (slice(0, 1), slice(1, 4), slice(4, 6)):
        seeds = list(range(6))[some]
        part = perturber(images[some], label_maps[some], seeds, size=size)
        for name in ("composite", "real", "region"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[some])


def test_nothing_is_compiled_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    images, label_maps = (part[None] for part in photo())
    made = Perturber(REFERENCE, compile=True)(images, label_maps, [0], size=16)
    assert torch.equal(
        made.composite, Perturber(REFERENCE)(images, label_maps, [0], size=16).composite
    )


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL)
def test_compiled_composites_are_the_same_on_a_gpu(settings):
    images, label_maps = (
        torch.stack(part).cuda() for part in zip(*map(photo, range(12)), strict=True)
    )
    plain, compiled = Perturber(settings), Perturber(settings, compile=True)
    expected = plain(images, label_maps, list(range(12)), size=16)
    made = compiled(images, label_maps, list(range(12)), size=16)
    assert torch.equal(made.composite, expected.composite)
    assert torch.equal(made.region, expected.region)


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
def test_regions_are_changed_the_same_on_a_gpu(chain, compile):
    image, label_map = photo()
    applied = PerturbationRecord(0, (RegionChange(3, chain), RegionChange(7, (Filter("rise"),))))
    expected, _ = change(image, label_map, applied)
    changed, _ = change(image.cuda(), label_map.cuda(), applied, compile=compile)
    assert torch.equal(changed.cpu(), expected)
