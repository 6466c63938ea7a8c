import base64
import hashlib
import io
import json
import logging
import os
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

import opmask
from opmask.study import StudyKey, build_study
from opmask.study.page import LARGE, QUALITY, QUESTION, key_path


def content(page):
    """What the script of the page reads."""
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>',
                      page.read_text("utf-8"), re.DOTALL)  # fmt: skip
    return json.loads(found[1])


def picture(url):
    head, data = url.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def save(path, size=(40, 30), color="red", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


@pytest.fixture
def two(tmp_path):
    """Two methods, one image, red and blue."""
    save(tmp_path / "one/barn.png", color="red")
    save(tmp_path / "two/barn.png", color="blue")
    return {"first": tmp_path / "one", "second": tmp_path / "two"}


def test_the_key_leads_from_each_embedded_image_to_its_method(folders, page, key):
    trials = {trial.key: trial for trial in key.trials}
    assert [trial.name for trial in key.trials] == ["barn", "lake", "street"]
    for shown in content(page)["trials"]:
        trial = trials[shown["key"]]
        assert {choice["key"] for choice in shown["choices"]} == set(trial.choices)
        assert sorted(trial.choices.values()) == sorted(folders)
        for choice in shown["choices"]:
            path = folders[trial.choices[choice["key"]]] / f"{trial.name}.png"
            with Image.open(path) as original:
                difference = np.array(original, int) - np.array(picture(choice["image"]), int)
            assert np.abs(difference).mean() < 3


def test_the_key_holds_the_arguments(folders, page, key):
    assert (key.title, key.question, key.seed) == ("Harmony", QUESTION, 3)
    assert (key.methods, key.version) == (tuple(folders), opmask.__version__)


def test_no_method_and_no_file_is_named_in_the_page(folders, page):
    text = page.read_text("utf-8").lower()
    for name in [*folders, "folder0", "folder1", "barn", "street"]:
        assert name not in text


def test_each_version_of_each_image_has_an_opaque_name_of_its_own(key):
    names = [name for trial in key.trials for name in (trial.key, *trial.choices)]
    assert len(set(names)) == len(names) == 12
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)


def test_the_place_in_the_source_does_not_tell_the_method(two, tmp_path):
    first = set()
    for seed in range(12):
        out = tmp_path / f"{seed}.html"
        key = build_study(two, out, seed=seed)
        shown = content(out)["trials"][0]["choices"]
        assert [c["key"] for c in shown] == sorted(c["key"] for c in shown)
        first.add(key.trials[0].choices[shown[0]["key"]])
    assert first == {"first", "second"}


def test_the_checksum_is_that_of_the_page_before_it_was_filled_in(page, key):
    text = page.read_text("utf-8")
    assert f'data-checksum="{key.checksum}"' in text
    blank = text.replace(key.checksum, "0" * 64)
    assert hashlib.sha256(blank.encode()).hexdigest() == key.checksum


def test_the_same_arguments_make_the_same_page_and_another_seed_another(two, tmp_path):
    pages = {}
    for name, seed in ("a", 0), ("b", 0), ("c", 1):
        build_study(two, tmp_path / f"{name}.html", seed=seed)
        pages[name] = (tmp_path / f"{name}.html").read_bytes()
    assert pages["a"] == pages["b"] != pages["c"]


class _Links(HTMLParser):
    """Collects what a page would load or follow."""

    def handle_starttag(self, tag, attributes):
        self.found = [*getattr(self, "found", []), *(a for a in attributes
                      if a[0] in ("src", "href", "srcset", "action", "data"))]  # fmt: skip


def test_the_page_refers_to_nothing_outside(page):
    links = _Links()
    links.feed(page.read_text("utf-8"))
    assert links.found == []
    text = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", page.read_text("utf-8"))
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "default-src 'none'; img-src data:;" in text


def test_texts_are_escaped(two, tmp_path):
    texts = {"title": "A & B </title><script>", "question": "Which <b>one</b>?"}
    build_study(two, tmp_path / "study.html", **texts)
    text = (tmp_path / "study.html").read_text("utf-8")
    assert "<title>A &amp; B &lt;/title&gt;&lt;script&gt;</title>" in text
    assert "Which &lt;b&gt;one&lt;/b&gt;?</h2>" in text
    assert text.count("<script") == 2
    assert "<b>" not in text


def test_png_and_jpeg_in_any_case_are_matched_by_their_names_without_ending(two, tmp_path):
    save(tmp_path / "one/lake.JPG")
    save(tmp_path / "two/lake.jpeg")
    (tmp_path / "two/notes.txt").write_text("not an image")
    key = build_study(two, tmp_path / "study.html")
    assert [trial.name for trial in key.trials] == ["barn", "lake"]


