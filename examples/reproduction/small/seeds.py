"""How much models differ that were trained alike but for the seed.

    PYTHONPATH=examples python -m reproduction.small.seeds CARD_0 CARD_1 CARD_2

Reads the `scores.csv` of each folder that `card.py` wrote. Cells are the share of the composites'
MSE that is left, and by how many dB PSNR rises; the last columns are the largest less the
smallest.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from opmask.markdown import markdown_table
from reproduction.flags import existing
from reproduction.small.kinds import KINDS
from reproduction.small.scoring import Gain, Row, gain
from reproduction.small.tables import COLUMNS

TOLD = {title: key for title, key in COLUMNS.items() if key[0] == "model"}


def read_rows(card: Path) -> dict[str, list[Row]]:
    """The rows of a card by split."""
    rows: dict[str, list[Row]] = {}
    with (card / "scores.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            texts = {field: line[field] for field in Row._fields}
            numbers = {
                field: float(texts[field])
                for field in ("before", "after", "foreground", "lightness")
            }
            rows.setdefault(line["split"], []).append(Row(**{**texts, **numbers}))
    return rows


def compare(cards: Sequence[dict[str, list[Row]]], names: Sequence[str]) -> str:
    """A row for each split, kind of change and hint; a column for each card."""
    lines = []
    for split, kind, (title, (by, prompt)) in product(cards[0], ("mixed", *KINDS), TOLD.items()):
        gains = []
        for rows in cards:
            chosen = [
                row for row in rows[split] if (row.kind, row.by, row.prompt) == (kind, by, prompt)
            ]
            gains.append(gain(chosen))
        cells = [f"{one.share:.2f}, {one.decibels:+.2f}" for one in gains]
        lines.append([f"{split}, {kind}", title, *cells, *spread(gains)])
    return markdown_table(["composites", "told", *names, "share, spread", "dB, spread"], lines)


def spread(gains: Sequence[Gain]) -> list[str]:
    """The largest less the smallest."""
    columns = zip(*((one.share, one.decibels) for one in gains), strict=True)
    return [f"{max(values) - min(values):.2f}" for values in columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cards", type=existing, nargs="+", help="folders that card.py wrote")
    args = parser.parse_args()
    print(compare([read_rows(card) for card in args.cards], [card.name for card in args.cards]))


if __name__ == "__main__":
    main()
