import csv
import json
import re
import shutil
import sys

import evaluate
import numpy as np
import pytest
import torch
from PIL import Image
from reproduction import data, scoring

import opmask
from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet
from opmask.datasets import IHarmony4
from opmask.datasets.benchmark import write_triptych
from opmask.metrics import PROTOCOLS, reference_panel, score
from opmask.perturb import Composite


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "VALIDATION", 4)
    model = OperatorMaskWrapper(SmallUNet(4, width=8), region=True)
    with torch.no_grad():
        model.head.layer.bias.fill_(1.0)
    opmask.save(model, tmp_path / "om" / "model.safetensors")
    return tmp_path / "om" / "model.safetensors"


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, "--size", "32", "--workers", "0"])
    evaluate.main()


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_checkpoint_and_its_run_folder_get_the_same_table(monkeypatch, checkpoint, capsys):
    run(monkeypatch, str(checkpoint))
    table = capsys.readouterr().out
    run(monkeypatch, str(checkpoint.parents[1]))
    assert capsys.readouterr().out == table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["composite", "om"]
    assert f"Protocol {PROTOCOLS['opmask'].description}" in table


def test_the_scores_of_every_image_are_written(monkeypatch, checkpoint, tmp_path):
    run(monkeypatch, str(checkpoint), "--csv", str(tmp_path / "scores.csv"))
    rows = read(tmp_path / "scores.csv")
    assert [row["model"] for row in rows] == ["composite"] * 4 + ["om"] * 4
    assert [row["name"] for row in rows[:2]] == ["000000", "000001"]
    assert {row["protocol"] for row in rows} == {"opmask"}
    columns = {"foreground", "mse", "psnr", "ssim", "fmse", "fpsnr", "iou", "iou@4"}
    assert columns < set(rows[0])


def test_scores_that_are_there_and_what_is_read_are_refused_before_any_work(
    monkeypatch, checkpoint, tmp_path
):
    monkeypatch.setattr(evaluate, "score_all", None)
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(SystemExit, match=r"'the notes beside it' must be a new file, got "):
        run(monkeypatch, str(checkpoint), "--csv", str(tmp_path / "a.csv"))
    for path in (checkpoint, checkpoint.parents[1]):
        with pytest.raises(SystemExit, match=r"'--csv' must not be a file that is read"):
            run(monkeypatch, str(path), "--csv", str(checkpoint), "--overwrite")


def test_the_reference_protocol_gives_other_numbers(monkeypatch, checkpoint, tmp_path):
    tables = []
    for protocol in ("opmask", "reference"):
        path = tmp_path / f"{protocol}.csv"
        run(monkeypatch, str(checkpoint), "--protocol", protocol, "--csv", str(path))
        tables.append([float(row["ssim"]) for row in read(path)])
    assert tables[0] != tables[1]
    assert tables[0] == pytest.approx(tables[1], abs=0.2)


def test_lpips_is_scored_with_the_weights_of_a_folder(monkeypatch, checkpoint, data_root, capsys):
    folder = str(data_root / "weights")
    run(monkeypatch, str(checkpoint), "--lpips", "vgg", "alex", "--weights", folder)
    header, _, composite, om, *_ = capsys.readouterr().out.splitlines()
    assert "LPIPS (VGG) | LPIPS (Alex)" in header
    assert composite != om


def test_lpips_networks_get_their_own_files(tmp_path):
    files = [tmp_path / name for name in ("vgg16-1.pth", "alexnet-1.pth", "vgg16.txt", "x.pth")]
    for file in files:
        file.touch()
    for paths in ([tmp_path], files):
        assert evaluate.find_weights("vgg", paths) == files[0]
        assert evaluate.find_weights("alex", paths) == files[1]
    assert evaluate.find_weights("vgg", []) is None


@pytest.mark.parametrize("names", [["alexnet-1.pth"], ["vgg16-1.pth", "vgg16-2.pth"]])
def test_none_or_several_files_of_weights_are_refused(monkeypatch, checkpoint, tmp_path, names):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(SystemExit, match=r"must hold one file vgg16\*\.pth for --lpips vgg"):
        run(monkeypatch, str(checkpoint), "--lpips", "vgg", "--weights", str(folder))


