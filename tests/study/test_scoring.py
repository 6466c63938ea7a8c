from dataclasses import replace

import numpy as np
import pytest

from opmask.study import StudyScore, score_study, to_markdown
from opmask.study.scoring import TABLE_B, Share
from opmask.study.statistics import vote_shares


@pytest.fixture
def files(write_answers):
    """Three participants who finished, and one who did not."""
    chosen = {"a": [0, 0, 1], "b": [0, 2, 1], "c": [0, 1, 1], "d": [2]}
    return [
        write_answers(name, methods, seconds=2.0 + place, shown_last=name in "ab")
        for place, (name, methods) in enumerate(chosen.items())
    ]


def test_votes_are_counted_by_method(files, key):
    score = score_study(files, key)
    assert [(s.method, s.votes) for s in score.methods] == [
        ("alpha_method", 4),
        ("beta_method", 4),
        ("gamma_method", 1),
    ]
    np.testing.assert_allclose([s.percent for s in score.methods], [400 / 9, 400 / 9, 100 / 9])
    assert (score.participants, score.answers, score.unfinished) == (3, 9, 1)


def test_intervals_are_over_participants(files, key):
    expected = vote_shares(np.array([[2, 1, 0], [1, 1, 1], [1, 2, 0]]))
    found = [[s.percent, s.low, s.high] for s in score_study(files, key).methods]
    np.testing.assert_array_equal(found, expected.T)


def test_votes_are_counted_by_image(files, key):
    images = score_study(files, key).images
    votes = {name: [share.votes for share in shares] for name, shares in images.items()}
    assert votes == {"barn": [3, 0, 0], "lake": [1, 1, 1], "street": [0, 3, 0]}
    assert images["barn"][0] == Share("alpha_method", 3, 100.0, 100.0, 100.0)


def test_partial_counts_those_who_did_not_finish(files, key):
    score = score_study(files, key, partial=True)
    assert (score.participants, score.answers, score.unfinished) == (4, 10, 1)
    assert [share.votes for share in score.images["barn"]] == [3, 0, 1]
    assert [share.votes for share in score.images["lake"]] == [1, 1, 1]


def test_intervals_of_an_image_are_over_those_who_answered_it(files, key):
    score = score_study(files, key, partial=True)
    expected = vote_shares(np.eye(3, dtype=int))
    found = [[s.percent, s.low, s.high] for s in score.images["lake"]]
    np.testing.assert_array_equal(found, expected.T)


def test_images_that_nobody_answered_are_left_out(write_answers, key):
    score = score_study([write_answers("a", [1])], key, partial=True)
    assert list(score.images) == ["barn"]


def test_positions_are_counted_and_tested(files, key):
    score = score_study(files, key)
    assert score.positions == (3, 0, 6)
    assert (score.chi_square, score.p) == (6.0, pytest.approx(np.exp(-3)))


def test_pairs_count_participants(files, key):
    # a: 2 1 0, b: 1 1 1, c: 1 2 0
    assert score_study(files, key).preferred == ((0, 1, 2), (1, 0, 2), (0, 0, 0))


def test_the_time_is_the_median(files, key):
    assert score_study(files, key).seconds == 3.0
    assert score_study(files[:1], key).seconds == 2.0


def test_nobody_who_finished_is_an_error(write_answers, key):
    unfinished, empty = write_answers("a", [1]), write_answers("b", [])
    message = "those of a participant who finished, got 2 files without. partial=True counts"
    with pytest.raises(ValueError, match=message):
        score_study([unfinished, empty], key)
    with pytest.raises(ValueError, match=r"of a participant who answered, got 1 files without\.$"):
        score_study([empty], key, partial=True)


def test_those_who_answered_nothing_are_unfinished_but_never_counted(write_answers, key):
    files = [write_answers("a", [1, 1, 1]), write_answers("b", [])]
    score = score_study(files, key, partial=True)
    assert (score.participants, score.unfinished) == (1, 1)


def test_the_papers_figures_are_table_b():
    assert TABLE_B == {"dovenet": 20.6, "bargainnet": 24.2, "rainnet": 18.5, "omgan": 36.7}
    assert sum(TABLE_B.values()) == pytest.approx(100)


SCORE = StudyScore(
    title="Harmony",
    question="Which?",
    participants=2,
    answers=4,
    unfinished=1,
    partial=False,
    seconds=3.25,
    methods=(Share("DoveNet", 1, 25.0, 0.0, 50.0), Share("mine|2", 3, 75.0, 50.0, 100.0)),
    images={"barn": (Share("DoveNet", 0, 0.0, 0.0, 0.0), Share("mine|2", 2, 100.0, 99.0, 100.0))},
    positions=(3, 1),
    chi_square=1.0,
    p=0.3173,
    preferred=((0, 0), (1, 0)),
)

MARKDOWN = r"""# Harmony

Which? Participants: 2. Answers: 4. Median time of a choice: 3.2 s. Participants who did not finish: 1, left out. Intervals: bootstrap over participants.

| method | votes | % of votes | 95 % interval | paper |
| --- | ---: | ---: | ---: | ---: |
| DoveNet | 1 | 25.0 | 0.0 to 50.0 | 20.6 |
| mine\|2 | 3 | 75.0 | 50.0 to 100.0 |  |

Paper: Table 3, with 11 real composites and 60 subjects, who chose one of four methods; DoveNet, BargainNet and RainNet were given the mask.

## By image, % of votes

| image | answers | DoveNet | mine\|2 |
| --- | ---: | ---: | ---: |
| barn | 2 | 0.0 (0.0 to 0.0) | 100.0 (99.0 to 100.0) |

## Positions

| position | 1 | 2 |
| --- | ---: | ---: |
| votes | 3 | 1 |

Chi-square against equal chances: 1.00 with 1 degrees of freedom, p = 0.317. A small p, say below 0.05, means that where an image stood mattered.

## Pairs

How many participants chose the method of the row more often than that of the column:

| method | DoveNet | mine\|2 |
| --- | ---: | ---: |
| DoveNet | 0 | 0 |
| mine\|2 | 1 | 0 |
"""  # noqa: E501


def test_markdown_reads_like_this():
    assert to_markdown(SCORE) == MARKDOWN


@pytest.mark.parametrize(
    ("name", "paper"),
    [("dovenet", True), ("Bargain-Net", True), ("OMGAN", True), ("om", False), ("mine", False)],
)
def test_the_papers_column_is_there_where_a_method_is_named_so(name, paper):
    score = replace(
        SCORE, methods=(Share(name, 4, 100.0, 0.0, 100.0), Share("x", 0, 0.0, 0.0, 0.0))
    )
    assert ("paper |" in to_markdown(score)) == paper
    assert ("Paper: Table 3" in to_markdown(score)) == paper


def test_markdown_says_when_unfinished_ones_are_counted():
    text = to_markdown(replace(SCORE, partial=True))
    assert "Participants who did not finish: 1, counted." in text