def test_images_are_downscaled_to_the_longest_side_and_never_enlarged(tmp_path):
    for folder in "one", "two":
        save(tmp_path / folder / "big.png", size=(80, 60))
        save(tmp_path / folder / "tall.png", size=(30, 50))
        save(tmp_path / folder / "small.png", size=(39, 40))
    methods = {"first": tmp_path / "one", "second": tmp_path / "two"}
    build_study(methods, tmp_path / "study.html", max_side=40)
    sizes = [trial["size"] for trial in content(tmp_path / "study.html")["trials"]]
    assert sizes == [[40, 30], [39, 40], [24, 40]]
    first = content(tmp_path / "study.html")["trials"][0]["choices"]
    assert [picture(choice["image"]).size for choice in first] == [(40, 30), (40, 30)]


def test_the_longest_side_is_1024_by_default(tmp_path):
    for folder in "one", "two":
        save(tmp_path / folder / "big.png", size=(1025, 2))
    build_study({"m": tmp_path / "one", "n": tmp_path / "two"}, tmp_path / "study.html")
    assert content(tmp_path / "study.html")["trials"][0]["size"][0] == 1024


def test_images_have_chroma_at_full_size_and_none_of_the_metadata(two, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "made by first"
    save(tmp_path / "one/barn.jpg", exif=exif, comment=b"first")
    (tmp_path / "one/barn.png").unlink()
    build_study(two, tmp_path / "study.html")
    for choice in content(tmp_path / "study.html")["trials"][0]["choices"]:
        image = picture(choice["image"])
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        assert not image.getexif()
        assert b"first" not in base64.b64decode(choice["image"].split(",")[1])


def test_turned_photographs_are_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "one/barn.jpg", size=(40, 30), exif=exif)
    save(tmp_path / "two/barn.jpg", size=(30, 40))
    build_study({"m": tmp_path / "one", "n": tmp_path / "two"}, tmp_path / "study.html")
    assert content(tmp_path / "study.html")["trials"][0]["size"] == [30, 40]


def test_inputs_are_shown_and_may_be_more(two, tmp_path):
    save(tmp_path / "inputs/barn.png", color="lime")
    save(tmp_path / "inputs/other.png")
    key = build_study(two, tmp_path / "study.html", inputs=tmp_path / "inputs")
    (shown,) = content(tmp_path / "study.html")["trials"]
    red, green, blue = picture(shown["input"]).getpixel((9, 9))
    assert green > 250 > 9 > max(red, blue)
    assert set(key.trials[0].choices.values()) == {"first", "second"}


def test_without_inputs_none_is_shown(page):
    assert not any("input" in trial for trial in content(page)["trials"])


def test_images_that_a_folder_lacks_are_listed(folders, tmp_path):
    for name in "barn", "street":
        (folders["beta_method"] / f"{name}.png").unlink()
    message = r"must hold the same images, but .*folder1 of 'beta_method' lacks .'barn', 'street'."
    with pytest.raises(ValueError, match=message):
        build_study(folders, tmp_path / "study.html")


def test_inputs_that_are_lacking_are_listed(folders, tmp_path):
    save(tmp_path / "inputs/lake.png", size=(160, 120))
    message = r"'inputs' must hold .* but .*inputs lacks .'barn', 'street'."
    with pytest.raises(ValueError, match=message):
        build_study(folders, tmp_path / "study.html", inputs=tmp_path / "inputs")


@pytest.mark.parametrize("folder", ["two", "inputs"])
def test_versions_of_different_sizes_are_named(two, tmp_path, folder):
    save(tmp_path / "inputs/barn.png")
    save(tmp_path / folder / "barn.png", size=(40, 31))
    message = rf"'barn' must have one size, got 40x30 of .*one.barn.png.*40x31 of .*{folder}.barn"
    with pytest.raises(ValueError, match=message):
        build_study(two, tmp_path / "study.html", inputs=tmp_path / "inputs")


def test_two_files_of_one_image_are_named(two, tmp_path):
    save(tmp_path / "one/barn.jpg")
    with pytest.raises(ValueError, match=r"one must hold one file .* got barn.jpg and barn.png."):
        build_study(two, tmp_path / "study.html")


def test_folders_without_images_are_named(tmp_path):
    for folder in "one", "two":
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match=r"must hold PNG or JPEG images, got none in \['.*one'"):
        build_study({"m": tmp_path / "one", "n": tmp_path / "two"}, tmp_path / "study.html")