def test_missing_weights_say_where_they_are_expected(monkeypatch, checkpoint, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    with pytest.raises(SystemExit, match="weights of alexnet, does not exist"):
        run(monkeypatch, str(checkpoint), "--lpips", "alex")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weights", "."], "--weights are those for --lpips"),
        (["--lpips", "squeeze"], "--lpips: invalid choice: 'squeeze'"),
        (["--protocol", "paper"], "--protocol: invalid choice: 'paper'"),
        (["--device", "cube"], "--device: must be a device that PyTorch finds, got cube"),
        (
            ["--recompress", "--masks"],
            "--masks are fitted to exact composites, not to those of --recompress",
        ),
        (
            ["--triptychs", ".", "--recompress"],
            "--recompress and --masks are for composites of photos",
        ),
        (["--iharmony4", ".", "--masks"], "--recompress and --masks are for composites of photos"),
        (["--subset", "HCOCO"], "--subset is that of --iharmony4, which is not given"),
        (["--data", ".", "--triptychs", "."], "--triptychs: not allowed with argument --data"),
        (["--data", "nowhere"], "--data: must be a file or folder, but there is no 'nowhere'"),
    ],
)
def test_bad_arguments_are_refused_at_once(monkeypatch, checkpoint, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, str(checkpoint), *flags)
    assert message in capsys.readouterr().err


def test_something_to_score_must_be_given(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch)
    assert "a run folder, a checkpoint or --outputs must be given" in capsys.readouterr().err


def test_a_folder_without_models_says_so(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="neither a checkpoint nor a run folder"):
        run(monkeypatch, str(tmp_path))


@pytest.fixture
def blind(checkpoint):
    """An untrained model that takes no region: its output is its input."""
    path = checkpoint.parents[1] / "blind" / "model.safetensors"
    opmask.save(OperatorMaskWrapper(SmallUNet(3, width=8)), path)
    return path


@pytest.fixture
def triptychs(tmp_path):
    """Two samples of 32 x 32 pixels, the second with a large region."""
    folder = tmp_path / "triptychs"
    folder.mkdir()
    for seed, (name, columns) in enumerate((("b", 3), ("a", 20))):
        real = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed)).round(
            decimals=1
        )
        region = torch.zeros(1, 32, 32)
        region[..., :columns] = 1
        write_triptych(
            folder / f"{name}.png", Composite(real * (1 - region / 2), real, region, None)
        )
    return folder


@pytest.fixture
def iharmony4(tmp_path):
    """One composite, too dark in its left half."""
    real = np.random.default_rng(0).integers(60, 255, (40, 48, 3), np.uint8)
    composite, mask = real.copy(), np.zeros((40, 48), np.uint8)
    composite[:, :24] //= 2
    mask[:, :24] = 255
    files = {"composite_images/c1_2_3.jpg": composite, "real_images/c1.jpg": real,
             "masks/c1_2.png": mask}  # fmt: skip
    for name, pixels in files.items():
        path = tmp_path / "IHD" / "HCOCO" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path, quality=100, subsampling=0)
    return tmp_path / "IHD"


def test_untouched_photos_get_rows_of_their_own(monkeypatch, checkpoint, blind, capsys):
    run(monkeypatch, str(checkpoint.parents[1]), "--untouched")
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:7]]
    found = {cells[1].strip(): cells[3].split()[0] for cells in lines}
    assert list(found) == ["composite", "om", "om, untouched", "blind", "blind, untouched"]
    assert found["blind, untouched"] == "0.00"
    assert float(found["om, untouched"]) > 1
    assert found["blind"] == found["composite"]


def test_untouched_photos_have_nothing_to_find(monkeypatch, checkpoint, tmp_path, capsys):
    run(monkeypatch, str(checkpoint), "--untouched", "--csv", str(tmp_path / "scores.csv"))
    assert "untouched: IoU" not in capsys.readouterr().out
    for row in read(tmp_path / "scores.csv"):
        assert bool(row["iou"]) == ("untouched" not in row["model"])


def test_what_was_scored_is_noted_beside_the_scores(monkeypatch, checkpoint, tmp_path):
    run(monkeypatch, str(checkpoint), "--csv", str(tmp_path / "scores.csv"))
    notes = json.loads((tmp_path / "scores.json").read_text())
    assert notes == {
        "data": "synthetic scenes", "images": 4, "size": 32, "protocol": "opmask",
        "recompressed": False, "seconds": {},
    }  # fmt: skip


def test_models_are_compared_with_the_one_before_but_not_with_untouched_rows(
    monkeypatch, checkpoint, blind, capsys
):
    run(monkeypatch, str(checkpoint.parents[1]), "--untouched")
    lines = [line for line in capsys.readouterr().out.splitlines() if " less " in line]
    assert len(lines) == 1
    assert lines[0].startswith("- blind less om, on the same images: MSE -")


def test_recompressed_composites_are_the_same_ones_with_other_pixels(monkeypatch, blind, tmp_path):
    made = {}
    for flags in ([], ["--recompress"]):
        path = tmp_path / "scores.csv"
        run(monkeypatch, str(blind), *flags, "--csv", str(path), "--overwrite")
        made[bool(flags)] = [float(row["mse"]) for row in read(path)][:4]
    for exact, compressed in zip(made[False], made[True], strict=True):
        assert 0 < compressed < exact  # edges fade, and what is narrow disappears


