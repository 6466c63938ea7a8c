import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from icc_profiles import display_p3
from PIL import ExifTags, Image
from torch import nn

import opmask
from opmask import LAB, Add, Gated, Mul, OperatorMaskWrapper, Retoucher, cli
from opmask.backbones import SmallUNet
from opmask.cli import harmonizing as harmonize_command
from opmask.inference import harmonize


def build(region=True, retoucher=None):
    """A small U-Net that looks as if trained: its masks differ from place to place."""
    model = OperatorMaskWrapper(SmallUNet(4 if region else 3, width=8), retoucher, region=region)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    return model.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoints, which take a while to build."""
    torch.manual_seed(0)
    models = tmp_path_factory.mktemp("models")
    opmask.save(build(), models / "model.safetensors")
    gated = build(retoucher=Retoucher(Gated(Mul(LAB), Add(LAB))))
    opmask.save(gated, models / "gated.safetensors")
    opmask.save(build(region=False), models / "blind.safetensors")
    untrained = OperatorMaskWrapper(SmallUNet(width=8))
    opmask.save(untrained, models / "untrained.safetensors")
    return models


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    """A folder with a photo, a region and the models; commands run in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    pixels = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8).numpy()
    Image.fromarray(pixels).save("photo.png")
    Image.fromarray(np.uint8(255 * (np.arange(60) > 30)[None].repeat(40, 0))).save("region.png")
    return tmp_path


def run(capsys, *arguments):
    """The status, and what was written to the standard output and error."""
    with pytest.raises(SystemExit) as end:
        cli.main(["harmonize", *map(str, arguments), "--device", "cpu"])
    return end.value.code, *capsys.readouterr()


def run_on_photo(capsys, *arguments):
    return run(capsys, "photo.png", "--model", "model.safetensors", *arguments)


def expected(photo="photo.png", model="model.safetensors", **options):
    with Image.open(photo) as picture:
        return harmonize(opmask.load(model), picture, **options)


@pytest.mark.parametrize("model", ["model", "gated", "blind"])
def test_a_photo_is_harmonized_as_by_the_library(folder, capsys, model):
    arguments = ["photo.png", "-o", "out.png", "--model", f"{model}.safetensors"]
    status, output, errors = run(capsys, *arguments)
    assert (status, errors) == (0, "")
    assert np.array_equal(Image.open("out.png"), expected(model=f"{model}.safetensors"))
    assert not np.array_equal(Image.open("out.png"), Image.open("photo.png"))
    assert output.startswith("Written: out.png (60x40; ")


def report(remark=""):
    """What is printed of out.png."""
    old, new = (np.int16(Image.open(name)) for name in ("photo.png", "out.png"))
    share = (abs(new - old).max(-1) > 4).mean()
    return f"Written: out.png (60x40; {share:.0%} of it visibly changed{remark})\n"


def test_the_share_of_the_picture_that_changed_is_printed(folder, capsys):
    assert run_on_photo(capsys, "-o", "out.png")[1] == report()
    arguments = ["photo.png", "-o", "new.png", "--model", "untrained.safetensors"]
    assert run(capsys, *arguments)[1] == "Written: new.png (60x40; 0% of it visibly changed)\n"


def test_the_strength_is_said_that_a_model_is_trusted_with(folder, capsys):
    model = build()
    model.calibration = opmask.Calibration(0.5, (0.5,), (1.0,), rough=0.75)
    opmask.save(model, "careful.safetensors")
    arguments = ["photo.png", "--overwrite", "-o", "out.png", "--model", "careful.safetensors"]
    told = [*arguments, "--region", "region.png"]
    assert run(capsys, *told)[1] == report(", at strength 0.75")
    assert run(capsys, *told, "--strength", "0.75")[1] == report()
    assert run(capsys, *arguments)[1] == report()


@pytest.fixture
def unsure(folder):
    """The path of a model that trusts nothing that it finds."""
    model = build(retoucher=Retoucher(Gated(Mul(LAB), Add(LAB))))
    model.calibration = opmask.Calibration(0.0, (0.5,), (0.0,))
    opmask.save(model, "unsure.safetensors")
    strokes = Image.new("LA", (60, 40))
    strokes.paste((0, 255), (5, 5, 30, 9))
    strokes.save("not_here.png")
    return "unsure.safetensors"


