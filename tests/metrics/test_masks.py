import pytest
import torch

import opmask
from opmask.fitting import fit_masks
from opmask.metrics import mask_error


def plane(*values):
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_the_error_equals_a_plain_loop_within_the_region():
    mask, fitted, identity, region = torch.rand(4, 3, 1, 5, 6)
    (found,) = mask_error({"m": mask}, {"m": fitted}, {"m": identity}, region).values()
    for b in range(3):
        inside = [p for p in range(30) if region[b].flatten()[p] > 0.5]
        for values, start in ((found.error, mask), (found.identity, identity)):
            gaps = (start[b] - fitted[b]).abs().flatten()
            expected = sum(gaps[p].item() for p in inside) / len(inside)
            assert values[b].item() == pytest.approx(expected, rel=1e-5)


def test_what_lies_outside_does_not_count_even_if_it_is_no_number():
    masks = {"m": plane(0.1, 0.3, float("nan"))}
    zero = {"m": plane(0.0, 0.0, 0.0)}
    found = mask_error(masks, zero, zero, plane(1.0, 1.0, 0.5))["m"]
    assert found.error.item() == pytest.approx(0.2)


def test_the_share_is_of_means_over_images():
    fitted = torch.tensor([0.1, 0.9]).reshape(2, 1, 1, 1)
    masks, zero = fitted - torch.tensor([0.1, 0.1]).reshape(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    found = mask_error({"m": masks}, {"m": fitted}, {"m": zero}, torch.ones(2, 1, 1, 1))["m"]
    assert found.share == pytest.approx(0.2 / 1.0)


def test_an_image_without_a_region_has_no_error_and_no_part_in_the_share():
    masks, zero = torch.full((2, 1, 1, 2), 0.5), torch.zeros(2, 1, 1, 2)
    region = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).reshape(2, 1, 1, 2)
    found = mask_error({"m": masks}, {"m": masks + 0.5}, {"m": zero}, region)["m"]
    assert found.error.isnan().tolist() == [False, True]
    assert found.share == pytest.approx(0.5)


def test_fitted_masks_have_no_error_and_the_identity_all_of_it():
    retoucher = opmask.lab_retoucher()
    real = torch.rand(1, 3, 16, 16) * 0.6 + 0.2
    region = torch.zeros(1, 1, 16, 16)
    region[..., 4:12, 4:12] = 1
    identity = retoucher.identity(real)
    composite = retoucher(real, retoucher.edit(identity, "l_add", offset=0.1, region=region))
    fitted = fit_masks(retoucher, composite, real, region[:, 0].long())
    assert all(e.share == 0 for e in mask_error(fitted, fitted, identity, region).values())
    doing_nothing = mask_error(identity, fitted, identity, region)
    assert doing_nothing["l_add"].share == 1
    assert doing_nothing["l_add"].error.item() > 0


def test_masks_of_other_names_are_refused():
    one, region = {"m": plane(0.0)}, plane(1.0)
    with pytest.raises(KeyError, match=r"'fitted' must have the masks \['m'\], got \['n'\]"):
        mask_error(one, {"n": plane(0.0)}, one, region)
    with pytest.raises(KeyError, match=r"'identity' must have the masks"):
        mask_error(one, one, {}, region)


def test_shapes_that_do_not_fit_are_refused():
    one, two = {"m": plane(0.0)}, {"m": plane(0.0, 1.0)}
    for masks, fitted in ((two, one), (one, two)):
        with pytest.raises(
            ValueError, match=r"'m' must have the shape of 'region', \(1, 1, 1, 1\)"
        ):
            mask_error(masks, fitted, one, plane(1.0))
    with pytest.raises(ValueError, match=r"got \(1, 1, 1, 2\)"):
        mask_error(one, one, two, plane(1.0))
