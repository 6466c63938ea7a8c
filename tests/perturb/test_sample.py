import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from opmask.perturb import (
    DEFAULT,
    REFERENCE,
    Composite,
    CompositeBatch,
    PerturbationRecord,
    Perturber,
    RegionChange,
    collate,
    composite,
    draw,
)


def samples(count=3, settings=DEFAULT, size=(5, 7)):
    """Composites of grey images, with their records."""
    label_map = torch.arange(size[0] * size[1]).view(size) % 4
    image = torch.full((3, *size), 128, dtype=torch.uint8)
    return [composite(image, label_map, draw(label_map, s, settings)) for s in range(count)]


def same(first, second):
    return first.applied == second.applied and all(map(torch.equal, first[:3], second[:3]))


def test_batches_hold_the_samples_one_after_the_other():
    made = samples()
    batch = collate(made)
    assert isinstance(batch, CompositeBatch)
    for sample, parts in zip(made, zip(*batch, strict=True), strict=True):
        assert same(sample, Composite(*parts))


def test_batches_of_samples_are_those_of_the_perturber():
    label_maps = torch.arange(3 * 40).view(3, 5, 8) % 5
    images = torch.full((3, 3, 5, 8), 90, dtype=torch.uint8)
    alone = [Perturber()(images[i, None], label_maps[i, None], [i]) for i in range(3)]
    made = collate([Composite(*(part[0] for part in batch)) for batch in alone])
    assert same(made, Perturber()(images, label_maps, [0, 1, 2]))


@pytest.mark.parametrize("settings", [DEFAULT, REFERENCE])
def test_records_come_out_of_worker_processes_as_they_went_in(settings):
    made = samples(settings=settings)
    (batch,) = DataLoader(made, 3, collate_fn=collate, num_workers=1)
    assert same(batch, collate(made))
    assert all(same(pickle.loads(pickle.dumps(sample)), sample) for sample in made)


def test_records_that_cannot_leave_a_worker_process_are_refused():
    local = RegionChange(1, (lambda image: image,))
    made = [sample._replace(applied=PerturbationRecord(0, (local,))) for sample in samples()]
    assert len(collate(made).applied) == 3
    with pytest.raises(
        TypeError, match=r"'applied' must be picklable to leave a worker process, "
    ):
        list(DataLoader(made, 3, collate_fn=collate, num_workers=1))


def test_samples_without_a_record_have_none_in_a_batch():
    first, second = samples(2)
    assert collate([first, second._replace(applied=None)]).applied == (first.applied, None)


def test_samples_of_several_sizes_are_refused():
    message = r"'samples' must hold samples of one size, got sizes \[\(4, 4\), \(5, 7\)\]\. Resize"
    with pytest.raises(ValueError, match=message):
        collate(samples() + samples(size=(4, 4)))


def test_no_samples_are_refused():
    with pytest.raises(
        ValueError, match=r"'samples' must hold samples of one size, got sizes \[\]"
    ):
        collate([])


def test_batches_move_with_their_records():
    batch = collate(samples())
    moved = batch.to("meta")
    assert {plane.device.type for plane in moved[:3]} == {"meta"}
    assert moved.applied is batch.applied
    assert same(batch.to(torch.device("cpu")), batch)
