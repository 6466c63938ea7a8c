import pytest
import torch
from changes import ALL, CHAINS, by_definition, photo, swap

from opmask.perturb import FILTERS, OTHER_FILTERS, Cube, Filter, LabScaling, RegionChange, draw
from opmask.perturb.batched import change_regions_batched
from opmask.perturb.filters import filter_pipeline
from opmask.perturb.filters.batched_lookup import NO_CHANGE, BatchedLookup
from opmask.perturb.records import PerturbationRecord

CPU = torch.device("cpu")


def together(samples, **options):
    """The changed photos, and their regions, of several samples made at once."""
    images, label_maps, applied = zip(*samples, strict=True)
    changes = [(i, change) for i, record in enumerate(applied) for change in record.regions]
    made = change_regions_batched(torch.stack(images), torch.stack(label_maps), changes, **options)
    return made.scatter(torch.stack(images), made.levels), made.inside


def check(chains, **options):
    """Two photos, the second with all chains in regions of its own."""
    regions = tuple(RegionChange(n, chain) for n, chain in enumerate(chains, 1))
    some = PerturbationRecord(0, (RegionChange(5, (Filter("rise"),)),))
    samples = [(*photo(0), some), (*photo(1), PerturbationRecord(0, regions))]
    changed, inside = together(samples, **options)
    for made, region, sample in zip(changed, inside, samples, strict=True):
        assert torch.equal(made, by_definition(*sample))
        labels = torch.tensor([change.label for change in sample[2].regions])
        assert torch.equal(region, torch.isin(sample[1], labels))


@pytest.mark.parametrize("name", FILTERS + OTHER_FILTERS)
def test_a_filter_of_a_region_is_that_of_the_whole_image(name):
    check([(Filter(name), Filter("sepia", 0.7)), (Filter(name),)])


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_are_applied_in_order(chain):
    check([chain])


def test_regions_may_have_any_number_of_steps():
    check([*CHAINS, (), (Filter("contrast", 0.5),)])


def test_all_regions_may_do_nothing():
    check([()])


def test_scalings_have_their_own_factors():
    check([(LabScaling((0.8, 1.1, 1.2)),), (LabScaling((1.2, 0.9, 0.8)),), (Filter("moon"),)])


def test_colour_tables_are_looked_up_for_their_regions(tmp_path):
    corners = [f"{1 - r} {g} {b / 2}" for b in (0, 1) for g in (0, 1) for r in (0, 1)]
    path = tmp_path / "warm.cube"
    path.write_text("\n".join(["LUT_3D_SIZE 2", *corners]))
    check([(Cube(path),), (Filter("moon"), Cube(path)), (Filter("maven"),)])


@pytest.mark.parametrize("chain", [(swap,), (Filter("rise"), swap), (swap, Filter("rise"))])
def test_perturbations_of_ones_own_see_the_whole_image(chain):
    check([chain, (Filter("moon"),)])


@pytest.mark.parametrize("settings", ALL)
def test_drawn_changes_equal_their_definition(settings):
    samples = [(*photo(n), draw(photo(n)[1], n, settings)) for n in range(12)]
    changed, _ = together(samples)
    assert all(map(torch.equal, changed, [by_definition(*sample) for sample in samples]))


def test_labels_beyond_those_of_regions_are_of_no_region():
    image, label_map = photo()
    label_map[label_map > 5] = 1000
    check_one = PerturbationRecord(0, (RegionChange(5, (Filter("moon"),)),))
    changed, _ = together([(image, label_map, check_one)])
    assert torch.equal(changed[0], by_definition(image, label_map, check_one))


def test_labels_that_no_pixel_has_are_named():
    applied = PerturbationRecord(
        0, (RegionChange(3, (Filter("moon"),)), RegionChange(77, (Filter("moon"),)))
    )
    with pytest.raises(ValueError, match="must name labels of 'label_map', got 77, which no"):
        together([(*photo(), applied)])


@pytest.mark.slow
def test_compiled_lookups_give_the_same_bits():
    for some in (CHAINS[:1], CHAINS[1:4], CHAINS[4:], CHAINS, [(swap,), ()]):
        check(some, compile=True)


@pytest.mark.parametrize("compile", [False, True])
def test_lookups_are_compiled_if_asked(monkeypatch, compile):
    from opmask.perturb.filters import batched_lookup

    calls = []
    monkeypatch.setattr(batched_lookup, "_compiled", lambda: lambda *x: calls.append(1) or x[0])
    check_one = PerturbationRecord(0, (RegionChange(5, (Filter("moon"),)),))
    together([(*photo(), check_one)], compile=compile)
    assert len(calls) == compile


def test_a_pipeline_that_does_nothing_leaves_levels_alone():
    levels = torch.randint(0, 256, (3, 40), dtype=torch.uint8)
    regions = torch.arange(40, dtype=torch.int32) % 2
    pipelines = [NO_CHANGE, (filter_pipeline("walden", None),)]
    made = BatchedLookup(pipelines, 5, 8, CPU).run(
        levels, regions, torch.arange(40).int(), compile=False
    )
    assert torch.equal(made[:, ::2], levels[:, ::2])
    assert torch.equal(made[:, 1::2], filter_pipeline("walden", None).run(levels[:, 1::2], None))


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
def test_a_batch_is_changed_the_same_on_a_gpu(compile):
    samples = [(*photo(n), draw(photo(n)[1], n)) for n in range(12)]
    expected, _ = together(samples)
    on_gpu = [(image.cuda(), label_map.cuda(), applied) for image, label_map, applied in samples]
    assert torch.equal(together(on_gpu, compile=compile)[0].cpu(), expected)