def test_recompressed_composites_are_made_by_the_library(monkeypatch):
    monkeypatch.setattr(data, "VALIDATION", 4)
    exact = data.validation_set(None, 32)
    sample = data.RecompressedComposites(exact)[1]
    assert sample.applied == exact[1].applied
    assert sample.real.shape == (3, 32, 32)
    assert not torch.equal(sample.real, exact[1].real)


def test_every_threshold_is_printed_with_the_best(monkeypatch, checkpoint, capsys):
    run(monkeypatch, str(checkpoint))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("om: IoU")]
    values = {int(k): float(v) for k, v in re.findall(r"(\d+): (\d\.\d+)", line)}
    best, level = re.search(r"best ([\d.]+) at (\d+)$", line).groups()
    assert values[int(level)] == float(best) == max(values.values())


def test_masks_are_scored_against_fitted_ones(monkeypatch, checkpoint, blind, capsys):
    run(monkeypatch, str(checkpoint.parents[1]), "--masks")
    lines = [x for x in capsys.readouterr().out.splitlines() if ": mask error" in x]
    assert [line.split(":")[0] for line in lines] == ["om", "blind"]
    assert lines[1].count("(100%)") == 6  # an untrained model's masks are the identity
    assert "l_mul" in lines[0]
    assert "(100%)" not in lines[0]


def test_both_timings_are_labelled(monkeypatch, checkpoint, capsys):
    monkeypatch.setattr(scoring, "TIMED", 2)
    run(monkeypatch, str(checkpoint), "--timing")
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("om: end to end")]
    whole, each, alone = (float(x) for x in re.findall(r"([\d.]+) m?s\b", line))
    assert 1000 * whole / 4 == pytest.approx(each, abs=30)
    assert 0 < alone < each
    assert "forward and retouch alone" in line


def test_triptychs_are_scored(monkeypatch, checkpoint, triptychs, tmp_path):
    run(
        monkeypatch,
        str(checkpoint),
        "--triptychs",
        str(triptychs),
        "--csv",
        str(tmp_path / "s.csv"),
    )
    rows = read(tmp_path / "s.csv")
    assert [row["name"] for row in rows] == ["a", "b"] * 2
    assert float(rows[0]["foreground"]) == pytest.approx(20 / 32)
    assert float(rows[1]["mse"]) < float(rows[0]["mse"])


def lab_panel(image):
    lab = opmask.color.opencv_lab.rgb_to_lab8(torch.from_numpy(image).permute(2, 0, 1))
    return reference_panel((lab.float() / 255 - 0.5) / 0.5)


def test_the_reference_scores_triptychs_through_its_panels(
    monkeypatch, blind, triptychs, tmp_path
):
    where = ["--triptychs", str(triptychs), "--csv", str(tmp_path / "s.csv")]
    run(monkeypatch, str(blind), *where, "--protocol", "reference")
    row = read(tmp_path / "s.csv")[0]
    strip = np.array(Image.open(triptychs / "a.png"))
    real, composite = (lab_panel(strip[:, i : i + 32].copy()) for i in (0, 32))
    expected = score(composite, real, protocol="reference", lpips=())
    for name, value in expected.items():
        assert float(row[name]) == pytest.approx(value, abs=1e-9)


def test_a_model_that_changes_nothing_is_cut_off_like_the_composite(
    monkeypatch, blind, triptychs, tmp_path
):
    where = ["--triptychs", str(triptychs), "--csv", str(tmp_path / "s.csv")]
    run(monkeypatch, str(blind), *where, "--protocol", "reference")
    composite, *_, model, _ = (float(row["mse"]) for row in read(tmp_path / "s.csv"))
    assert model == pytest.approx(composite, rel=0.02)


def test_rgb_models_are_read_and_cut_off_in_rgb(monkeypatch, checkpoint, triptychs, tmp_path):
    path = tmp_path / "rgb" / "model.safetensors"
    opmask.save(opmask.DirectRGB(SmallUNet(3, width=8), multiple_of=32), path)
    calls = []
    panel = scoring.reference_rgb_panel
    monkeypatch.setattr(scoring, "reference_rgb_panel", lambda x: calls.append(x) or panel(x))
    run(monkeypatch, str(path), "--triptychs", str(triptychs), "--protocol", "reference")
    output, real = calls
    levels = 255 * (real + 1) / 2
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert not torch.allclose(output, real)


def test_iharmony4_is_scored_by_its_own_protocol_unless_told_otherwise(
    monkeypatch, checkpoint, iharmony4, tmp_path, capsys
):
    run(monkeypatch, str(checkpoint), "--iharmony4", str(iharmony4), "--csv", str(tmp_path / "s"))
    assert "Protocol ih4-256: " in capsys.readouterr().out
    composite, om = read(tmp_path / "s")
    assert composite["name"] == om["name"] == "c1_2_3"
    assert float(composite["foreground"]) == 0.5
    assert float(composite["fmse"]) == pytest.approx(2 * float(composite["mse"]), rel=0.05)


