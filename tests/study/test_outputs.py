"""Pages of which models make the pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

import opmask
from opmask.study import build_study
from opmask.study.models import Models
from opmask.study.page import outputs_path


@pytest.fixture
def save_model(tmp_path):
    """Writes a model that paints, or predicts masks, brighter by a constant."""

    def write(name, *, region=False, paints=False, by=0.5):
        backbone = opmask.backbones.SmallUNet(4 if region else 3, width=8)
        if paints:
            model = opmask.DirectRGB(backbone, region=region, multiple_of=32)
        else:
            model = opmask.OperatorMaskWrapper(backbone, region=region)
            torch.nn.init.constant_(model.head.layer.bias, by)
        path = tmp_path / f"{name}.safetensors"
        opmask.save(model, path)
        return path

    return write


@pytest.fixture
def inputs(folders):
    """The composites."""
    return folders["alpha_method"]


@pytest.fixture
def regions(folders, tmp_path):
    """The left half of each composite, by the names that regions have."""
    (tmp_path / "regions").mkdir()
    for path in folders["alpha_method"].iterdir():
        plane = np.zeros((120, 160), np.uint8)
        plane[:, :80] = 255
        Image.fromarray(plane).save(tmp_path / "regions" / f"{path.stem}_mask.png")
    return tmp_path / "regions"


@pytest.fixture
def count(monkeypatch):
    """Counts the pictures that models make."""
    made = []
    harmonize = Models.harmonize
    monkeypatch.setattr(Models, "harmonize", lambda *a, **b: made.append(1) or harmonize(*a, **b))
    return made


def pixels(path):
    return np.array(Image.open(path).convert("RGB"))


def test_models_stand_beside_folders(folders, inputs, save_model, tmp_path):
    methods = {"omgan": save_model("a"), "other": folders["beta_method"]}
    key = build_study(methods, tmp_path / "study.html", inputs=inputs, work_size=32)
    assert key.methods == ("omgan", "other")
    made = pixels(tmp_path / "study.outputs" / "omgan" / "barn.png")
    model = opmask.load(methods["omgan"])
    wanted = opmask.harmonize(model, pixels(inputs / "barn.png"), work_size=32)
    np.testing.assert_array_equal(made, wanted)
    assert not (tmp_path / "study.outputs" / "other").exists()


def test_models_that_take_a_region_are_given_it(inputs, regions, save_model, tmp_path):
    methods = {"paints": save_model("a", region=True, paints=True), "masks": save_model("b")}
    build_study(methods, tmp_path / "s.html", inputs=inputs, regions=regions, work_size=32)
    before = pixels(inputs / "barn.png")
    for name, kept in ("paints", True), ("masks", False):
        after = pixels(tmp_path / "s.outputs" / name / "barn.png")
        assert np.array_equal(after[:, 80:], before[:, 80:]) is kept
        assert not np.array_equal(after[:, :80], before[:, :80])


def test_composites_may_be_hidden(folders, inputs, tmp_path):
    for shown in True, False:
        out = tmp_path / f"{shown}.html"
        build_study(folders, out, inputs=inputs, show_inputs=shown)
        assert ('"input":"data:' in out.read_text()) is shown


def test_what_was_interrupted_goes_on_where_it_was(
    inputs, save_model, tmp_path, monkeypatch, count
):
    methods = {"one": save_model("a"), "two": save_model("b", by=0.1)}
    out = tmp_path / "study.html"
    counting = Models.harmonize

    def interrupted(*arguments, **options):
        if len(count) == 4:
            raise KeyboardInterrupt
        return counting(*arguments, **options)

    monkeypatch.setattr(Models, "harmonize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_study(methods, out, inputs=inputs, work_size=32)
    assert not out.exists()
    monkeypatch.setattr(Models, "harmonize", counting)
    build_study(methods, out, inputs=inputs, work_size=32)
    assert len(count) == 6


def test_what_another_model_or_composite_made_is_made_anew(inputs, save_model, tmp_path, count):
    methods = {"one": save_model("a"), "two": save_model("b", by=0.1)}
    build_study(methods, tmp_path / "study.html", inputs=inputs, work_size=32)
    (tmp_path / "study.key.json").unlink()
    save_model("b", by=0.2)
    Image.new("RGB", (160, 120), "teal").save(inputs / "barn.png")
    build_study(methods, tmp_path / "study.html", inputs=inputs, work_size=32)
    assert len(count) == 6 + 1 + 3


@pytest.mark.parametrize("name", ["barn.jpg", "barn.png", "old.png"])
def test_pictures_that_were_not_made_here_are_left_alone(inputs, save_model, tmp_path, name):
    path = tmp_path / "study.outputs" / "one" / name
    path.parent.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(path)
    with pytest.raises(ValueError, match=rf"must hold nothing but .*, got {name}\. Move it away"):
        build_study(
            {"one": save_model("a"), "two": save_model("b")},
            tmp_path / "study.html",
            inputs=inputs,
        )


def test_composites_are_needed_and_so_are_regions(inputs, save_model, tmp_path):
    methods = {"one": save_model("a"), "two": save_model("b", region=True, paints=True)}
    with pytest.raises(ValueError, match="'inputs' must be a folder of composites, of which one"):
        build_study(methods, tmp_path / "study.html")
    with pytest.raises(ValueError, match="'regions' must be given, because two must be told"):
        build_study(methods, tmp_path / "study.html", inputs=inputs)
    assert not outputs_path(tmp_path / "study.html").exists()


def test_regions_that_nothing_takes_are_refused(folders, inputs, regions, save_model, tmp_path):
    more = {"inputs": inputs, "regions": regions}
    with pytest.raises(ValueError, match=r"'regions' must go with a model that takes .* one, two"):
        build_study(
            {"one": save_model("a"), "two": save_model("b")}, tmp_path / "study.html", **more
        )
    with pytest.raises(ValueError, match="'regions' must go with a model among 'methods'"):
        build_study(folders, tmp_path / "study.html", **more)


def test_a_composite_without_a_region_is_named_before_all_work(
    inputs, regions, save_model, tmp_path
):
    (regions / "lake_mask.png").unlink()
    methods = {"one": save_model("a"), "two": save_model("b", region=True)}
    with pytest.raises(
        ValueError, match=r"'regions' must hold a region for each .*lake.png: lake"
    ):
        build_study(methods, tmp_path / "study.html", inputs=inputs, regions=regions)


def test_a_region_of_another_shape_is_named_before_all_work(
    inputs, regions, save_model, tmp_path, count
):
    Image.new("L", (50, 90), 255).save(regions / "street_mask.png")
    methods = {"one": save_model("a"), "two": save_model("b", region=True)}
    with pytest.raises(ValueError, match=r"street_mask.png: .* must have the aspect ratio of the"):
        build_study(methods, tmp_path / "study.html", inputs=inputs, regions=regions)
    assert not count


def test_outputs_of_another_size_than_composites_are_named_before_all_work(
    folders, inputs, save_model, tmp_path, count
):
    Image.new("RGB", (80, 60)).save(folders["beta_method"] / "lake.png")
    methods = {"one": save_model("a"), "two": folders["beta_method"]}
    with pytest.raises(ValueError, match=r"'lake' must have one size, got 80x60 of .*160x120 of"):
        build_study(methods, tmp_path / "study.html", inputs=inputs)
    assert not count


@pytest.mark.parametrize("names", [("one/two", "b"), ("..", "b"), ("OM", "om")])
def test_names_of_methods_must_be_those_of_folders(inputs, save_model, tmp_path, names):
    with pytest.raises(ValueError, match="methods must be those of folders, different in more"):
        build_study(dict.fromkeys(names, save_model("a")), tmp_path / "study.html", inputs=inputs)


def test_an_empty_folder_of_composites_is_named(save_model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="'inputs' must hold PNG or JPEG images, got none in"):
        build_study(
            {"one": save_model("a"), "two": save_model("b")},
            tmp_path / "study.html",
            inputs=tmp_path / "empty",
        )
