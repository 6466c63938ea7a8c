import random

import numpy as np
import pytest
from changes import rng_of

from opmask.perturb import sample_seed
from opmask.perturb.rng import make_rng, pick, splitmix64, uniform


def test_splitmix64_gives_the_published_numbers():
    # The first outputs of the generator seeded with 0 and 1234567.
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    assert splitmix64(1234567) == 6457827717110365317


def test_splitmix64_takes_negative_and_huge_integers():
    assert splitmix64(-1) == splitmix64(2**64 - 1) == 0xE4D971771B652C20


def test_sample_seeds_are_pinned():
    # A benchmark split is made of them: they must never change.
    assert sample_seed(0, 0, 0) == 1279368494785126216
    assert sample_seed(0, 0, 1) == 2382078301196010449
    assert sample_seed(0, 1, 0) == 5352869105593375612
    assert sample_seed(1, 0, 0) == 6396520470166291297
    assert sample_seed(7, 3, 20209) == 1128839725070517029


def test_sample_seeds_equal_unsigned_64_bit_arithmetic():
    def mix(z):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    index = np.arange(100, dtype=np.uint64)
    expected = mix(mix(mix(np.full(100, 5, np.uint64)) + np.uint64(2)) + index) >> np.uint64(1)
    assert [sample_seed(5, 2, i) for i in range(100)] == expected.tolist()


def test_sample_seeds_fit_an_int64_and_never_repeat():
    seeds = {sample_seed(s, e, i) for s in range(5) for e in range(10) for i in range(200)}
    assert len(seeds) == 10_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_neighbouring_sample_seeds_differ_in_half_of_their_bits():
    pairs = [(sample_seed(0, 0, i), sample_seed(0, 0, i + 1)) for i in range(1000)]
    assert np.mean([(a ^ b).bit_count() for a, b in pairs]) == pytest.approx(31.5, abs=0.5)


@pytest.mark.parametrize("seed", [0, 3, 2**63 - 1])
def test_a_generator_is_that_of_pythons_random(seed):
    rng, reference = make_rng(seed), random.Random(seed)
    assert [rng.random() for _ in range(5)] == [reference.random() for _ in range(5)]


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"'seed' must not be negative, got -1. Make one with"):
        make_rng(-1)


def test_pick_divides_the_unit_interval_evenly():
    assert [pick("abcd", rng_of([u])) for u in (0, 0.2499, 0.25, 0.7499, 0.75)] == list("aabcd")


def test_pick_never_leaves_the_options():
    assert pick(range(23), rng_of([1 - 2**-53])) == 22


def test_uniform_numbers_fill_their_interval():
    assert [uniform(-30, 10, rng_of([u])) for u in (0, 0.25, 0.75)] == [-30, -20, 0]