@pytest.mark.parametrize("protocol", ["dovenet", "idih", "masked", "rainnet-leak"])
def test_other_protocols_resize_as_their_code_does(
    monkeypatch, blind, iharmony4, protocol, capsys
):
    seen = []
    monkeypatch.setattr(
        scoring, "IHarmony4", lambda *args, **how: seen.append(how) or IHarmony4(*args, **how)
    )
    run(monkeypatch, str(blind), "--iharmony4", str(iharmony4), "--protocol", protocol)
    how = {"size": 32, "interpolation": PROTOCOLS[protocol].interpolation}
    assert seen == [how] * len(seen) != []
    assert f"Protocol {protocol}: " in capsys.readouterr().out


def test_sizes_are_256_for_pictures_and_64_for_composites(monkeypatch):
    for flags, size in ((["--triptychs", "."], 256), (["--iharmony4", "."], 256), ([], 64)):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", ".", *flags])
        assert evaluate.parse().size == size


def test_outputs_of_another_program_are_scored_by_name(monkeypatch, triptychs, tmp_path, capsys):
    outputs = tmp_path / "theirs"
    outputs.mkdir()
    for name in "ab":
        strip = np.array(Image.open(triptychs / f"{name}.png"))
        Image.fromarray(strip[:, : 32 if name == "a" else 64][:, -32:]).save(
            outputs / f"{name}.png"
        )
    path = tmp_path / "s.csv"
    run(monkeypatch, "--outputs", str(outputs), "--triptychs", str(triptychs), "--csv", str(path))
    rows = read(path)
    assert [row["model"] for row in rows] == ["composite"] * 2 + ["theirs"] * 2
    assert (float(rows[2]["mse"]), float(rows[2]["iou"])) == (0, 1)  # the real image
    assert rows[3]["mse"] == rows[1]["mse"]  # the composite
    assert "theirs: IoU by threshold" in capsys.readouterr().out


def test_outputs_that_are_missing_or_of_another_size_are_named(monkeypatch, triptychs, tmp_path):
    outputs = tmp_path / "theirs"
    outputs.mkdir()
    where = ["--outputs", str(outputs), "--triptychs", str(triptychs)]
    Image.new("RGB", (30, 32)).save(outputs / "a.png")
    with pytest.raises(SystemExit, match=r"each of 2 samples, but 1 are missing, such as b\."):
        run(monkeypatch, *where)
    Image.new("RGB", (32, 32)).save(outputs / "b.png")
    with pytest.raises(
        SystemExit, match=r"a.png must be 32x32 as its sample, got 32x30\. See --s"
    ):
        run(monkeypatch, *where)


def test_real_composites_are_scored_as_published_code_would(
    monkeypatch, blind, data_root, tmp_path
):
    where = ["--iharmony4", str(data_root / "iharmony4_sample"), "--csv", str(tmp_path / "s.csv")]
    run(monkeypatch, str(blind), *where, "--protocol", "masked")
    composite, model = np.array([float(row["mse"]) for row in read(tmp_path / "s.csv")]).reshape(
        2, 6
    )
    assert model == pytest.approx(composite, rel=1e-3)


def test_iharmony4_is_scored_by_subset_with_the_add_masks(
    monkeypatch, blind, iharmony4, tmp_path, capsys
):
    shutil.copytree(iharmony4 / "HCOCO", iharmony4 / "HFlickr")
    path = tmp_path / "s.csv"
    run(monkeypatch, str(blind), "--iharmony4", str(iharmony4), "--csv", str(path))
    assert [row["subset"] for row in read(path)] == ["HCOCO", "HFlickr"] * 2
    assert [row["add_iou"] for row in read(path)] == ["", "", "0.0", "0.0"]
    assert "\n| HFlickr | images | MSE" in capsys.readouterr().out


def test_inverted_masks_are_turned_on_request(monkeypatch, blind, iharmony4, tmp_path):
    mask = iharmony4 / "HCOCO/masks/c1_2.png"
    with Image.open(mask) as picture:
        turned = picture.point(lambda level: 255 - level)
    turned.save(mask)
    arguments = (str(blind), "--iharmony4", str(iharmony4))
    with pytest.raises(OSError, match=r"c1_2.png must be white where .* seems inverted"):
        run(monkeypatch, *arguments)
    path = tmp_path / "s.csv"
    run(monkeypatch, *arguments, "--inverted", "--csv", str(path))
    assert float(read(path)[0]["foreground"]) == 0.5
