import numpy as np
import pytest
from scipy import stats

from opmask.study import statistics
from opmask.study.statistics import uniformity_test, vote_shares


def test_shares_are_percentages_of_all_votes():
    shares, _, _ = vote_shares(np.array([[1, 3], [2, 2], [0, 4]]))
    np.testing.assert_allclose(shares, [25, 75])


def test_a_participant_with_more_votes_weighs_more():
    np.testing.assert_allclose(vote_shares(np.array([[6, 0], [0, 2]]))[0], [75, 25])


def test_intervals_equal_those_of_scipys_bootstrap():
    votes = np.random.default_rng(0).multinomial(11, [0.2, 0.3, 0.5], size=60)
    _, low, high = vote_shares(votes)
    for method in range(3):
        theirs = stats.bootstrap(
            (100 * votes[:, method] / 11,), np.mean, method="percentile", rng=1
        ).confidence_interval
        np.testing.assert_allclose((low[method], high[method]), theirs, atol=0.2)


def test_intervals_are_those_of_a_plain_loop_where_participants_answer_unequally():
    votes = np.array([[3, 1], [0, 2], [5, 0], [1, 1], [2, 4]])
    rng = np.random.default_rng(1)
    drawn = [votes[rng.integers(0, 5, 5)].sum(0) for _ in range(20_000)]
    shares = [100 * first / (first + second) for first, second in drawn]
    expected = np.quantile(shares, (0.025, 0.975))
    np.testing.assert_allclose(vote_shares(votes)[1:, 0], expected, atol=1.0)


def test_participants_are_drawn_whole_not_their_votes():
    # Two camps: votes drawn one by one would give an interval about as wide as +-10.
    votes = np.array([[11, 0]] * 4 + [[0, 11]] * 4)
    _, low, high = vote_shares(votes)
    assert high[0] - low[0] > 50


def test_the_same_votes_give_the_same_intervals():
    votes = np.random.default_rng(0).multinomial(11, [0.4, 0.6], size=9)
    np.testing.assert_array_equal(vote_shares(votes), vote_shares(votes))


def test_there_are_as_many_resamples_as_documented():
    assert statistics.RESAMPLES == 10_000


def test_nothing_follows_from_a_single_participant():
    np.testing.assert_array_equal(vote_shares(np.array([[1, 3]])), [[25, 75], [0, 0], [100, 100]])


@pytest.mark.parametrize("count", range(2, 10))
def test_the_test_of_equal_chances_is_scipys(count):
    rng = np.random.default_rng(count)
    for spread in 1, 5, 30:
        counts = 40 + rng.integers(0, spread + 1, count)
        theirs = stats.chisquare(counts)
        np.testing.assert_allclose(uniformity_test(counts), theirs, rtol=1e-10)


def test_the_test_of_equal_chances_takes_counts_in_any_number():
    counts = 40 + np.random.default_rng(0).integers(0, 30, 500)
    np.testing.assert_allclose(uniformity_test(counts), stats.chisquare(counts), rtol=1e-10)


def test_equal_counts_are_no_evidence():
    assert uniformity_test(np.array([5, 5, 5])) == (0.0, 1.0)
