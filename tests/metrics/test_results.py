import csv

import numpy as np
import pytest

from opmask.metrics import (
    PROTOCOLS,
    bootstrap,
    interval,
    paired_difference,
    results_table,
    write_scores,
)

RNG = np.random.default_rng(0)


def rows(values, foreground=0.1, metric="mse"):
    return [
        {"name": f"image{i}", "foreground": foreground, metric: float(v), "psnr": 30.0}
        for i, v in enumerate(values)
    ]


def test_the_interval_is_that_of_the_normal_approximation():
    values = RNG.normal(50, 10, 400)
    mean, low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.15)


def test_the_interval_is_skewed_as_the_values_are():
    mean, low, high = interval([0.0] * 30 + [100.0])
    assert (low, mean - low < high - mean) == (0, True)


def test_the_interval_covers_the_truth_19_times_out_of_20():
    hits = 0
    for seed in range(100):
        _, low, high = interval(np.random.default_rng(seed).exponential(1, 80), seed=seed)
        hits += low <= 1 <= high
    assert 87 <= hits <= 99


def test_the_same_scores_and_seed_give_the_same_interval():
    values = RNG.random(50).tolist()
    assert interval(values) == interval(values)
    assert interval(values) != interval(values, seed=1)
    assert interval(values) == interval(np.asarray(values))


def test_one_value_is_its_own_interval():
    assert interval([3.5]) == (3.5, 3.5, 3.5)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="'values' must hold the value of at least one image"):
        interval([])


def test_the_interval_of_a_ratio_of_sums_is_that_of_a_plain_loop():
    before, after = RNG.exponential(100, 9), RNG.exponential(40, 9)
    draws = np.random.default_rng(0).integers(0, 9, (2000, 9))
    shares = [after[draw].sum() / before[draw].sum() for draw in draws]
    ends = bootstrap(lambda drawn: after[drawn].sum(1) / before[drawn].sum(1), 9)
    assert ends == pytest.approx(np.quantile(shares, (0.025, 0.975)))


def test_an_interval_is_formatted_as_three_numbers():
    assert f"{interval([1.0, 2.0, 3.0, 4.0]):+.1f}" == "+2.5 [+1.5, +3.5]"


def test_a_small_steady_gain_is_seen_through_large_differences_of_images():
    base = RNG.exponential(100, 200)
    mine, theirs = rows(base - 3 + RNG.normal(0, 1, 200)), rows(base)
    mean, low, high = paired_difference(mine, theirs, "mse")
    assert low < mean < high < 0
    alone = [interval([row["mse"] for row in some]) for some in (mine, theirs)]
    assert alone[0].high > alone[1].low  # although their own intervals overlap


def test_differences_are_of_the_same_image_whatever_the_order():
    mine, theirs = rows([1, 2, 30]), rows([4, 8, 10])[::-1]
    assert paired_difference(mine, theirs, "mse").mean == pytest.approx((-3 - 6 + 20) / 3)


def test_models_that_saw_other_images_are_not_compared():
    with pytest.raises(ValueError, match="but 1 are in one of them only: image2"):
        paired_difference(rows([1, 2]), rows([1, 2, 3]), "mse")


def test_the_csv_has_a_line_for_each_model_and_image(tmp_path):
    mine = [{"name": "a", "mse": 1.5, "fmse": 3.0}, {"name": "b", "mse": 0.1}]
    path = tmp_path / "new" / "scores.csv"
    write_scores(path, {"om": mine, "rgb": mine[:1]}, protocol="idih")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["name"]) for line in lines] == [
        ("om", "a"),
        ("om", "b"),
        ("rgb", "a"),
    ]
    assert lines[1] == {"model": "om", "protocol": "idih", "name": "b", "mse": "0.1", "fmse": ""}


