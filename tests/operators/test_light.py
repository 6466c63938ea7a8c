import pytest
import torch

from opmask import MaskRange, Retoucher
from opmask.operators import Dehaze, Exposure, Relight, ToneEqualizer


def test_a_stop_is_twice_the_light():
    """sRGB 0.5 is 0.2140 of linear light (IEC 61966-2-1), and 0.4281 is sRGB 0.6858."""
    image = torch.full((1, 3, 1, 1), 0.5)
    output = Retoucher(Exposure())(image, {"exposure": torch.ones(1, 1, 1, 1)})
    torch.testing.assert_close(output, torch.full_like(image, 0.6858), rtol=0, atol=1e-4)


def test_haze_that_was_added_by_the_model_is_taken_out():
    """Where the scene's darkest channel is black, it gives all of the haze away (He, 2009)."""
    scene = torch.rand(1, 3, 8, 8)
    scene[:, 1] = 0
    hazy = scene * 0.6 + 0.9 * 0.4
    dark = hazy.amin(1, keepdim=True) / 0.9
    output = Dehaze(airlight=0.9)(hazy, 0.4 / dark)
    torch.testing.assert_close(output, scene, rtol=0, atol=1e-5)


@pytest.mark.parametrize("airlight", [0.0, 1.1, float("nan")])
def test_light_of_the_air_that_is_none_is_refused(airlight):
    with pytest.raises(ValueError, match=r"'airlight' must be in \(0, 1\], got"):
        Dehaze(airlight=airlight)


def test_haze_is_not_taken_out_whole():
    with pytest.raises(ValueError, match="'ranges' must keep 'dehaze' below 1, got up to 1"):
        Dehaze(ranges={"dehaze": MaskRange(0.0, -1.0, 1.0)})


def test_a_zone_of_the_equalizer_is_one_stop_wide():
    operator, masks = ToneEqualizer(zones=4), torch.zeros(1, 4, 1, 1)
    masks[:, 2] = 1.0
    stops = {0.5: 1.0, 0.5**0.5: 0.5, 1.0: 0.0, 0.25: 0.0, 0.5**1.5: 0.5}
    for value, expected in stops.items():
        output = operator(torch.full((1, 3, 1, 1), value), masks)
        assert (output / value).log2().flatten().tolist() == pytest.approx(
            [expected] * 3, abs=1e-5
        )


def test_equal_zones_are_an_exposure():
    image = torch.rand(1, 3, 8, 8)
    output = ToneEqualizer(zones=5)(image, torch.full((1, 5, 8, 8), 0.7))
    torch.testing.assert_close(output, image * 2**0.7)


def test_there_are_at_least_two_zones():
    with pytest.raises(ValueError, match="'zones' must be at least 2, got 1"):
        ToneEqualizer(zones=1)


def test_the_mask_of_relight_loses_its_edges_and_its_texture():
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 64:] = 1.0
    lit = Relight()(torch.ones(1, 3, 128, 128), mask).log2()
    assert lit.diff(dim=-1).max() < 0.08
    texture = torch.rand(1, 1, 128, 128) - 0.5
    assert Relight()(torch.ones(1, 3, 128, 128), texture).log2().std() < 0.1 * texture.std()


def test_relight_is_an_exposure_where_its_mask_is_even():
    lit = Relight()(torch.full((1, 3, 20, 20), 0.2), torch.ones(1, 1, 20, 20))
    torch.testing.assert_close(lit, torch.full((1, 3, 20, 20), 0.4))


def test_one_value_relights_the_whole_photo():
    image, stop = torch.rand(2, 3, 9, 11), torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(Relight()(image, stop), 2 * image)
