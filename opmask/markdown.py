r"""Markdown tables: what results, studies and benchmarks are printed as.

headings, rows of cells -> :func:`markdown_table`; row by row where they take long ->
:func:`markdown_row`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    headings: Sequence[str],
    rows: Iterable[Iterable[object]] = (),
    *,
    rules: Sequence[str] | None = None,
) -> str:
    r"""A table, or its head where the rows are yet to come.

    Args:
        headings: The heading of each column.
        rows: The cells of each row, as many as there are headings.
        rules: What stands under each heading: `---` aligns a column to the left, `---:` to the
            right. By default the first column is on the left, and the others, the figures, on the
            right.

    Returns:
        The text, without a line break at its end.

    Example:
        >>> print(markdown_table(["model", "MSE"], [["om", 99.84]]))
        | model | MSE |
        |---|---:|
        | om | 99.84 |
    """
    rules = rules or ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join([markdown_row(headings), f"|{'|'.join(rules)}|", *map(markdown_row, rows)])


def markdown_row(cells: Iterable[object]) -> str:
    r"""A row of a table; bars within a cell are escaped.

    Args:
        cells: The cells, from left to right.

    Returns:
        The line, without a line break at its end.

    Example:
        >>> markdown_row(["om", 99.84, ""])
        '| om | 99.84 |  |'
        >>> print(markdown_row(["a|b"]))
        | a\|b |
    """
    escaped = (str(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