NOT_SURE = "model is not sure where, so tell it: --region, --box or --strokes"
NOT_HERE = "region says only what was not changed, so tell the model also what was"


def test_where_a_model_is_not_sure_the_way_to_tell_it_is_said(unsure, capsys):
    arguments = ["photo.png", "--overwrite", "-o", "out.png", "--model"]
    assert run(capsys, *arguments, unsure)[1] == report(f"; the {NOT_SURE}")
    only_outside = ["--region", "not_here.png", "--strokes"]
    assert run(capsys, *arguments, unsure, *only_outside)[1] == report(f"; the {NOT_HERE}")
    for told in ["--box", "0,0,20,20"], ["--strength", "1"], ["--strength", "0"]:
        assert run(capsys, *arguments, unsure, *told)[1] == report()
    assert run(capsys, *arguments, "gated.safetensors")[1] == report()


@pytest.mark.parametrize(
    ("told", "hint"),
    [([], f"The {NOT_SURE}."), (["--region", "not_here.png", "--strokes"], f"The {NOT_HERE}.")],
)
def test_an_explanation_says_that_a_model_is_not_sure(unsure, told, hint, capsys):
    with pytest.raises(SystemExit):
        cli.main(["explain", "photo.png", "--model", unsure, *told])
    assert capsys.readouterr().out.splitlines() == [hint, "Nothing changes visibly."]


def test_a_region_and_the_other_options_reach_the_library(folder, capsys):
    options = ["--region", "region.png", "--strength", "0.7", "--work-size", "32"]
    status, output, _ = run_on_photo(capsys, "-o", "out.png", *options)
    assert (status, output) == (0, report())
    region = Image.open("region.png")
    wanted = expected(region=region, strength=0.7, work_size=32)
    assert np.array_equal(Image.open("out.png"), wanted)
    assert not np.array_equal(wanted, expected(region=region))
    assert not np.array_equal(wanted, expected(region=region, strength=0.7))


@pytest.mark.parametrize("options", [["--box", "100,10,300,60"], ["--region", "long_region.png"]])
def test_a_region_of_a_very_long_photo_is_taken(folder, capsys, options):
    Image.open("photo.png").resize((2000, 80)).save("long.png")  # 16 of 256 pixels are the least
    region = Image.new("L", (2000, 80))
    region.paste(255, (100, 10, 300, 60))
    region.save("long_region.png")
    arguments = ["long.png", "-o", "out.png", "--model", "model.safetensors"]
    assert run(capsys, *arguments, *options)[0] == 0
    changed = np.int16(Image.open("out.png")) - np.int16(Image.open("long.png"))
    assert changed.any()
    assert not changed[:, 350:].any()


def test_a_region_that_selects_nothing_or_all_is_remarked_on(folder, capsys):
    Image.new("L", (60, 40), 0).save("none.png")
    Image.new("L", (60, 40), 255).save("all.png")
    output = run_on_photo(capsys, "-o", "out.png", "--region", "none.png")[1]
    assert output == "Written: out.png (60x40; nothing is selected, so it stays as it is)\n"
    assert np.array_equal(Image.open("out.png"), Image.open("photo.png"))
    output = run_on_photo(capsys, "-o", "out.png", "--overwrite", "--region", "all.png")[1]
    assert output == report("; all of it is selected, so there is nothing to match it with")


def test_the_working_size_is_that_of_the_library(folder, capsys):
    Image.open("photo.png").resize((600, 400)).save("large.png")
    assert run(capsys, "large.png", "-o", "out.png", "--model", "model.safetensors")[0] == 0
    assert np.array_equal(Image.open("out.png"), expected("large.png"))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp", ".tif", ".tiff"])
def test_the_suffix_decides_the_format(folder, capsys, suffix):
    assert run_on_photo(capsys, "-o", f"out{suffix}")[0] == 0
    with Image.open(f"out{suffix}") as picture:
        names = {"j": "JPEG", "p": "PNG", "w": "WEBP", "t": "TIFF"}
        assert (picture.format, picture.size) == (names[suffix[1].lower()], (60, 40))
    assert sorted(os.listdir()).count(f"out{suffix}") == 1


