import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from opmask.study import Share, save_chart

SCORE = SimpleNamespace(
    question="Which?",
    participants=3,
    methods=(Share("one", 1, 25.0, 10.0, 45.0), Share("two", 3, 75.0, 55.0, 90.0)),
)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The figure that was saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))
    )
    save_chart(SCORE, tmp_path / "chart.png")
    return figures[0]


def test_bars_are_percentages_with_their_intervals(drawn):
    (axes,) = drawn.axes
    assert [bar.get_width() for bar in axes.patches] == [25.0, 75.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    segments = [part for item in axes.collections for part in item.get_segments()]
    np.testing.assert_allclose([s[:, 0] for s in segments], [[10, 45], [55, 90]])


def test_equal_shares_are_marked_and_texts_say_what_is_shown(drawn):
    (axes,) = drawn.axes
    assert [50.0, 50.0] in [list(line.get_xdata()) for line in axes.lines]
    assert axes.get_title() == "Which?"
    assert axes.get_xlabel() == "% of votes, 3 participants, 95 % interval; dashed: equal shares"
    assert [text.get_text() for text in axes.texts] == ["25.0 %", "75.0 %"]
    assert all(
        s.high < t.get_position()[0] for s, t in zip(SCORE.methods, axes.texts, strict=True)
    )


def test_the_first_method_stands_on_top(drawn):
    low, high = drawn.axes[0].get_ylim()
    assert low > high


def test_the_picture_grows_with_the_methods(drawn, tmp_path):
    with Image.open(tmp_path / "chart.png") as image:
        assert image.size == (760, 222)


def test_a_missing_matplotlib_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.* pip install 'opmask\[train\]'"):
        save_chart(SCORE, tmp_path / "chart.png")
