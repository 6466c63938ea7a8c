from dataclasses import replace

import pytest
import torch
from reproduction import data
from reproduction.recipes import HSCENE


@pytest.mark.parametrize(("processes", "size", "batches"), [(4, 64, 1), (1, 64, 4), (2, 16, 8)])
def test_a_step_of_the_paper_has_256_images(processes, size, batches):
    recipe = replace(HSCENE["paper"]["om"], batch_size=size)
    share = data.share_steps(recipe, 0, processes=processes)
    assert (share.batches, share.step_size) == (batches, 256)


def test_a_step_that_cannot_be_shared_is_refused():
    with pytest.raises(SystemExit, match="256 images, which cannot be shared by 3 processes"):
        data.share_steps(HSCENE["paper"]["om"], 0, processes=3)


def test_opmask_s_own_recipe_takes_the_batches_as_they_come():
    assert data.share_steps(HSCENE["small"]["om"], 0, processes=3).batches == 1


def test_accumulated_batches_may_be_asked_for_and_are_shared_one_after_the_other():
    first, second = (data.share_steps(HSCENE["paper"]["om"], 2, place, 3) for place in (0, 1))
    assert first.positions(0) == [range(0, 64), range(192, 256)]
    assert second.positions(1) == [range(448, 512), range(640, 704)]


def test_batches_are_the_composites_one_after_the_other(monkeypatch):
    monkeypatch.setattr(data, "VALIDATION", 18)
    loader = data.validation_loader(None, 32)
    batches = list(loader)
    assert [len(batch.real) for batch in batches] == [16, 2]
    expected = data.validation_set(None, 32)[17]
    assert torch.equal(batches[1].composite[1], expected.composite)


def test_recompressed_batches_are_made_by_the_library(monkeypatch):
    monkeypatch.setattr(data, "VALIDATION", 2)
    (batch,) = data.validation_loader(None, 32, recompress=True)
    expected = data.RecompressedComposites(data.validation_set(None, 32))[1]
    assert torch.equal(batch.composite[1], expected.composite)
