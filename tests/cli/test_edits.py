"""The commands around edits: files of one are what another takes."""

import json

import numpy as np
import pytest
import torch
from icc_profiles import display_p3
from PIL import Image
from torch import nn

import opmask
from opmask import (
    LAB,
    Add,
    Edit,
    Gated,
    Mul,
    OperatorMaskWrapper,
    OutputHead,
    Retoucher,
    cli,
    plan,
)
from opmask.backbones import RegionUNet, SmallUNet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint with a gate, with masks that differ from place to place."""
    torch.manual_seed(0)
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)))
    model = OperatorMaskWrapper(SmallUNet(4, width=8), retoucher, region=True)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    opmask.save(model, path)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, model, capsys):
    """Runs a command in a folder with a photo; its status and what it prints."""
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8).numpy()
    Image.fromarray(pixels).save("photo.png")
    region = np.uint8(255 * (np.arange(60) > 30)[None].repeat(40, 0))
    Image.fromarray(region).save("region.png")

    def run(command, *arguments):
        planned = command == "explain" and "--edit" not in arguments
        if planned or command in ("harmonize", "paste"):
            arguments = (*arguments, "--device", "cpu")
            if "--model" not in arguments:
                arguments = (*arguments, "--model", str(model))
        with pytest.raises(SystemExit) as end:
            cli.main([command, *arguments])
        return end.value.code, *capsys.readouterr()

    return run


def levels(name):
    with Image.open(name) as picture:
        return np.array(picture)


@pytest.fixture
def saved(run):
    assert run("harmonize", "photo.png", "-o", "out.png", "--save-edits", "a.opmask")[0] == 0
    return Edit.load("a.opmask")


def blue_finder(path):
    """A model that lightens, behind a gate that is open where the photo is blue."""
    network = RegionUNet(4, 2, width=8, trunk=None)
    retoucher = Retoucher(Gated(Add(LAB, "l")))
    model = OperatorMaskWrapper(network, retoucher, region=True, head=OutputHead())
    with torch.no_grad():  # of the finest features one is blue, and nothing else
        network.fine[0].weight.zero_()
        network.fine[0].weight[0, 2, 1, 1] = 1
        network.out.weight[1, 0] = 40
        network.out.bias.copy_(torch.tensor([2.0, -10.0]))
    opmask.save(model, path)
    return model


def test_a_refined_region_is_said_written_and_taken_as_it_is(run, tmp_path):
    blue = np.zeros((40, 60, 3), np.uint8)
    blue[10:30, 20:32, 2] = 255
    Image.fromarray(blue).save("photo.png")
    blue_finder(tmp_path / "blue.safetensors")
    told = ["photo.png", "--model", "blue.safetensors", "--box", "15,5,45,35"]
    _, said, _ = run("explain", *told, "--refine", "--save-region", "r.png", "--panel", "p.png")
    assert said.startswith("The region was refined, to 10% of the photo.\nRegion 1 (10% of")
    found = json.loads(run("explain", *told, "--refine", "--json")[1])
    assert [*found["notes"], *found["sentences"]] == said.splitlines()
    assert np.array_equal(levels("r.png") > 127, blue[..., 2] > 0)
    for name, how in ("a", [*told, "--refine"]), ("b", [*told[:3], "--region", "r.png"]):
        assert run("harmonize", *how, "-o", f"{name}.png")[0] == 0
    assert np.array_equal(levels("a.png"), levels("b.png"))
    assert (levels("a.png")[..., 2] != blue[..., 2]).sum() <= 20 * 12


def test_grabcut_goes_over_what_is_refined(run, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    blue = np.full((40, 60, 3), 30, np.uint8)
    blue[10:30, 20:32, 2] = 255
    Image.fromarray(blue).save("photo.png")
    blue_finder(tmp_path / "blue.safetensors")
    told = ["photo.png", "--model", "blue.safetensors", "--box", "15,5,45,35", "--grabcut"]
    said = run("explain", *told, "--save-region", "r.png")[1]
    assert said.startswith("The region was refined, to 10% of the photo.\n")
    assert np.array_equal(levels("r.png") > 127, blue[..., 2] > 100)
    _, _, error = run("explain", *told, "--no-refine")
    assert error == "opmask: '--grabcut' must not go with --refine or --no-refine.\n"
    _, _, error = run("explain", "photo.png", "--grabcut")
    assert error.startswith("opmask: '--grabcut' must go with a region: --region (--strokes),")
    monkeypatch.setattr("opmask.inference.grabcut.installed_opencv", lambda: None)
    for command in ["explain", *told], ["harmonize", *told, "-o", "out.png"]:
        status, _, error = run(*command)
        assert (status, error.count("\n")) == (1, 1)
        assert "needs OpenCV" in error
        assert not (tmp_path / "out.png").exists()


def test_strokes_are_written_as_strokes(run, tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save("photo.png")
    blue_finder(tmp_path / "blue.safetensors")
    strokes = np.zeros((40, 60, 2), np.uint8)
    strokes[10:20, 10:30] = 255, 255
    strokes[30:35, 5:50, 1] = 255
    Image.fromarray(strokes).save("strokes.png")
    told = ["photo.png", "--model", "blue.safetensors", "--strokes", "--region"]
    assert run("explain", *told, "strokes.png", "--save-region", "r.png")[0] == 0
    assert np.array_equal(levels("r.png"), strokes)


def test_all_of_a_photo_is_selected_unless_it_was_refined(run, tmp_path):
    blue = np.zeros((40, 60, 3), np.uint8)
    blue[10:30, 20:32, 2] = 255
    Image.fromarray(blue).save("photo.png")
    blue_finder(tmp_path / "blue.safetensors")
    told = ["photo.png", "--model", "blue.safetensors", "--box", "0,0,60,40", "-o", "b.png"]
    assert "all of it is selected" in run("harmonize", *told)[1]
    said = run("harmonize", *told, "--refine", "--overwrite")[1]
    assert "The region was refined, to 10% of the photo." in said
    assert "selected" not in said


def test_a_region_in_which_nothing_is_found_is_taken_as_it_is(run, tmp_path):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("photo.png")
    blue_finder(tmp_path / "blue.safetensors")
    told = ["photo.png", "--model", "blue.safetensors", "--box", "15,5,45,35", "-o", "out.png"]
    _, said, _ = run("harmonize", *told, "--refine")
    assert "The model finds nothing to refine in the region, which is taken as it is." in said


def test_there_must_be_a_region_to_refine_or_to_write(run, saved):
    _, _, error = run("harmonize", "photo.png", "-o", "b.png", "--refine")
    assert "'--refine' must go with a region" in error
    opmask.save(OperatorMaskWrapper(SmallUNet(4, width=8), region=True), "plain.safetensors")
    told = ["photo.png", "--box", "1,1,9,9", "-o", "b.png", "--model", "plain.safetensors"]
    _, _, error = run("harmonize", *told, "--refine")
    assert error.startswith(
        "opmask: '--refine' or --grabcut must not be given for a model without"
    )
    _, _, error = run("explain", "photo.png", "--save-region", "r.png")
    assert "'--save-region' must go with a region, or an edit that was planned for one." in error


def test_a_saved_edit_gives_the_picture_to_the_bit(run, saved):
    assert run("render", "photo.png", "a.opmask", "-o", "again.png")[0] == 0
    assert np.array_equal(levels("again.png"), levels("out.png"))


def test_another_photo_is_refused_unless_forced(run, saved):
    Image.fromarray(255 - levels("photo.png")).save("other.png")
    status, output, errors = run("render", "other.png", "a.opmask", "-o", "again.png")
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert "must be the photo that the edit was planned for" in errors
    assert "Pass --force" in errors
    assert run("render", "other.png", "a.opmask", "-o", "again.png", "--force")[0] == 0


def test_an_edit_is_changed_into_a_new_one(run, saved):
    sets = ["--set", "l_add.strength=0.5", "--set", "l_add.offset=0.1", "--set", "strength=0.8"]
    assert run("edit", "a.opmask", "-o", "b.opmask", *sets)[0] == 0
    wanted = saved.adjust("l_add", strength=0.5, offset=0.1).adjust(strength=0.8)
    run("render", "photo.png", "b.opmask", "-o", "again.png")
    assert np.array_equal(levels("again.png"), wanted.render(levels("photo.png")))
    shown = run("edit", "b.opmask")[1]
    assert "An edit for a photo of 60x40, with masks of 60x40:" in shown
    assert "1. l_add: strength 0.5, offset 0.1" in shown
    assert "2. all masks: strength 0.8, offset 0" in shown


def test_adjustments_are_taken_back_and_confined(run, saved):
    more = ["--set", "l_add.offset=0.3", "--region", "region.png"]
    run("edit", "a.opmask", "-o", "b.opmask", *more)
    run("render", "photo.png", "b.opmask", "-o", "b.png")
    assert np.array_equal(levels("b.png")[:, :28], levels("out.png")[:, :28])
    assert not np.array_equal(levels("b.png"), levels("out.png"))
    run("edit", "b.opmask", "-o", "c.opmask", "--undo", "1")
    run("render", "photo.png", "c.opmask", "-o", "c.png")
    assert np.array_equal(levels("c.png"), levels("out.png"))


def test_what_is_changed_is_told_and_drawn(run, saved, model):
    arguments = ["--edit", "a.opmask", "--panel", "panel.png"]
    status, output, _ = run("explain", "photo.png", *arguments)
    told = saved.explain(levels("photo.png")).sentences
    assert (status, output.splitlines()) == (0, told)
    assert levels("panel.png").shape[2] == 3
    found = json.loads(run("explain", "photo.png", "--json", "--region", "region.png")[1])
    photo, region = levels("photo.png"), levels("region.png")
    wanted = plan(opmask.load(model), photo, region=region).explain(photo)
    assert found["sentences"] == wanted.sentences
    assert len(found["regions"]) == len(wanted.regions)


def test_what_cannot_be_explained_is_a_line_of_json_too(run, saved):
    for arguments in (["gone.png"], ["photo.png", "--panel", "photo.png"], ["b.png", "--force"]):
        status, output, errors = run("explain", *arguments, "--json")
        if arguments[-1] == "--force":  # of no photo, but of the options
            assert (status, output) == (1, "")
            continue
        assert (status, json.loads(output)["photo"]) == (1, arguments[0])
        assert errors == f"opmask: {json.loads(output)['error']}\n"


SWAPPED = {
    "render a.opmask photo.png -o b.png": "'PHOTO' and 'EDIT' must not be swapped, got a.opmask",
    "render a.opmask a.opmask -o b.png": "'PHOTO' must be a photo, got the edit a.opmask.",
    "render photo.png photo.png -o b.png": "'EDIT' must be an edit, got the photo photo.png.",
    "explain a.opmask": "'PHOTO' must be a photo, got the edit a.opmask.",
    "explain a.opmask --edit photo.png": "'PHOTO' and '--edit' must not be swapped, got a.opmask",
    "explain photo.png --edit photo.png": "'--edit' must be an edit, got the photo photo.png.",
    "edit photo.png": "'EDIT' must be an edit, got the photo photo.png.",
    "edit photo.png -o b.opmask --undo 1": "'EDIT' must be an edit, got the photo photo.png.",
    "harmonize a.opmask -o b.png": "'PHOTO' must be a photo, got the edit a.opmask.",
    "paste a.opmask photo.png -o b.png": "'FOREGROUND' must be a photo, got the edit a.opmask.",
    "paste photo.png a.opmask -o b.png": "'BACKGROUND' must be a photo, got the edit a.opmask.",
    "export-edit photo.png a.opmask -o b.ora": "'PHOTO' and 'FILE.opmask' must not be swapped",
    "export-edit photo.png -o b.npz": "'FILE.opmask' must be an edit, got the photo photo.png.",
    "editor a.opmask": "'PHOTO' must be a photo, got the edit a.opmask.",
}


@pytest.mark.parametrize("command", SWAPPED)
def test_a_photo_in_place_of_an_edit_is_said_and_the_other_way_round(run, saved, command):
    status, output, errors = run(*command.split())
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"opmask: {SWAPPED[command]}")


# --- regions ---


def planes(tmp):
    labels = np.uint8(levels("region.png") > 0) * 7
    Image.fromarray(labels).save("labels.png")
    Image.fromarray(255 - levels("region.png")).save("inverse.png")
    strokes = np.zeros((40, 60, 4), np.uint8)
    strokes[..., :3] = levels("region.png")[..., None]
    strokes[..., 3] = 255
    Image.fromarray(strokes).save("strokes.png")
    cutout = Image.open("photo.png").convert("RGBA")
    cutout.putalpha(Image.fromarray(levels("region.png")))
    cutout.save("cutout.png")


@pytest.mark.parametrize(
    "told",
    [
        ["--region", "labels.png", "--label", "7"],
        ["--region", "inverse.png", "--invert"],
        ["--region", "strokes.png", "--strokes"],
        ["--box", "31,0,60,40"],
        ["--box", "31,0,60,20", "--box", "31,20,60,40"],
        ["--box", "0,0,31,40", "--invert"],
    ],
)
def test_a_region_is_the_same_however_it_is_told(run, tmp_path, told):
    planes(tmp_path)
    run("harmonize", "photo.png", "-o", "wanted.png", "--region", "region.png")
    assert run("harmonize", "photo.png", "-o", "out.png", *told)[0] == 0
    assert np.array_equal(levels("out.png"), levels("wanted.png"))


def test_the_transparency_of_the_photo_may_be_the_region(run, tmp_path):
    planes(tmp_path)
    run("harmonize", "photo.png", "-o", "wanted.png", "--region", "region.png")
    assert run("harmonize", "cutout.png", "-o", "out.png", "--alpha")[0] == 0
    assert np.array_equal(levels("out.png")[..., :3], levels("wanted.png"))


REFUSED = {
    "label alone": (["--label", "3"], "'--label' must go with --region"),
    "strokes alone": (["--strokes"], "'--strokes' must go with --region"),
    "two": (["--region", "region.png", "--box", "0,0,9,9"], "'--region' must not go with --box"),
    "box": (["--box", "1,2,3"], "'--box' must be X0,Y0,X1,Y1"),
    "box beyond": (["--box", "0,0,99,9"], "'--box' must be x0,y0,x1,y1 with"),
    "invert alone": (["--invert"], "'--invert' must go with a region"),
    "no alpha": (["--alpha"], "'--alpha' must go with a photo that has alpha"),
    "edits": (["--save-edits", "a.txt"], "'--save-edits' must end in .opmask"),
    "panel": (["--panel", "a.txt"], "'--panel' must end in one of .png"),
    "one file": (["--save-edits", "out.png"], "'"),
    "pixels": (["--max-pixels", "100"], "--max-pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_and_leaves_no_file(run, tmp_path, case):
    arguments, message = REFUSED[case]
    status, output, errors = run("harmonize", "photo.png", "-o", "out.png", *arguments)
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert message in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "region.png"]


def test_refusals_name_the_file(run, saved):
    Image.new("L", (30, 30), 255).save("square.png")
    Image.new("RGB", (60, 40)).save("other.png")
    assert (
        "opmask: square.png must have the aspect ratio"
        in run("harmonize", "photo.png", "-o", "b.png", "--region", "square.png")[2]
    )
    set_there = ("--set", "strength=0", "--region", "square.png")
    errors = run("edit", "a.opmask", "-o", "b.opmask", *set_there)[2]
    assert "opmask: square.png must have the aspect ratio" in errors
    errors = run("render", "other.png", "a.opmask", "-o", "b.png")[2]
    assert "opmask: other.png must be the photo that the edit was planned for" in errors


@pytest.mark.parametrize("pixels", ["0", "-5"])
def test_a_limit_on_pixels_is_at_least_one(run, pixels):
    assert run("harmonize", "photo.png", "-o", "out.png", "--max-pixels", pixels)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "l_add.strength=1"], "'--out' must say where the changed edit goes"),
        (["-o", "b.opmask"], "'--out' must go with --set or --undo, which change the edit"),
        (["-o", "b.opmask", "--set", "l_add=1"], "'--set' must be NAME.strength=NUMBER"),
        (["-o", "b.opmask", "--set", "l_add.offset=x"], "'--set' must be NAME.strength=NUMBER"),
        (["-o", "b.opmask", "--set", "x.offset=1"], "'--set': no mask named 'x'"),
        (
            ["-o", "b.opmask", "--undo", "9"],
            "'--undo' must be at most 0, as a.opmask has no more, got 9",
        ),
        (["-o", "b.opmask", "--region", "region.png"], "'--region' must go with --set"),
        (["-o", "b.opmask", "--set", "strength=1", "--set", "strength=2"], "got strength= twice"),
        (["-o", "a.opmask", "--set", "strength=1"], "'--out' must not be a file that is read"),
        (["-o", "b.txt", "--set", "strength=1"], "'--out' must end in .opmask"),
    ],
)
def test_changes_that_make_no_sense_are_refused(run, saved, arguments, message):
    status, _, errors = run("edit", "a.opmask", *arguments)
    assert (status, errors.count("\n")) == (1, 1)
    assert message in errors


def test_several_photos_have_edits_and_panels_in_folders(run):
    Image.fromarray(255 - levels("photo.png")).save("second.png")
    folders = ["-o", "out", "--save-edits", "edits", "--panel", "panels"]
    assert run("harmonize", "photo.png", "second.png", *folders)[0] == 0
    for name in "photo.png", "second.png":
        edit = Edit.load(f"edits/{name}.opmask")
        assert np.array_equal(edit.render(levels(name)), levels(f"out/{name}"))
        assert levels(f"panels/{name}.png").ndim == 3


# --- pasting ---


@pytest.fixture
def cutout(run):
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[4:16, 4:16] = (200, 120, 40, 255)
    Image.fromarray(pixels).save("cutout.png")


def test_a_cut_out_is_pasted_and_harmonized(run, cutout, model):
    files = ["cutout.png", "photo.png", "-o", "out.png"]
    status, output, _ = run("paste", *files, "--at", "10,5", "--save-edits", "a.opmask")
    assert (status, output.startswith("Written: out.png (60x40).")) == (0, True)
    composite = levels("photo.png")
    composite[9:21, 14:26] = (200, 120, 40)
    region = np.zeros((40, 60), bool)
    region[9:21, 14:26] = True
    edit = plan(opmask.load(model), composite, region=region)
    assert np.array_equal(levels("out.png"), edit.render(composite))
    assert np.array_equal(Edit.load("a.opmask").render(composite), levels("out.png"))


def test_a_cut_out_in_a_large_photo_is_not_said_to_be_refined(run, cutout):
    Image.open("photo.png").resize((600, 400)).save("large.png")
    files = ["cutout.png", "large.png", "-o", "out.png", "--scale", "8"]
    status, output, _ = run("paste", *files, "--at", "40,40")
    assert (status, "refined" in output) == (0, False)


@pytest.mark.filterwarnings("always::UserWarning")
def test_what_has_no_effect_is_stretched_or_out_of_range_is_said_in_a_line(run, saved):
    document = Edit.load("a.opmask")
    document.predicted["gate"].zero_()
    document.save("shut.opmask")
    assert "  gate     0.000 to 0.000, where the masks act" in run("edit", "shut.opmask")[1]
    status, output, errors = run(
        "edit", "shut.opmask", "-o", "b.opmask", "--set", "l_add.offset=0.2"
    )
    assert (status, output) == (0, "Written: b.opmask\n")
    assert errors.startswith("opmask: 'l_add' has no effect there, as the gate is shut.")
    assert errors.count("\n") == 1
    Image.open("photo.png").resize((40, 60)).save("turned.png")
    files = ["turned.png", "a.opmask", "-o", "turned-out.png", "--force"]
    status, output, errors = run("render", *files)
    assert (status, output.startswith("Written: turned-out.png")) == (0, True)
    assert errors.startswith("opmask: the photo of 40 by 60 pixels has another aspect ratio")
    status, _, errors = run("edit", "a.opmask", "-o", "c.opmask", "--set", "l_add.offset=-5")
    assert (status, "at most 2, as 'l_add' goes from -1 to 1, got -5" in errors) == (1, True)


def test_the_composite_is_kept_if_asked_so_that_its_edit_can_be_rendered(run, cutout):
    files = ["cutout.png", "photo.png", "-o", "out.png", "--save-edits", "a.opmask"]
    assert run("paste", *files, "--at", "10,5", "--save-composite", "pasted.png")[0] == 0
    assert levels("pasted.png")[10, 15].tolist() == [200, 120, 40]
    assert run("render", "pasted.png", "a.opmask", "-o", "again.png")[0] == 0
    assert np.array_equal(levels("again.png"), levels("out.png"))


def test_a_saved_edit_is_explained_as_it_was_planned(run, saved):
    for flag in (["--strength", "0.5"], ["--work-size", "64"], ["--device", "cpu"]):
        status, _, errors = run("explain", "photo.png", "--edit", "a.opmask", *flag)
        assert (status, "it is planned already" in errors) == (1, True)
    status, _, errors = run("explain", "photo.png", "--force")
    assert (status, "'--force' must go with --edit" in errors) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "60,0"], "'--at' must leave some of the cut-out in the photo"),
        (["--at", "x"], "'--at' must be X,Y in whole pixels"),
        (["--scale", "0.01"], "'--scale' must make the cut-out 1 to 30000 pixels"),
        (["--scale", "1400"], "'--scale' must make the cut-out at most 200,000,000 pixels"),
        (["--scale", "0"], "'--scale' must be a number above 0"),
        (["--scale", "nan"], "'--scale' must"),
    ],
)
def test_a_cut_out_beyond_the_photo_is_refused(run, cutout, arguments, message):
    status, _, errors = run("paste", "cutout.png", "photo.png", "-o", "out.png", *arguments)
    assert (status, errors.count("\n")) == (1, 1)
    assert message in errors


def test_a_picture_without_alpha_is_no_cut_out(run):
    errors = run("paste", "region.png", "photo.png", "-o", "out.png")[2]
    assert "region.png must be a cut-out" in errors


def test_what_reading_a_background_had_to_decide_is_said(run, cutout):
    Image.new("CMYK", (60, 40)).save("cmyk.jpg")
    output = run("paste", "cutout.png", "cmyk.jpg", "-o", "out.png")[1]
    assert "CMYK was converted to sRGB" in output


# --- pixels as they are ---


def test_a_16_bit_photo_keeps_more_than_256_levels(run, tmp_path):
    ramp = np.linspace(0, 65535, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint16)
    opmask.write_photo(opmask.Photo(ramp), "deep.png")
    assert run("harmonize", "deep.png", "-o", "out.tif")[0] == 0
    found = opmask.read_photo("out.tif").pixels
    assert (found.dtype, len(np.unique(found)) > 1000) == (np.uint16, True)


def test_a_photo_keeps_its_profile_and_its_colours_outside_the_region(run):
    photo = opmask.Photo(levels("photo.png"), profile=display_p3())
    opmask.write_photo(photo, "p3.png")
    run("harmonize", "p3.png", "-o", "out.png", "--region", "region.png")
    found = opmask.read_photo("out.png")
    assert found.profile == display_p3()
    assert np.array_equal(found.pixels[:, :28], photo.pixels[:, :28])
    assert not np.array_equal(found.pixels, photo.pixels)
