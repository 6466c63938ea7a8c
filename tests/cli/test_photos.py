import os
import re
from pathlib import Path

import pytest

from opmask.cli.photos import Job, find_jobs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Photos and regions; their contents do not count."""
    monkeypatch.chdir(tmp_path)
    names = "a.jpg b.PNG c.bmp notes.txt"
    touch(*(f"photos/{name}" for name in names.split()))
    touch("masks/a.png", "masks/b_mask.tif", "masks/c.png", "masks/c_mask.png")
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def find(*arguments, out="out", region=None, **options):
    region = region and Path(region)
    return find_jobs([Path(a) for a in arguments], Path(out), region=region, **options)


def names(jobs):
    return [str(job.out) for job in jobs]


def test_one_photo_is_written_to_a_file(folder):
    to_do, finished = find("photos/a.jpg", out="new.png", region="masks/a.png")
    assert to_do == [Job(Path("photos/a.jpg"), Path("masks/a.png"), Path("new.png"))]
    assert finished == []


@pytest.mark.parametrize("argument", ["photos/a.jpg", "photos/a.j*"])
def test_one_photo_is_written_into_a_folder_that_is_there(folder, argument):
    Path("out").mkdir()
    assert names(find(argument)[0]) == ["out/a.jpg"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos"],
        ["photos/*"],
        ["**/[abc].[jPb]*"],
        ["photos/a.jpg", "photos/b.PNG", "photos/c.bmp"],
        ["photos/a.jpg", "photos", "./photos/a.jpg"],
    ],
)
def test_photos_folders_and_patterns_are_written_under_their_names(folder, arguments):
    assert names(find(*arguments)[0]) == ["out/a.jpg", "out/b.PNG", "out/c.png"]


def test_a_name_with_the_signs_of_a_pattern_is_a_name_if_there_is_such_a_file(folder):
    touch("a[1].png", "a1.png")
    assert find("a[1].png", out="new.png")[0][0].photo == Path("a[1].png")


def test_photos_of_one_name_and_two_formats_are_two(folder):
    touch("photos/a.png")
    assert names(find("photos")[0])[:2] == ["out/a.jpg", "out/a.png"]


@pytest.mark.parametrize(
    ("arguments", "first", "second", "target"),
    [
        (["photos"], "photos/c.bmp", "photos/c.png", "out/c.png"),
        (["photos", "more"], "photos/a.jpg", "more/a.jpg", "out/a.jpg"),
        (["photos", "more"], "photos/a.jpg", "more/A.JPG", "out/A.JPG"),
    ],
)
def test_two_photos_with_one_output_are_refused(folder, arguments, first, second, target):
    touch(second)
    message = f"got {first} and {second}, which would both become {target}. Rename one"
    with pytest.raises(ValueError, match=re.escape(message)):
        find(*arguments)


def test_regions_are_paired_by_name_and_a_mask_comes_first(folder):
    regions = [job.region for job in find("photos", region="masks")[0]]
    assert regions == [Path(f"masks/{n}") for n in ("a.png", "b_mask.tif", "c_mask.png")]


def test_regions_beside_the_photos_are_no_photos(folder):
    touch(*(f"photos/{name}_mask.png" for name in "abc"))
    to_do, _ = find("photos/*", region="photos")
    assert [(job.photo.stem, job.region.name) for job in to_do] == [
        (name, f"{name}_mask.png") for name in "abc"
    ]


def test_beside_the_photos_the_same_name_is_another_photo_and_no_region(folder):
    touch("photos/a.png")
    with pytest.raises(ValueError, match=r"got photos without one for photos/a\.jpg: a_mask\.png"):
        find("photos", region="photos")


def test_one_region_may_be_that_of_all_photos(folder):
    assert {job.region for job in find("photos", region="masks/a.png")[0]} == {Path("masks/a.png")}


def test_a_photo_without_a_region_is_named(folder):
    Path("masks/b_mask.tif").unlink()
    message = "got masks without one for photos/b.PNG: b_mask.png or b.png, or with another ending"
    with pytest.raises(ValueError, match=re.escape(message)):
        find("photos", region="masks")


def test_two_regions_of_one_photo_are_refused(folder):
    touch("masks/a.tif")
    with pytest.raises(ValueError, match=r"one region for photos/a\.jpg, got .*a.png and .*a.tif"):
        find("photos", region="masks")


def test_what_is_there_is_finished_unless_it_is_to_be_overwritten(folder):
    touch("out/b.PNG")
    to_do, finished = find("photos")
    assert (names(to_do), names(finished)) == (["out/a.jpg", "out/c.png"], ["out/b.PNG"])
    to_do, finished = find("photos", overwrite=True)
    assert (len(to_do), finished) == (3, [])


@pytest.mark.parametrize("argument", ["photos", "photos/*", "photos/**"])
def test_outputs_within_the_folder_of_the_photos_are_no_photos(folder, argument):
    touch("photos/out/b.PNG", "photos/out/old/a.jpg")
    to_do, finished = find(argument, out="photos/out")
    assert names(to_do) == ["photos/out/a.jpg", "photos/out/c.png"]
    assert names(finished) == ["photos/out/b.PNG"]


def test_a_pattern_that_the_shell_has_expanded_may_hold_the_output_folder(folder):
    touch("photos/out/a.jpg")
    os.unlink("photos/notes.txt")
    to_do, finished = find(*sorted(Path("photos").iterdir()), out="photos/out")
    assert (len(to_do), len(finished)) == (2, 1)


def test_the_folder_of_the_photos_is_no_place_for_outputs(folder):
    with pytest.raises(ValueError, match="'--out' must be another folder than that of the photos"):
        find("photos", out="photos")
    with pytest.raises(ValueError, match=r"must not hold files that are read, got photos/a\.jpg"):
        find("photos/a.jpg", "masks", out="photos")


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_what_is_read_is_no_output_by_any_name(folder, overwrite, link):
    Path("out").mkdir()
    link(Path("masks/b_mask.tif").absolute(), "out/c.png")
    with pytest.raises(ValueError, match=r"must not hold files that are read, got out/c\.png"):
        find("photos", region="masks", overwrite=overwrite)


def test_the_model_is_no_output(folder):
    touch("out/a.jpg")
    with pytest.raises(ValueError, match=r"must not hold files that are read, got out/a\.jpg"):
        find("photos", model=Path("out/a.jpg"), overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["gone.png"], {"out": "new.png"}, "gone.png cannot be read: there is no such file."),
        (["photos", "gone.png"], {}, "gone.png cannot be read: there is no such file."),
        (["photos/*.gif"], {}, "a pattern with photos in it, got photos/*.gif, which has none."),
        (
            ["empty"],
            {},
            "'PHOTO' must be a photo, or a folder or a pattern with photos in it, got",
        ),
        (["photos", "empty"], {}, "got empty, which has none."),
        (["photos"], {"region": "gone"}, "gone cannot be read: there is no such file."),
        (["photos"], {"out": "masks/a.png"}, "must be a folder for several photos, got the file"),
        (["photos"], {"out": "new.png"}, "must be a folder for several photos, got the file new."),
        (["photos"], {"out": "masks/a.png/out"}, "must be a folder that can be written to, got"),
    ],
)
def test_names_that_make_no_sense_are_refused(folder, arguments, options, message):
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=re.escape(message)):
        find(*arguments, **options)


def test_a_folder_that_must_not_be_written_to_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(ValueError, match="'--out' must be a folder that can be written to, got o"):
        find("photos", out="out/new")


def test_what_can_be_read_is_taken_of_a_folder_and_what_cannot_be_written_becomes_png(folder):
    touch("more/a.gif", "more/b.JFIF", "more/c.tga", "more/d.avif", "more/e.mp4", "more/f.opmask")
    assert names(find("more")[0]) == ["out/a.png", "out/b.png", "out/c.png", "out/d.avif"]
    touch("more/masks/a.gif")
    assert find("more/a.gif", region="more/masks", out="x.png")[0][0].region.name == "a.gif"


def test_panels_of_before_are_no_photos(folder):
    touch("photos/panels/a.jpg.png")
    assert len(find("photos/**/*", panels=Path("photos/panels"))[0]) == 3
    with pytest.raises(ValueError, match="'--out' and '--panel' must be another folder than that"):
        find("photos", panels=Path("photos"))


def test_edits_and_panels_too_are_no_files_that_are_read(folder):
    touch("photos/a.jpg.png")
    with pytest.raises(ValueError, match=r"'--panel' must not hold files that are read"):
        find("photos/a.jpg", "photos/a.jpg.png", panels=Path("photos"))