def test_a_failure_leaves_the_old_csv(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_scores(path, {"om": ({"mse": 1 / n} for n in (1, 0))}, protocol="opmask")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_the_mean_over_all_images_and_its_interval():
    scores = {"composite": rows([1, 2, 3, 4]), "om": rows([2, 2, 2, 2])}
    lines = results_table(scores, protocol="opmask").splitlines()
    assert cells(lines[0]) == ["model", "images", "MSE", "PSNR"]
    assert cells(lines[2]) == ["composite", "4", "2.50 [1.50, 3.50]", "30.00 [30.00, 30.00]"]
    assert cells(lines[3]) == ["om", "4", "2.00 [2.00, 2.00]", "30.00 [30.00, 30.00]"]


def test_images_without_a_value_do_not_count_for_it():
    some = [{"name": "a", "mse": 1.0, "fmse": 8.0}, {"name": "b", "mse": 3.0}]
    text = results_table({"om": some, "other": some[1:]}, protocol="opmask")
    lines = text.splitlines()
    assert cells(lines[2])[2:] == ["2.00 [1.00, 3.00]", "8.00 [8.00, 8.00]"]
    assert cells(lines[3])[2:] == ["3.00 [3.00, 3.00]", "–"]


@pytest.mark.parametrize(
    ("foreground", "expected"),
    [(0.0, None), (1e-4, "0–5 %"), (0.05, "0–5 %"), (0.0501, "5–15 %"), (0.15, "5–15 %"),
     (0.1501, "15–100 %"), (1.0, "15–100 %")],
)  # fmt: skip
def test_bins_include_their_upper_end(foreground, expected):
    text = results_table({"om": rows([1, 2], foreground)}, protocol="opmask")
    titles = [cells(line)[0] for line in text.splitlines() if "| images |" in line]
    assert titles == ["model"] + ([f"foreground {expected}"] if expected else [])


def test_each_bin_has_its_own_images():
    some = [{"name": str(f), "foreground": f, "mse": 100 * f} for f in (0.01, 0.03, 0.1, 0.5)]
    lines = results_table({"om": some}, protocol="opmask").splitlines()
    of_bins = [cells(line)[1:] for line in lines if line.startswith("| om")]
    assert [count for count, _ in of_bins] == ["4", "2", "1", "1"]
    assert [mse.split()[0] for _, mse in of_bins] == ["16.00", "2.00", "10.00", "50.00"]


def test_rows_without_an_image_in_a_bin_are_left_out_of_it():
    scores = {"om": rows([1]), "om, untouched": rows([1], foreground=0.0)}
    lines = results_table(scores, protocol="opmask").splitlines()
    assert [cells(line)[0] for line in lines if line.startswith("| om")] == [
        "om",
        "om, untouched",
        "om",
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_the_protocol_does_stands_below_the_table(protocol):
    lines = results_table({"om": rows([1])}, protocol=protocol).splitlines()
    assert f"Protocol {PROTOCOLS[protocol].description}" in lines


def test_pairs_are_compared_below_the_table():
    scores = {"rgb": rows([10, 20]), "om": rows([7, 17])}
    text = results_table(scores, protocol="opmask", pairs=[("om", "rgb")])
    expected = "- om less rgb, on the same images: MSE -3.00 [-3.00, -3.00], PSNR +0.00"
    assert expected in text
    assert "less" not in results_table(scores, protocol="opmask")


def test_tables_of_nothing_are_refused():
    with pytest.raises(ValueError, match="'scores' must hold the scores of at least one image"):
        results_table({"om": []}, protocol="opmask")
    with pytest.raises(ValueError, match=r"'protocol' must be one of .* got 'mine'"):
        results_table({"om": rows([1])}, protocol="mine")


def test_each_subset_gets_a_table_and_the_first_is_over_all_images():
    some = [{"name": str(i), "subset": "HA" if i < 3 else "HB", "mse": i} for i in range(4)]
    text = results_table({"om": some}, protocol="ih4-256")
    first, *others = [line for line in text.splitlines() if line.startswith("| om |")]
    assert first.startswith("| om | 4 | 1.50 [")
    assert others == ["| om | 3 | 1.00 [0.00, 2.00] |", "| om | 1 | 3.00 [3.00, 3.00] |"]
    titles = [line.split("|")[1].strip() for line in text.splitlines() if "| images |" in line]
    assert titles[1:3] == ["HA", "HB"]
    assert "| HA |" not in results_table({"om": some[:3]}, protocol="ih4-256")
