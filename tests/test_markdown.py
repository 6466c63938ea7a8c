import pytest

from opmask.markdown import markdown_row, markdown_table


def test_the_first_column_is_on_the_left_and_figures_are_on_the_right():
    assert markdown_table(["model", "MSE", "PSNR"], [["om", 1, 2.5]]).splitlines() == [
        "| model | MSE | PSNR |",
        "|---|---:|---:|",
        "| om | 1 | 2.5 |",
    ]


def test_columns_are_aligned_as_they_are_told():
    assert markdown_table(["a", "b"], rules=[" --- ", " --- "]) == "| a | b |\n| --- | --- |"


def test_a_table_is_its_head_and_its_rows():
    rows = [["a", 1], ["b", ""]]
    lines = [markdown_table(["x", "y"]), *map(markdown_row, rows)]
    assert markdown_table(["x", "y"], iter(rows)) == "\n".join(lines)


@pytest.mark.parametrize("make", [markdown_row, markdown_table])
def test_a_bar_in_a_cell_makes_no_column(make):
    assert make(["a|b", "c"]).splitlines()[0] == r"| a\|b | c |"
