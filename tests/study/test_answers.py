import json

import pytest

from opmask.study.answers import Answer, read_all, read_answers


def test_answers_become_places_in_the_key(key, write_answers):
    first = read_answers(write_answers("7", [2, 0, 1]), key)
    assert (first.participant, first.path.name) == ("7", "answers-7.json")
    assert first.answers == (Answer(0, 2, 0, 2.0), Answer(1, 0, 0, 2.0), Answer(2, 1, 0, 2.0))
    last = read_answers(write_answers("8", [2], shown_last=True, seconds=3.5), key)
    assert last.answers == (Answer(0, 2, 2, 3.5),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opmask_study": 2}, "'opmask_study', the version of the format, must be 1, got 2"),
        ({"checksum": "c0ffee" * 4}, r"'checksum' must be .*\.\.\., got c0ffeec0ffee\.\.\., so"),
        ({"checksum": None}, "not subscriptable"),
        ({"answers": [{"trial": "nothing"}]}, "no 'nothing'"),
        ({"answers": [{}]}, "no 'trial'"),
        ({"answers": 3}, "not iterable"),
    ],
)
def test_other_contents_are_refused_with_their_file(key, write_answers, change, message):
    path = write_answers("7", [0, 0, 0], **change)
    with pytest.raises(ValueError, match=rf"answers-7.json must be answers .*: .*{message}"):
        read_answers(path, key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": ["a", "b", "c"]}, r"'order' of 'barn' must hold its choices, got \['a'"),
        ({"choice": "a"}, "no 'a'"),
        ({"seconds": "long"}, "could not convert string to float"),
    ],
)
def test_an_answer_with_other_choices_is_refused(key, write_answers, change, message):
    path = write_answers("7", [0, 0, 0])
    record = json.loads(path.read_text())
    record["answers"][0].update(change)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"answers-7.json must be .*: {message}"):
        read_answers(path, key)


def test_an_image_that_is_answered_twice_is_refused(key, write_answers):
    path = write_answers("7", [0, 0, 0])
    record = json.loads(path.read_text())
    record["answers"][1] = record["answers"][0]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="an image is answered twice"):
        read_answers(path, key)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}"])
def test_what_is_no_export_is_refused(key, tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd.json must be answers that the page exported: "):
        read_answers(tmp_path / "odd.json", key)


def test_two_files_of_one_participant_are_named(key, write_answers, tmp_path):
    path = write_answers("7", [0, 0, 0])
    again = path.rename(tmp_path / "again.json")
    files = [write_answers("8", [1]), again, write_answers("7", [1, 1, 1])]
    message = r"but .*again.json and .*answers-7.json are both of '7'. Leave one of them out."
    with pytest.raises(ValueError, match=message):
        read_all(files, key)


def test_all_are_read_in_the_order_of_their_files(key, write_answers):
    files = [write_answers(name, [0]) for name in ("9", "3", "5")]
    assert [answers.participant for answers in read_all(files, key)] == ["9", "3", "5"]
