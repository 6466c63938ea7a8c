import json

import pytest

from opmask.study import StudyKey, Trial

KEY = StudyKey(
    "0.1.0", "ab", "Title", "Which?", 3, ("m", "n"), (Trial("t0", "barn", {"c0": "n", "c1": "m"}),)
)
KEY_TRIAL = {"key": "t0", "name": "barn", "choices": {"c0": "n", "c1": "m"}}


def test_a_key_survives_its_file(tmp_path):
    (tmp_path / "key.json").write_text(KEY.to_json(), "utf-8")
    assert StudyKey.read(tmp_path / "key.json") == KEY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opmask_study": 2}, "'opmask_study', the version of the format, must be 1, got 2"),
        ({"opmask_study": 10**400}, "the version of the format, must be 1, got 1000"),
        ({"trials": [{"key": "t0"}]}, r"required field `name`, in the field 'trials\[0\]"),
        (
            {"trials": [KEY_TRIAL] * 100_001},
            "expected `array` of length <= 100000, in the field 'tri",
        ),
        ({"methods": None}, "expected `array`, got `null`, in the field 'methods'"),
        ({"methods": ["m"] * 10}, "expected `array` of length <= 9, in the field 'methods'"),
        ({"methods": ["m", "x"]}, r"the choices of 'barn' must be one for each of 'methods', "),
        ({"trials": [KEY_TRIAL] * 2}, "'trials' must have different names in the page"),
        ({"title": "a" * 10_001}, "expected `str` of length <= 10000, in the field 'title'"),
        ({"seed": 1.5}, "expected `int`, got `float`, in the field 'seed'"),
    ],
)
def test_what_is_no_key_is_refused_with_its_file(tmp_path, change, message):
    path = tmp_path / "study.key.json"
    path.write_text(json.dumps({**json.loads(KEY.to_json()), **change}))
    with pytest.raises(ValueError, match=rf"study.key.json: the key must be .*{message}"):
        StudyKey.read(path)


def test_fields_of_later_versions_are_passed_over():
    assert StudyKey.from_json(json.dumps({**json.loads(KEY.to_json()), "later": 1})) == KEY


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>"])
def test_other_texts_are_no_key(text):
    with pytest.raises(ValueError, match="the key must be the JSON that was written beside"):
        StudyKey.from_json(text)
