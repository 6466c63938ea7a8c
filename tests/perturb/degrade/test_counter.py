import math

import pytest
import torch

from opmask.perturb.degrade.counter import RANDOM_BITS, counter_bits
from opmask.perturb.rng import splitmix64

WORD = 2**64


@pytest.mark.parametrize("seed", [0, 1, -1, 123456789, 2**53 - 1, 2**63, 2**64 - 1])
def test_each_number_is_that_of_splitmix64(seed):
    expected = [splitmix64(splitmix64(seed) + i) >> 11 for i in range(2000)]
    assert counter_bits(seed, (2000,)).tolist() == expected


def test_numbers_are_laid_out_in_row_major_order():
    bits = counter_bits(5, (2, 3, 4))
    assert bits.dtype == torch.int64
    assert bits.is_contiguous()
    assert torch.equal(bits.flatten(), counter_bits(5, (24,)))


def test_the_first_numbers_do_not_depend_on_how_many_there_are():
    assert torch.equal(counter_bits(3, (1000,))[:7], counter_bits(3, (7,)))


def test_only_the_lowest_64_bits_of_a_seed_count():
    assert torch.equal(counter_bits(7 + WORD, (9,)), counter_bits(7, (9,)))
    assert not torch.equal(counter_bits(8, (9,)), counter_bits(7, (9,)))


def test_no_numbers_can_be_asked_for():
    assert counter_bits(0, (3, 0)).shape == (3, 0)


def test_numbers_have_53_bits():
    bits = counter_bits(1, (100_000,))
    assert RANDOM_BITS == 53
    assert 0 <= bits.min() < 2**40
    assert 2**53 - 2**40 < bits.max() < 2**53


@pytest.mark.parametrize("bit", range(53))
def test_each_bit_is_set_half_of_the_time(bit):
    share = (counter_bits(2, (40_000,)) >> bit & 1).double().mean().item()
    assert abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(40_000)


def test_numbers_are_uniform():
    n = 1_000_000
    counts = torch.bincount(counter_bits(3, (n,)) >> (RANDOM_BITS - 8), minlength=256).double()
    chi_square = ((counts - n / 256) ** 2 / (n / 256)).sum().item()
    assert abs(chi_square - 255) < 4 * math.sqrt(2 * 255)


@pytest.mark.parametrize("lag", [1, 2, 3, 64, 1000])
def test_neighbours_are_uncorrelated(lag):
    values = counter_bits(4, (200_000,)).double() / 2**RANDOM_BITS - 0.5
    correlation = (values[lag:] * values[:-lag]).mean().item() * 12
    assert abs(correlation) < 4.5 / math.sqrt(200_000)


def test_neighbouring_seeds_are_uncorrelated():
    first, second = (
        counter_bits(seed, (200_000,)).double() / 2**RANDOM_BITS - 0.5 for seed in (0, 1)
    )
    assert abs((first * second).mean().item() * 12) < 4.5 / math.sqrt(200_000)


@pytest.mark.gpu
def test_numbers_are_the_same_on_a_gpu():
    bits = counter_bits(9, (3, 100, 100), "cuda")
    assert bits.is_cuda
    assert torch.equal(bits.cpu(), counter_bits(9, (3, 100, 100)))
