import subprocess
import sys

import pytest
import torch
from PIL import Image

import opmask
from opmask import LAB, Add, OperatorMaskWrapper, Retoucher, cli
from opmask.backbones import SmallUNet
from opmask.export import load_masks


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "barn.png"
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(path)
    return path


@pytest.fixture
def edit(tmp_path, photo):
    """The file of an edit that makes the left half of the photo darker."""
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Add(LAB))).eval()
    left = torch.zeros(64, 96)
    left[:, :48] = 1
    made = opmask.plan(model, opmask.read_photo(photo), work_size=48)
    made.adjust("l_add", offset=-0.2, region=left).save(tmp_path / "barn.opmask")
    return tmp_path / "barn.opmask"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(capsys, *arguments):
    """The status, and what was written to the standard output and error."""
    with pytest.raises(SystemExit) as end:
        cli.main(["export-edit", *map(str, arguments)])
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize("name", ["m.npz", "m.png", "m.tif", "m"])
def test_masks_are_written_without_the_photo(capsys, edit, out, name):
    target = out / (name if name == "m.npz" else "m")
    said = run(capsys, edit, "-o", out / name)
    assert said == (0, f"Written: {target} (3 masks, 48x32)\n", "")
    wanted = opmask.Edit.load(edit).masks()["l_add"]
    torch.testing.assert_close(load_masks(target)["l_add"], wanted, rtol=0, atol=2e-5)


def test_masks_are_written_at_the_size_of_the_photo(capsys, edit, out):
    said = run(capsys, edit, "-o", out / "m.npz", "--size", "photo", "--effective")
    assert said[:2] == (0, f"Written: {out / 'm.npz'} (3 masks, 96x64)\n")
    assert load_masks(out / "m.npz")["l_add"].shape == (1, 1, 64, 96)


@pytest.mark.parametrize("name", ["m.ora", "m.cube"])
def test_another_photo_is_refused_in_words_of_the_command(capsys, edit, tmp_path, out, name):
    other = tmp_path / "other.png"
    Image.new("RGB", (96, 64)).save(other)
    status, _, errors = run(capsys, edit, other, "-o", out / name)
    assert (status, list(out.iterdir())) == (1, [])
    assert f"{other} must be the photo that the edit was planned for" in errors
    assert "Pass --force to" in errors


def test_layers_are_written(capsys, edit, photo, out):
    said = run(capsys, edit, photo, "-o", out / "a.ora")
    assert said == (0, f"Written: {out / 'a.ora'} (layers)\n", "")


def test_tables_are_written_with_how_near_they_come(capsys, edit, photo, out):
    status, said, errors = run(capsys, edit, photo, "-o", out / "a.cube")
    assert (status, errors) == (0, "")
    assert said.startswith(f"Written: {out / 'a'} (1 table; ")
    assert "dB from the rendered photo, where the photo itself is" in said


@pytest.mark.parametrize("name", ["a.npz", "a.png", "a.ora", "a.cube"])
def test_what_is_there_is_replaced_only_when_asked(capsys, edit, photo, out, name):
    arguments = [edit, *([photo] if name[1:] in (".ora", ".cube") else []), "-o", out / name]
    assert run(capsys, *arguments)[0] == 0
    status, _, errors = run(capsys, *arguments)
    assert status == 1
    assert "--overwrite replaces it." in errors
    assert run(capsys, *arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize("name", ["a.npz", "a.png", "a.ora", "a.cube"])
def test_a_folder_that_is_missing_is_not_made_for_any_of_them(capsys, edit, photo, out, name):
    photos = [photo] if name[1:] in (".ora", ".cube") else []
    status, _, errors = run(capsys, edit, *photos, "-o", out / "mistyped" / name)
    assert (status, [*out.iterdir()]) == (1, [])
    assert "'--out' must lie in a folder that is there, got " in errors


def test_another_photo_is_refused_unless_forced(capsys, edit, tmp_path, out):
    Image.new("RGB", (192, 128), "teal").save(tmp_path / "other.png")
    arguments = edit, tmp_path / "other.png", "-o", out / "a.ora"
    status, _, errors = run(capsys, *arguments)
    assert (status, [*out.iterdir()]) == (1, [])
    assert "must be the photo that the edit was planned for" in errors
    assert run(capsys, *arguments, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.ora"], "'PHOTO' must be given for .ora"),
        (["-o", "a.cube"], "'PHOTO' must be given for .cube"),
        (["x.png", "-o", "a.ora", "--effective"], "'--out' must be of masks for --effective"),
        (["x.png", "-o", "a.cube", "--size", "photo"], "'--out' must be of masks for --effective"),
        (["x.png", "-o", "a.npz"], "'--out' must end in .ora or .cube where"),
        (["-o", "a.npz", "--force"], "'--out' must end in .ora or .cube where"),
        (["-o", "a.psd"], "'--out' must end in .npz, .png or .tif, or be a folder"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_read(capsys, arguments, message):
    status, said, errors = run(capsys, "none.opmask", *arguments)
    assert (status, said) == (1, "")
    assert message in errors


def test_files_that_are_missing_or_of_another_kind_are_refused(capsys, edit, photo, out):
    assert "there is no file" in run(capsys, "none.opmask", "-o", out / "a.npz")[2]
    assert "cannot be read" in run(capsys, edit, "none.png", "-o", out / "a.ora")[2]
    assert run(capsys, photo, "-o", out / "a.npz")[0] == 1
    assert not [*out.iterdir()]


def test_help_comes_without_torch():
    program = (
        "import sys\nfrom opmask import cli\n"
        "try:\n    cli.main(['export-edit', '--help'])\n"
        "except SystemExit as end:\n    sys.exit(end.code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
