import os

import pytest

from opmask.files.folders import check_folder, replacing_folder

INDEX = "index.json"


def write(path, *names, **how):
    with replacing_folder(path, INDEX, **how) as folder:
        for name in names:
            (folder / name).write_text(name)
        quoted = ", ".join(f'"{name}"' for name in names)
        (folder / INDEX).write_text(f'{{"files": [{quoted}]}}')


def names(folder):
    return sorted(os.listdir(folder))


def test_the_folder_appears_when_the_body_is_done(tmp_path):
    path = tmp_path / "deep" / "folder"
    with replacing_folder(path, INDEX) as folder:
        (folder / "a").touch()
        assert not path.exists()
        assert folder.parent == path.parent
    assert names(path.parent) == ["folder"]
    assert names(path) == ["a"]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    write(tmp_path / "folder", "a")

    def write_half():
        with replacing_folder(tmp_path / "folder", INDEX, overwrite=True) as folder:
            (folder / "b").touch()
            raise error("mine")

    with pytest.raises(error, match=r"^mine$"):
        write_half()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["a", INDEX]


def test_a_folder_that_is_there_is_replaced_only_when_asked(tmp_path):
    write(tmp_path / "folder", "a", "b")
    with pytest.raises(ValueError, match=r"new folder, got .* overwrite=True replaces it"):
        write(tmp_path / "folder", "c")
    write(tmp_path / "folder", "c", overwrite=True)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["c", INDEX]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "a")
    assert names(tmp_path / "folder") == ["a", INDEX]


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    write(tmp_path / "folder", "a")
    (tmp_path / "folder" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"with other files in it. Choose another name"):
        write(tmp_path / "folder", "a", overwrite=True)
    assert names(tmp_path / "folder") == ["a", INDEX, "mine.txt"]


@pytest.mark.parametrize("index", ["", "[]", '{"files": 3}', "{" * 100_000])
def test_a_folder_whose_index_is_no_index_is_never_replaced(tmp_path, index):
    (tmp_path / INDEX).write_text(index)
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="with other files in it"):
        check_folder(tmp_path, INDEX, overwrite=True)


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="'path' must be a folder, got the file"):
        check_folder(tmp_path / "file", INDEX)
    for name in "file", "missing":
        with pytest.raises(ValueError, match="'path' must lie in a folder that is there, got"):
            check_folder(tmp_path / name / "deeper", INDEX)


def test_a_link_keeps_its_place(tmp_path):
    write(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "b", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["b", INDEX]
