"""What a source is, read off names and folders."""

import pytest

from opmask.study.sources import Files, models_of_run, read_source


@pytest.fixture
def run(tmp_path):
    """A run folder with two finished models and one that is not."""
    for name in "om", "rgb":
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "model.safetensors").touch()
    (tmp_path / "run" / "omgan" / "checkpoint").mkdir(parents=True)
    return tmp_path / "run"


def test_a_folder_is_one_of_pictures_unless_a_model_is_in_it(run, tmp_path):
    (tmp_path / "outputs").mkdir()
    assert read_source("m", tmp_path / "outputs") == tmp_path / "outputs"
    model = Files("", (run / "om" / "model.safetensors",))
    assert read_source("m", run / "om") == read_source("m", *model.paths) == model


def test_published_files_are_named_after_their_network(tmp_path):
    for name in "G,1.pth", "E.pth":
        (tmp_path / name).touch()
    one, two = tmp_path / "G,1.pth", tmp_path / "E.pth"
    assert read_source("m", f"dovenet:{one}") == Files("dovenet", (one,))
    assert read_source("m", f"bargainnet:{two},{two}") == Files("bargainnet", (two, two))


def test_a_run_is_a_method_for_each_finished_model(run):
    assert models_of_run(run) == {"om": run / "om", "rgb": run / "rgb"}
    with pytest.raises(ValueError, match=r"must hold a finished model, .* got .*omgan\."):
        models_of_run(run / "omgan")


def test_a_run_is_no_source_of_one_method(run):
    with pytest.raises(
        ValueError, match=r"of 'm' must be one model, got the run .*, such as .*om\."
    ):
        read_source("m", run)


def test_a_model_in_training_is_no_folder_of_pictures(run):
    with pytest.raises(ValueError, match=r"of 'm' must be a finished model, got .*omgan, wh"):
        read_source("m", run / "omgan")


@pytest.mark.parametrize("source", ["nowhere", "dovnet:net.pth", "net.pth", "edit.opmask"])
def test_what_is_no_source_is_refused_with_those_there_are(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "net.pth", "edit.opmask":
        (tmp_path / name).touch()
    message = rf"'m' must be a folder of pictures, a model, or .*, got '{source}'. Published are d"
    with pytest.raises(ValueError, match=message):
        read_source("m", source)


@pytest.mark.parametrize("listed", ["G.pth", "G.pth,", "G.pth,E.pth,D.pth"])
def test_a_network_of_two_files_needs_both(listed):
    with pytest.raises(
        ValueError, match=f"must be bargainnet:GENERATOR,EXTRACTOR, got .*{listed}"
    ):
        read_source("m", f"bargainnet:{listed}")


def test_a_published_file_that_is_missing_is_named():
    with pytest.raises(
        ValueError, match=r"of 'm' cannot be read: 'G\.pth': there is no such file"
    ):
        read_source("m", "rainnet:G.pth")
