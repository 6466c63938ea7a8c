from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import opmask
from opmask import OperatorMaskWrapper, cli
from opmask.backbones import SmallUNet
from opmask.cli.clips import harmonize_clip
from opmask.files.video import open_clip

pytest.importorskip("av", "18")  # there is none for Python 3.10
from clips import make_clip, packets, picture, times_of


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = OperatorMaskWrapper(SmallUNet(4, width=8), region=True)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    return model.eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mp4")
    region = np.zeros((48, 64), np.uint8)
    region[24:, 32:] = 255
    Image.fromarray(region).save("region.png")
    (tmp_path / "frames").mkdir()
    for i in range(8, 12):
        Image.fromarray(picture(i)).save(f"frames/frame{i}.png")
    return tmp_path


@pytest.fixture
def run(folder, model):
    def run(clip, out, region=None, **options):
        region = region and folder / region
        return harmonize_clip(folder / clip, folder / out, lambda: model, region=region, **options)

    return run


def frames_of(path):
    with open_clip(path) as clip:
        return np.stack([*clip.frames()]).astype(float)


def test_a_clip_becomes_a_harmonized_one_with_its_sound_and_times(folder, run):
    assert run("clip.mp4", "out.mp4") == f"Written: {folder / 'out.mp4'} (64x48; 6 frames)"
    assert times_of(folder / "out.mp4") == times_of(folder / "clip.mp4")
    assert packets(folder / "out.mp4", "audio") == packets(folder / "clip.mp4", "audio")
    assert np.abs(frames_of("out.mp4") - frames_of("clip.mp4")).mean() > 3


@pytest.mark.parametrize("kind", ["region.png", "regions", "regions.mkv"])
def test_outside_the_region_the_clip_stays(folder, run, kind):
    (folder / "regions").mkdir()
    for i in range(6):
        Image.open("region.png").save(f"regions/{i}.png")
    make_clip(folder / "regions.mkv", sound=False, draw=partial(drawn, Image.open("region.png")))
    run("clip.mp4", "out.mp4", kind)
    change = np.abs(frames_of("out.mp4") - frames_of("clip.mp4")).mean((0, 3))
    assert change[:20].mean() < 2  # the codec's own
    assert change[30:, 38:].mean() > 3


def drawn(region, i, size):
    return np.array(region.convert("RGB"))


def test_a_folder_of_frames_becomes_another_in_the_order_of_numbers(folder, run):
    assert run("frames", "out") == f"Written: 4 frames to {folder / 'out'} (64x48)"
    names = [f"frame{i}.png" for i in range(8, 12)]
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(names)
    for name in names:
        assert not np.array_equal(Image.open(f"out/{name}"), Image.open(f"frames/{name}"))


def never():
    raise AssertionError("a model was opened")


@pytest.mark.parametrize(
    ("clip", "out", "options", "message"),
    [
        ("empty.mkv", "new.mp4", {}, "empty.mkv must have frames, got a clip without any"),
        ("text.mp4", "new.mp4", {}, "text.mp4 cannot be read: it is no clip"),
        ("gone.mp4", "new.mp4", {}, "gone.mp4 cannot be read: there is no such file"),
        ("clip.mp4", "region.png", {}, "'--out' must be a new file"),
        ("clip.mp4", "clip.mp4", {"overwrite": True}, "must not be a file that is read"),
        ("clip.mp4", "new.webm", {}, "holds aac sound"),
        ("clip.mp4", "new.mp4", {"region": "square.png"}, "must have the aspect ratio"),
        ("clip.mp4", "new.mp4", {"region": "gone.png"}, "gone.png cannot be read"),
        ("clip.mp4", "new.mp4", {"strength": -1}, "'strength' must be 'auto' or at least 0"),
        ("nothing", "new", {}, "'CLIP' must be a folder with frames"),
        ("frames", "frames", {"overwrite": True}, "must not be a file that is read"),
        ("frames", "region.png", {}, "'--out' must be a folder for a folder of frames"),
    ],
)
def test_what_is_refused_is_refused_before_the_model_and_leaves_no_file(
    folder, clip, out, options, message
):
    make_clip(folder / "empty.mkv", times=())
    (folder / "text.mp4").write_text("no clip")
    (folder / "nothing").mkdir()
    Image.new("L", (40, 40)).save("square.png")
    if "region" in options:
        options = {**options, "region": folder / options["region"]}
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=message):
        harmonize_clip(folder / clip, folder / out, never, **options)
    assert sorted(folder.rglob("*")) == before


def test_after_ctrl_c_there_is_no_output(folder, model, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("opmask.Retoucher.apply_", interrupt)
    with pytest.raises(KeyboardInterrupt):
        harmonize_clip(folder / "clip.mp4", folder / "out.mp4", lambda: model)
    assert not list(folder.glob("*out*"))


def test_a_blind_model_takes_no_region(folder):
    blind = OperatorMaskWrapper(SmallUNet(width=8)).eval()
    with pytest.raises(ValueError, match="'--region' must not be given to a blind model"):
        harmonize_clip(
            folder / "clip.mp4", folder / "o.mp4", lambda: blind, region=folder / "region.png"
        )


def test_the_command_takes_a_clip_or_a_folder_of_frames(folder, model, capsys):
    opmask.save(model, "model.safetensors")
    options = ["--model", "model.safetensors", "--device", "cpu", "--region", "region.png"]
    for arguments in ["clip.mp4", "-o", "out.mp4"], ["frames", "-o", "out", "--frames"]:
        with pytest.raises(SystemExit) as end:
            cli.main(["harmonize", *arguments, *options])
        output, errors = capsys.readouterr()
        assert (end.value.code, errors) == (0, "")
        assert output.startswith("Written: ")
    assert len(list((folder / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip.mp4", "region.png"], "'PHOTO' must be one clip, or photos alone."),
        (["clip.mp4", "--box", "0,0,9,9"], "must be a photo for these options; a clip has --reg"),
        (["clip.mp4", "--compile"], "must be a photo for these options; a clip has --region"),
        (["clip.mp4", "--max-pixels", "9"], "must be a photo for these options; a clip has --reg"),
    ],
)
def test_what_a_clip_cannot_have_is_refused(folder, capsys, arguments, message):
    with pytest.raises(SystemExit):
        cli.main(["harmonize", *arguments, "-o", "out.mp4"])
    assert message in capsys.readouterr().err