@pytest.mark.parametrize("count", [1, 10])
def test_two_to_nine_methods_are_compared(count, two, tmp_path):
    methods = {f"m{number}": tmp_path / "one" for number in range(count)}
    with pytest.raises(ValueError, match=rf"'methods' must be 2 to 9, got {count}: \['m0'"):
        build_study(methods, tmp_path / "study.html")


def test_nine_methods_are_allowed(two, tmp_path):
    methods = {f"m{number}": tmp_path / "one" for number in range(9)}
    assert len(build_study(methods, tmp_path / "study.html").trials[0].choices) == 9


@pytest.mark.parametrize("argument", ["title", "question"])
def test_texts_that_name_a_method_are_refused(two, tmp_path, argument):
    message = f"'{argument}' must not name a method, got 'Is SECOND best.', which names 'second'"
    with pytest.raises(ValueError, match=message):
        build_study(two, tmp_path / "study.html", **{argument: "Is SECOND best?"})


def test_a_text_may_hold_the_name_of_a_method_within_a_word(two, tmp_path):
    build_study(two, tmp_path / "study.html", title="A firsthand impression, in seconds")


@pytest.mark.parametrize("text", ["a" * 10_001, "\udcff"])
def test_texts_with_which_the_key_could_not_be_read_are_refused(two, tmp_path, text):
    with pytest.raises(ValueError, match="texts and names of images must be Unicode of at most 1"):
        build_study(two, tmp_path / "study.html", title=text)
    assert not (tmp_path / "study.html").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes all bytes")
def test_images_whose_names_are_no_unicode_are_refused(two, tmp_path):
    for folder in two.values():
        save(folder / os.fsdecode(b"\xff.png"))
    with pytest.raises(ValueError, match=r"must be Unicode .*, got '\\udcff'"):
        build_study(two, tmp_path / "study.html")


def test_a_longest_side_below_1_is_refused(two, tmp_path):
    with pytest.raises(ValueError, match="'max_side' must be at least 1, got 0"):
        build_study(two, tmp_path / "study.html", max_side=0)


def test_the_key_of_another_page_is_never_replaced(two, tmp_path):
    out = tmp_path / "study.html"
    before = build_study(two, out)
    build_study(two, out)  # the same page may be built again
    page = out.read_bytes()
    with pytest.raises(ValueError, match=r"study.key.json must be the key of the same page or"):
        build_study(two, out, seed=1)
    assert StudyKey.read(key_path(out)) == before
    assert out.read_bytes() == page


def test_a_large_page_is_warned_about(two, tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "opmask"):
        build_study(two, tmp_path / "study.html")
        assert caplog.messages == []
        monkeypatch.setattr(
            "opmask.study.page.LARGE", (tmp_path / "study.html").stat().st_size - 1
        )
        build_study(two, tmp_path / "study.html")
    (message,) = caplog.messages
    assert re.fullmatch(r".*study.html has 0 MB, which some .* Lower max_side\.", message)


def test_documented_limits_are_kept():
    assert (LARGE, QUALITY) == (50_000_000, 95)


def test_grey_of_16_bits_is_shown_as_bright_as_it_is(two, tmp_path):
    levels = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "one/barn.png")
    build_study(two, tmp_path / "study.html")
    images = [
        picture(c["image"]) for c in content(tmp_path / "study.html")["trials"][0]["choices"]
    ]
    (grey,) = (np.array(i.convert("L"), int) for i in images if np.ptp(np.array(i)[..., 2]) > 9)
    assert np.abs(grey - (levels >> 8)).max() <= 3


def test_transparent_pictures_are_refused_and_opaque_ones_are_not(two, tmp_path):
    path = tmp_path / "one/barn.png"
    Image.new("RGBA", (40, 30), (255, 0, 0, 255)).save(path)
    build_study(two, tmp_path / "study.html")
    Image.new("RGBA", (40, 30), (255, 0, 0, 99)).save(path)
    with pytest.raises(ValueError, match=r"one/barn\.png must be opaque, got transparent pixels"):
        build_study(two, tmp_path / "other.html")


def test_files_that_are_not_meant_are_no_versions(two, tmp_path):
    for name in "._barn.png", ".DS_Store", ".barn.opmask-01234567.png":
        (tmp_path / "one" / name).write_bytes(b"about a file")
    assert len(build_study(two, tmp_path / "study.html").trials) == 1


def test_a_damaged_file_is_named(two, tmp_path):
    (tmp_path / "one/barn.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"one/barn\.png cannot be read: it is no picture"):
        build_study(two, tmp_path / "study.html")