def test_jpeg_has_quality_95_and_colour_at_full_size(folder, capsys):
    run_on_photo(capsys, "-o", "out.jpg")
    expected().save("wanted.jpg", quality=95, subsampling=0)
    with Image.open("out.jpg") as picture, Image.open("wanted.jpg") as wanted:
        assert picture.quantization == wanted.quantization
        assert picture.layer == wanted.layer
        assert np.array_equal(picture, wanted)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_orientation_is_applied_and_profile_and_other_tags_are_kept(folder, capsys, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "Maker"
    Image.open("photo.png").save("turned.jpg", exif=exif, icc_profile=DISPLAY_P3)
    model = ["--model", "untrained.safetensors"]
    assert run(capsys, "turned.jpg", "-o", f"out.{suffix}", *model)[1].count("(40x60; 0%") == 1
    with Image.open(f"out.{suffix}") as picture:
        assert dict(picture.getexif()) == {ExifTags.Base.Make: "Maker"}
        assert (picture.info["icc_profile"], picture.size) == (DISPLAY_P3, (40, 60))


def test_alpha_is_kept(folder, capsys):
    photo = Image.open("photo.png").convert("RGBA")
    photo.putalpha(Image.open("region.png"))
    photo.save("alpha.png")
    assert run(capsys, "alpha.png", "-o", "out.png", "--model", "model.safetensors")[0] == 0
    assert np.array_equal(Image.open("out.png").getchannel("A"), Image.open("region.png"))


def test_overwrite_replaces_the_output(folder, capsys):
    shutil.copy("region.png", "out.png")
    assert run_on_photo(capsys, "-o", "out.png", "--overwrite")[0] == 0
    assert np.array_equal(Image.open("out.png"), expected())


@pytest.mark.parametrize("name", ["photo.png", "region.png", "linked.png"])
def test_what_is_read_is_never_overwritten(folder, capsys, name):
    os.link("photo.png", "linked.png")
    arguments = ["-o", name, "--region", "region.png", "--overwrite"]
    before = (folder / name).read_bytes()
    status, _, errors = run_on_photo(capsys, *arguments)
    assert (status, errors) == (
        1,
        f"opmask: '--out' must not be a file that is read, got {name}. Choose another name.\n",
    )
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize(("side", "suffix"), [(16383, "webp"), (65500, "jpg")])
def test_the_longest_sides_that_formats_hold_are_written(folder, capsys, side, suffix):
    Image.new("RGB", (side, 16), "teal").save("wide.png")
    out = f"out.{suffix}"
    assert run(capsys, "wide.png", "-o", out, "--model", "untrained.safetensors")[0] == 0
    with Image.open(out) as picture:
        assert picture.size == (side, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_tags_of_how_another_file_is_stored_are_not_written(folder, capsys, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[262], exif[278], exif[284] = "Maker", 0, 7, 2
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 4000
    Image.open("photo.png").save("cropped.png", exif=exif)
    out = f"out.{suffix}"
    assert run(capsys, "cropped.png", "-o", out, "--model", "model.safetensors")[0] == 0
    error = np.abs(np.int16(Image.open(out)) - np.int16(expected()))
    assert error.mean() <= (0 if suffix in ("png", "tif") else 3)
    with Image.open(out) as picture:
        tags = picture.getexif()
        assert (tags[ExifTags.Base.Make], tags.get(284)) == (
            "Maker",
            1 if suffix == "tif" else None,
        )
        assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 60


# --- what is refused ---


def contents(folder):
    paths = [path for path in folder.iterdir() if path.name != "pipe.png"]
    return {path: path.is_dir() or path.read_bytes() for path in paths}


def spoil(folder):
    """Files that must not be taken for others."""
    (folder / "text.png").write_text("not a picture")
    (folder / "half.png").write_bytes((folder / "photo.png").read_bytes()[:3000])
    (folder / "half.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:3000])
    (folder / "folder.png").mkdir()
    Image.open("photo.png").save("colour.png")
    alpha = Image.open("photo.png").convert("RGBA")
    alpha.putpixel((3, 3), (9, 9, 9, 128))
    alpha.save("alpha.png")
    Image.open("photo.png").convert("CMYK").save("cmyk.jpg")
    Image.new("L", (40, 40)).save("square.png")
    Image.new("RGB", (15, 40)).save("small.png")
    Image.fromarray(np.uint8(np.arange(60) % 3)[None].repeat(40, 0)).save("labels.png")
    os.mkfifo("pipe.png")
    Image.new("RGB", (16384, 16)).save("wide.png")
    Image.new("RGB", (65501, 16)).save("wider.png")
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 65536
    Image.open("photo.png").save("tags.png", exif=exif)
    opmask.save(opmask.DirectRGB(SmallUNet(width=8), multiple_of=32), "rgb.safetensors")


DISPLAY_P3 = display_p3()
OUT, MODEL = ["-o", "out.png"], ["--model", "model.safetensors"]
REFUSED = {
    "no suffix": (["photo.png", "-o", "out", *MODEL], "'--out' must end in one of .jpg, .jpeg,"),
    "unknown suffix": (["photo.png", "-o", "out.gif", *MODEL], "'--out' must end in one of .jpg,"),
    "no folder": (["photo.png", "-o", "new/out.png", *MODEL], "'--out' must lie in a folder that"),
    "file as folder": (["photo.png", "-o", "photo.png/out.png", *MODEL], "'--out' must lie in a"),
    "existing": (
        ["photo.png", "-o", "region.png", *MODEL],
        "'--out' must be a new file, got regi",
    ),
    "the photo": (
        ["photo.png", "-o", "photo.png", *MODEL],
        "'--out' must not be a file that is read, got phot",
    ),
    "alpha": (["alpha.png", "-o", "out.jpg", *MODEL], "'--out' must be .png, .tif or .webp for a"),
    "strength": (["photo.png", *OUT, *MODEL, "--strength", "x"], "'--strength' must be auto or a"),
    "not a number": (
        ["photo.png", *OUT, *MODEL, "--strength", "nan"],
        "'--strength' must be 'auto' or at least 0 and finite, got nan.",
    ),
    "negative": (["photo.png", *OUT, *MODEL, "--strength", "-1"], "'--strength' must be 'auto'"),
    "work size": (["photo.png", *OUT, *MODEL, "--work-size", "9"], "'--work-size' must be"),
    "no photo": (["gone.png", *OUT, *MODEL], "gone.png cannot be read: there is no such"),
    "no picture": (["text.png", *OUT, *MODEL], "text.png cannot be read: it is no picture,"),
    "half a photo": (["half.png", *OUT, *MODEL], "half.png cannot be read: "),
    "folder as photo": (["folder.png", *OUT, *MODEL], "'--out' must be a folder for several ph"),
    "small": (
        ["small.png", *OUT, *MODEL],
        "small.png must be of at least 16x16 pixels, got 15x40.",
    ),
    "no model": (
        ["photo.png", *OUT, "--model", "gone"],
        "'path' must be a checkpoint file, got 'gone': there is no such file.",
    ),
    "half a model": (
        ["photo.png", *OUT, "--model", "half.safetensors"],
        "'half.safetensors' is no",
    ),
    "photo as model": (
        ["photo.png", *OUT, "--model", "photo.png"],
        "'photo.png' is no whole safe",
    ),
    "no masks": (["photo.png", *OUT, "--model", "rgb.safetensors"], "'--model' must be one that"),
    "blind": (
        ["photo.png", *OUT, "--model", "blind.safetensors", "--region", "region.png"],
        "'--model' must be one that takes a region",
    ),
    "no region": (["photo.png", *OUT, *MODEL, "--region", "gone.png"], "gone.png cannot be read:"),
    "half a region": (
        ["photo.png", *OUT, *MODEL, "--region", "half.png"],
        "half.png cannot be re",
    ),
    "colours": (
        ["photo.png", *OUT, *MODEL, "--region", "colour.png"],
        "colour.png must be grey, white",
    ),
    "labels": (
        ["photo.png", *OUT, *MODEL, "--region", "labels.png"],
        "labels.png must be 0 and one other value, or soft with 255 for inside, got several",
    ),
    "a pipe": (["pipe.png", *OUT, *MODEL], "pipe.png cannot be read: it is no regular file"),
    "too wide for WebP": (
        ["wide.png", "-o", "out.webp", *MODEL],
        "'--out' must be .png or .tif for a photo of 16384x16, as WEBP ends at 16383 pixels",
    ),
    "too wide for JPEG": (
        ["wider.png", "-o", "out.jpg", *MODEL],
        "'--out' must be .png or .tif for a photo of 65501x16, as JPEG ends at 65500 pixels",
    ),
    "square": (
        ["photo.png", *OUT, *MODEL, "--region", "square.png"],
        "square.png must have the aspect ratio of the photo, whose height and width are 40 and "
        "60, got 40 and 40.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_line_and_status_1_and_leaves_no_file(folder, capsys, case):
    spoil(folder)
    before = contents(folder)
    arguments, message = REFUSED[case]
    status, output, errors = run(capsys, *arguments)
    assert (status, output) == (1, "")
    assert errors.startswith(f"opmask: {message}")
    assert errors.count("\n") == 1
    assert contents(folder) == before


NO_WORK = ["no suffix", "no folder", "existing", "the photo", "strength"]


@pytest.mark.parametrize("case", [*NO_WORK, "negative", "not a number", "work size"])
def test_the_output_is_refused_before_any_work(folder, capsys, monkeypatch, case):
    def fail(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr(harmonize_command, "load", fail)
    monkeypatch.setattr(harmonize_command, "open_photo", fail)
    assert run(capsys, *REFUSED[case][0])[0] == 1


EARLY = """no photo, half a photo, alpha, no region, small, colours, square, labels, a pipe,
too wide for WebP, too wide for JPEG"""


@pytest.mark.parametrize("case", EARLY.replace("\n", " ").split(", "))
def test_files_are_refused_before_the_model_is_loaded(folder, capsys, monkeypatch, case):
    spoil(folder)
    monkeypatch.setattr(harmonize_command, "load", None)
    assert run(capsys, *REFUSED[case][0])[0] == 1


def test_a_folder_that_must_not_be_written_to_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: not os.path.samefile(path, "."))
    status, _, errors = run_on_photo(capsys, "-o", "out.png")
    assert status == 1
    assert "'--out' must lie in a folder that can be written to, got out.png." in errors


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99"])
def test_a_device_that_does_not_work_is_refused(folder, capsys, device):
    with pytest.raises(SystemExit) as end:
        cli.main(["harmonize", "photo.png", *OUT, *MODEL, "--device", device])
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"opmask: '--device' must be one that works, got '{device}': ")


def test_without_a_device_it_is_the_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert harmonize_command.find_device(None).type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert harmonize_command.find_device(None).type == "cpu"


def test_a_failure_while_saving_leaves_what_was_there(folder, capsys, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(harmonize_command, "write_photo", fail)
    before = (folder / "region.png").read_bytes()
    status, _, errors = run_on_photo(capsys, "-o", "region.png", "--overwrite")
    assert (status, errors) == (1, "opmask: disk full\n")
    assert (folder / "region.png").read_bytes() == before
    assert not list(folder.glob(".*"))


# --- what a format cannot hold, and what reading decides, is said ---


def test_tags_that_a_jpeg_cannot_hold_are_left_out_and_said(folder, capsys):
    spoil(folder)
    status, output, _ = run(capsys, "tags.png", "-o", "out.jpg", "--model", "model.safetensors")
    assert (status, "EXIF" in output) == (0, True)
    with Image.open("out.jpg") as picture:
        assert not picture.getexif()


def test_cmyk_is_converted_and_said(folder, capsys):
    spoil(folder)
    status, output, _ = run(capsys, "cmyk.jpg", "-o", "out.png", "--model", "model.safetensors")
    with Image.open("out.png") as picture:
        assert (status, "CMYK" in output, picture.mode) == (0, True, "RGB")


def test_opaque_alpha_may_go_into_a_jpeg(folder, capsys):
    Image.open("photo.png").convert("RGBA").save("opaque.png")
    assert run(capsys, "opaque.png", "-o", "out.jpg", "--model", "model.safetensors")[0] == 0
    with Image.open("out.jpg") as picture:
        assert picture.mode == "RGB"


def test_the_command_runs_by_itself(folder):
    program = [sys.executable, "-W", "error", "-m", "opmask", "harmonize"]
    done = subprocess.run(
        [*program, "photo.png", *OUT, *MODEL, "--region", "region.png", "--device", "cpu"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == report()
    assert np.array_equal(Image.open("out.png"), expected(region=Image.open("region.png")))


def test_a_change_of_more_than_4_levels_counts_in_any_channel():
    before = np.full((1, 4, 3), 100, np.uint8)
    after = before.copy()
    after[0, :3] = [[104, 96, 100], [105, 100, 100], [100, 100, 95]]
    assert harmonize_command.changed_share(before, after) == 0.5
