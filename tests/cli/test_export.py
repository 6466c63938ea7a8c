import onnx
import pytest
import torch

import opmask
from opmask import RGB, Add, DirectRGB, OperatorMaskWrapper, Retoucher, cli
from opmask.backbones import SmallUNet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a small model."""
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    opmask.save(OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Add(RGB, "r"))), path)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "model.onnx"


def run(capsys, *arguments):
    """The status, and what was written to the standard output and error."""
    with pytest.raises(SystemExit) as end:
        cli.main(["export-onnx", *map(str, arguments)])
    return end.value.code, *capsys.readouterr()


def names(values):
    return [value.name for value in values]


@pytest.mark.slow
def test_a_part_of_a_checkpoint_becomes_a_file(capsys, model, out):
    status, said, errors = run(capsys, "--model", model, "--parts", "retoucher", "-o", out)
    size = f"{out.stat().st_size / 1e6:.1f}"
    assert (status, said, errors) == (0, f"Written: {out} ({size} MB; retoucher)\n", "")
    assert names(onnx.load(out).graph.input) == ["image", "r_add"]


def test_without_further_words_the_model_in_the_box_is_exported_whole(capsys, out, monkeypatch):
    """That its file gives the same picture is tested in tests/export/test_onnx.py."""
    asked = []

    def to_onnx(model, path, *, parts, half):
        asked.append((model.state_dict(), parts, half))
        path.write_bytes(b"a file")

    monkeypatch.setattr("opmask.export.to_onnx", to_onnx)
    assert run(capsys, "-o", out)[0] == 0
    ((weights, *how),) = asked
    assert how == ["both", False]
    in_the_box = opmask.load().state_dict()
    assert weights.keys() == in_the_box.keys()
    assert all(torch.equal(weights[name], in_the_box[name]) for name in weights)


@pytest.mark.slow
def test_a_file_that_is_there_is_replaced_only_when_asked(capsys, model, out):
    out.write_text("mine")
    arguments = "--model", model, "--parts", "retoucher", "-o", out
    status, _, errors = run(capsys, *arguments)
    assert (status, out.read_text()) == (1, "mine")
    assert "--overwrite replaces it" in errors
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    onnx.checker.check_model(out)


def test_another_suffix_is_refused_before_anything_is_read(capsys, tmp_path):
    said = run(capsys, "--model", tmp_path / "none", "-o", tmp_path / "model.pt")
    assert said == (1, "", f"opmask: '--out' must end in .onnx, got {tmp_path / 'model.pt'}.\n")


def test_a_part_that_there_is_not_is_a_wrong_argument(capsys, out):
    status, _, errors = run(capsys, "--parts", "all", "-o", out)
    assert status == 2
    assert "predictor" in errors


def test_a_model_without_masks_is_refused(capsys, tmp_path, out):
    path = tmp_path / "direct.safetensors"
    opmask.save(DirectRGB(SmallUNet(width=8), multiple_of=32), path)
    status, _, errors = run(capsys, "--model", path, "-o", out)
    assert (status, out.exists()) == (1, False)
    assert "'--model' must be one that predicts masks" in errors
