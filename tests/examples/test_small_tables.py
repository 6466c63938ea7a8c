import pytest
from reproduction.small.rivals import RIVALS
from reproduction.small.scoring import Row
from reproduction.small.tables import (
    COLUMNS,
    change,
    given,
    glance,
    groups,
    line,
    ratio,
    share_interval,
    source,
    sources,
    tables,
)


def row(prompt="exact", before=100.0, after=50.0, name="photos/kodak/1.jpg", **more):
    return Row(name, prompt, "photo filter", before, after, 0.2, 60.0)._replace(**more)


def titles(one):
    return [group.title for group in groups() if group.holds(one)]


def test_shares_are_of_means_and_intervals_contain_them():
    share, low, high = share_interval([row(), row(before=300.0, after=30.0, name="2")])
    assert share == pytest.approx(80 / 400)
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.5)


def test_composites_of_one_photo_are_drawn_together():
    assert ratio(["a", "a"], [50.0, 30.0], [100.0, 300.0]) == pytest.approx((0.2, 0.2, 0.2))
    _, low, high = ratio(["a", "a", "b"], [50.0, 30.0, 0.0], [100.0, 300.0, 100.0])
    assert (low, high) == pytest.approx((0.0, 0.2))


def test_a_line_of_a_table_says_what_is_left_and_what_psnr_gains():
    assert line("x", [row()]) == (
        "| x | 1 | 100.0 | 0.500 [0.500, 0.500] | +3.01 [+3.01, +3.01] | – | 100% / 0% |"
    )
    assert "50.00 [50.00, 50.00] (MSE)" in line("x", [row("untouched", 0.0)])


def test_small_changes_have_a_column_of_their_own():
    rows = [row(), row(before=10.0, after=20.0, name="2"), row(before=20.0, after=10.0, name="3")]
    assert "| +0.00 [-3.01, +3.01] (2) |" in line("x", rows)


def test_a_table_counts_what_got_better_and_what_lost_more_than_half_a_db():
    after = (90.0, 99.0, 101.0, 120.0, 130.0)
    assert line("x", [row(after=value) for value in after]).endswith("| 40% / 40% |")


def test_photos_are_told_apart_by_their_folders():
    assert source(row()) == "kodak"
    assert source(row(name="scenes/images/training/a.jpg")) == "scenes"
    text = sources([row(), row("auto"), row("untouched", 0.0), row(by="Reinhard")])
    assert "### By source: exact" in text
    assert text.count("| kodak | 1 |") == 2
    assert text.count("| mixed: photo filter | 1 |") == 2
    assert change(row(changed="light", kind="light")) == "light"


def test_kinds_have_tables_of_their_own_with_the_rivals_in_them():
    rivals = row("unknown", after=100.0, by="nothing"), row("boxes", by="Reinhard")
    text = tables({"test": [row(), *rivals, row(kind="light", changed="light")]})
    mixed, light = text.split("### test, light")
    assert [given(rival) for rival in rivals] == ["doing nothing", "Reinhard: boxes"]
    assert "| doing nothing | 1 | 100.0 | 1.000" in mixed
    assert light.count("\n| ") == 2


def test_composites_are_grouped_by_kind_by_size_and_by_lightness():
    assert titles(row()) == ["mixed", "26 to 32 dB", "15% to 100% of the area"]
    small = row(before=1.0, foreground=0.05, lightness=24.0, kind="light")
    expected = ["light", "from 38 dB", "0% to 5% of the area", "darker than L* 25"]
    assert titles(small) == expected


def test_at_a_glance_hints_and_rivals_stand_beside_each_other():
    rows = [row(), row(name="2", after=30.0), row("auto", after=100.0), row(by="Reinhard")]
    mixed, filters = glance([*rows, row("untouched", 0.0)]).splitlines()[2:4]
    assert mixed.startswith("| mixed | 2 | 0.40, +4.12 [+3.01, +5.23] | – | – | 1.00, +0.00")
    assert mixed.endswith("| 0.50, +3.01 [+3.01, +3.01] | – | – |")
    assert filters == "| filters | 0 |" + " – |" * len(COLUMNS)
    assert {by for by, _ in COLUMNS.values()} == {"model", *RIVALS}
