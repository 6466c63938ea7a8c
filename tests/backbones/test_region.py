import pytest
import torch

from opmask.backbones import paste

OUTPUT, IMAGE = torch.rand(2, 2, 3, 8, 9)
REGION = torch.rand(2, 1, 8, 9)


def test_each_pixel_is_blended_by_the_region():
    pasted = paste(OUTPUT, IMAGE, REGION)
    r = REGION[1, 0, 4, 5]
    wanted = r * OUTPUT[1, :, 4, 5] + (1 - r) * IMAGE[1, :, 4, 5]
    torch.testing.assert_close(pasted[1, :, 4, 5], wanted)


def test_what_is_outside_stays_to_the_last_bit():
    hard = REGION > 0.5
    pasted = paste(OUTPUT, IMAGE, hard)
    assert torch.equal(pasted, torch.where(hard, OUTPUT, IMAGE))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((OUTPUT.byte(), IMAGE, REGION), TypeError, "'output' must be floating point"),
        ((OUTPUT, IMAGE.byte(), REGION), TypeError, "'image' must be floating point"),
        ((OUTPUT, IMAGE[..., :4], REGION), ValueError, "'image' must have the shape of 'output'"),
        ((OUTPUT, IMAGE, REGION.byte()), TypeError, "'region' must be bool or floating point"),
        ((OUTPUT, IMAGE, REGION[:1]), ValueError, "'region' must have shape .2, 1, 8, 9. to fit"),
        ((OUTPUT, IMAGE, IMAGE), ValueError, "'region' must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        paste(*arguments)
