import math

import pytest
import torch

from opmask.perturb.degrade.counter import RANDOM_BITS, counter_bits
from opmask.perturb.degrade.noise import (
    LEVELS,
    add_noise,
    gaussian_cdf,
    laplace_cdf,
    poisson_cdf,
)

N = 1_000_000
TABLES = [(gaussian_cdf, 8.0), (gaussian_cdf, 9.7), (laplace_cdf, 8.0), (laplace_cdf, 9.7)]
TABLES += [(poisson_cdf, 8.0), (poisson_cdf, 9.7)]
EVERY_TABLE = pytest.mark.parametrize(("make", "strength"), TABLES)


def normal_density(x, scale):
    return math.exp(-0.5 * (x / scale) ** 2) / (scale * math.sqrt(2 * math.pi))


def laplace_density(x, scale):
    return math.exp(-abs(x) / scale) / (2 * scale)


def poisson(n, rate):
    return math.prod(rate / i for i in range(1, n + 1)) * math.exp(-rate)


def probabilities(table):
    """How likely each of the levels -254 to 254 is."""
    return {level: table[i + 1] - table[i] for i, level in enumerate(range(-254, 255))}


def samples(table, seed=1):
    """Noise alone: what is added to a grey from which it hardly ever clips."""
    return add_noise(torch.full((N,), 128, dtype=torch.uint8), table, seed).int() - 128


@pytest.mark.parametrize(
    ("make", "density"), [(gaussian_cdf, normal_density), (laplace_cdf, laplace_density)]
)
@pytest.mark.parametrize("scale", [0.7, 9.0])
def test_rounded_noise_is_as_likely_as_an_integral_of_its_density(make, density, scale):
    # Simpson's rule; from 0 on its own, where the density of Laplace has a kink.
    chances = probabilities(make(scale))
    for level in (-60, -9, -1, 0, 1, 2, 13, 60):
        half = 0.5 / 500
        grid = [level - 0.5 + i * half for i in range(1001)]
        weights = [1, *[4, 2] * 499, 4, 1]
        area = sum(w * density(x, scale) for w, x in zip(weights, grid, strict=True)) * half / 3
        assert chances[level] == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("rate", [0.5, 8.0, 40.0])
def test_poisson_noise_is_as_likely_as_its_formula(rate):
    chances = probabilities(poisson_cdf(rate))
    assert chances[0] == pytest.approx(poisson(0, rate), abs=1e-14)
    for n in (1, 2, 7, 30, 100):
        assert chances[n] == pytest.approx(poisson(n, rate) / 2, abs=1e-14)
        assert chances[-n] == pytest.approx(poisson(n, rate) / 2, abs=1e-14)


@EVERY_TABLE
def test_tables_rise_from_zero_to_one(make, strength):
    table = make(strength)
    assert len(table) == len(LEVELS) == 510
    assert table == sorted(table)
    assert 0 <= table[0] < 1e-9
    assert 1 - 1e-9 < table[-1] <= 1


@EVERY_TABLE
def test_noise_has_the_histogram_of_its_table(make, strength):
    counts = torch.bincount(samples(make(strength)) + 128, minlength=256)
    chances = probabilities(make(strength))
    for level in range(-40, 41):
        deviation = math.sqrt(N * chances[level])
        assert abs(counts[level + 128] - N * chances[level]) < 4.5 * deviation


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        # Rounding adds a twelfth.
        (gaussian_cdf, lambda s: s**2 + 1 / 12),
        (laplace_cdf, lambda s: 2 * s**2 + 1 / 12),
        (poisson_cdf, lambda s: s**2 + s),
    ],
)
@pytest.mark.parametrize("strength", [8.0, 10.0])
def test_noise_has_mean_zero_and_the_variance_of_the_formula(make, variance, strength):
    noise = samples(make(strength)).double()
    assert abs(noise.mean().item()) < 4.5 * math.sqrt(variance(strength) / N)
    assert noise.var().item() == pytest.approx(variance(strength), rel=0.01)


def test_noise_is_drawn_by_comparing_the_bits_of_the_counter():
    table = gaussian_cdf(9.0)
    chances = [bits / 2**RANDOM_BITS for bits in counter_bits(1, (1000,)).tolist()]
    expected = [sum(value <= chance for value in table) - 255 for chance in chances]
    assert samples(table)[:1000].tolist() == expected


def test_noise_is_clipped():
    image = torch.tensor([0, 255] * 5000, dtype=torch.uint8)
    noisy = add_noise(image, gaussian_cdf(9.0), seed=2)
    assert noisy[::2].max() < 60
    assert noisy[1::2].min() > 195
    assert (noisy[::2] == 0).double().mean().item() == pytest.approx(0.522, abs=0.03)


@pytest.mark.parametrize("level", [-255, -1, 0, 1, 254])
def test_a_certain_level_is_always_added(level):
    table = [float(bound >= level) for bound in LEVELS]
    image = torch.arange(256, dtype=torch.uint8)
    assert add_noise(image, table, 3).tolist() == [min(max(i + level, 0), 255) for i in range(256)]


def test_noise_of_neighbouring_values_is_independent():
    noise = samples(laplace_cdf(9.0)).double()
    for lag in (1, 2, 1000):
        correlation = (noise[lag:] * noise[:-lag]).mean() / noise.var()
        assert abs(correlation.item()) < 4.5 / math.sqrt(N)
