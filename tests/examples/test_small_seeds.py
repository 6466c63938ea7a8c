import pytest
from reproduction.small import seeds
from reproduction.small.card import write_csv
from reproduction.small.kinds import KINDS
from reproduction.small.scoring import Row


def rows(after):
    """A composite of each kind, given each hint; a rival, and untouched photos, do not count."""
    row = Row("a.jpg", "exact", "light", 100.0, after, 0.2, 50.0)
    made = [
        row._replace(prompt=prompt, kind=kind)
        for kind in ("mixed", *KINDS)
        for _, prompt in seeds.TOLD.values()
    ]
    others = row._replace(by="Reinhard", after=999.0), row._replace(prompt="untouched", after=9.0)
    return {"test": [*made, *others]}


@pytest.fixture
def cards(tmp_path):
    for number, after in enumerate([50.0, 25.0, 40.0]):
        (tmp_path / f"card{number}").mkdir()
        write_csv(tmp_path / f"card{number}" / "scores.csv", rows(after))
    return sorted(tmp_path.iterdir())


def test_rows_come_back_from_the_file_of_a_card(cards):
    by_author = sorted(rows(50.0)["test"], key=lambda row: row.by != "model")
    assert seeds.read_rows(cards[0]) == {"test": by_author}


def test_seeds_stand_beside_each_other_with_how_far_they_differ(cards, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["seeds.py", *map(str, cards)])
    seeds.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "| composites | told | card0 | card1 | card2 | share, spread | dB, spread |"
    )
    first = "| test, mixed | exact | 0.50, +3.01 | 0.25, +6.02 | 0.40, +3.98 | 0.25 | 3.01 |"
    assert lines[2] == first
    assert len(lines) == 2 + (1 + len(KINDS)) * len(seeds.TOLD)
