import pytest
import torch
import torch.nn.functional as F

from opmask.wrapper.model import fit_longer_side, pad_to_multiple, resize
from opmask.wrapper.sizes import SizeRule, find_sizes


def accepting(rule):
    return lambda image: rule(*image.shape[-2:])


@pytest.mark.parametrize("multiple", [1, 2, 4, 7, 8, 16, 32])
def test_the_smallest_multiple_is_found(multiple):
    example = torch.rand(1, 1, 448, 672)
    found = find_sizes(example, accepting(lambda h, w: h % multiple == 0 == w % multiple), None)
    assert found.multiple_of == multiple
    assert found.fixed is None


def test_a_known_multiple_is_not_searched_for():
    found = find_sizes(torch.rand(1, 3, 64, 96), accepting(lambda h, w: True), 8)
    assert found == SizeRule(8, 16)


def test_a_known_multiple_is_checked_on_the_smallest_image_that_is_not_square():
    sizes = []
    find_sizes(torch.rand(1, 3, 64, 64), accepting(lambda h, w: not sizes.append((h, w))), 64)
    assert sizes == [(128, 64)]


@pytest.mark.parametrize(("least", "found"), [(1, 16), (17, 32), (33, 64), (64, 64)])
def test_the_least_size_is_found_within_a_factor_of_two(least, found):
    sizes = find_sizes(torch.rand(1, 3, 64, 96), accepting(lambda h, w: min(h, w) >= least), None)
    assert sizes.least == found


def test_a_network_of_one_size_is_fixed_to_it():
    found = find_sizes(torch.rand(1, 3, 64, 64), accepting(lambda h, w: (h, w) == (64, 64)), None)
    assert found.fixed == (64, 64)


def test_a_network_for_squares_only_is_fixed_to_the_example():
    found = find_sizes(torch.rand(1, 3, 64, 64), accepting(lambda h, w: h == w), None)
    assert found.fixed == (64, 64)


def test_a_network_that_rounds_in_an_unknown_way_raises():
    with pytest.raises(ValueError, match="it accepts 64x96, but how it rounds other sizes"):
        find_sizes(torch.rand(1, 3, 64, 96), accepting(lambda h, w: (h, w) == (64, 96)), None)


def test_a_wrong_multiple_raises():
    with pytest.raises(ValueError, match=r"sizes that are multiples of 3\. Pass another mult"):
        find_sizes(torch.rand(1, 3, 64, 64), accepting(lambda h, w: h % 4 == 0), 3)


def test_padding_repeats_the_last_row_and_column():
    image = torch.rand(1, 2, 17, 30)
    padded = pad_to_multiple(image, SizeRule(8, 8))
    assert padded.shape == (1, 2, 24, 32)
    assert torch.equal(padded[..., :17, :30], image)
    assert torch.equal(padded[..., 17:, :30], image[..., -1:, :].expand(1, 2, 7, 30))
    assert torch.equal(padded[..., :17, 30:], image[..., -1:].expand(1, 2, 17, 2))


def test_padding_reaches_the_least_size():
    assert pad_to_multiple(torch.rand(1, 3, 17, 80), SizeRule(8, 64)).shape == (1, 3, 64, 80)


def test_padding_copies_even_if_there_is_nothing_to_pad():
    image = torch.rand(1, 3, 16, 16)
    padded = pad_to_multiple(image, SizeRule(8, 8))
    padded.zero_()
    assert image.sum() > 0


@pytest.mark.parametrize(
    ("size", "longer", "fitted"),
    [
        ((100, 200), 50, (25, 50)),
        ((200, 100), 50, (50, 25)),
        ((40, 30), 50, (40, 30)),
        ((20, 2000), 100, (16, 100)),
    ],
)
def test_the_longer_side_is_fitted(size, longer, fitted):
    assert fit_longer_side(size, longer) == fitted


def test_maps_are_resized_bilinearly_and_antialiased_where_they_shrink():
    maps, settings = torch.rand(1, 2, 30, 40), {"mode": "bilinear"}
    assert resize(maps, (30, 40)) is maps
    for size, shrinks in (((60, 50), False), ((20, 50), True), ((15, 20), True)):
        expected = F.interpolate(maps, size, antialias=shrinks, **settings)
        assert torch.equal(resize(maps, size), expected)
