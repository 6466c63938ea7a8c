import json

import pytest

from opmask.study import StudyKey, Trial

KEY = StudyKey(
    "0.1.0", "ab", "Title", "Which?", 3, ("m", "n"), (Trial("t0", "barn", {"c0": "n", "c1": "m"}),)
)


def test_a_key_survives_its_file(tmp_path):
    (tmp_path / "key.json").write_text(KEY.to_json(), "utf-8")
    assert StudyKey.read(tmp_path / "key.json") == KEY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opmask_study": 2}, "its version, must be 1, got 2"),
        ({"trials": [{"key": "t0"}]}, "missing 2 required positional arguments"),
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
        ({"methods": None}, "'NoneType' object is not iterable"),
    ],
)
def test_what_is_no_key_is_refused_with_its_file(tmp_path, change, message):
    path = tmp_path / "study.key.json"
    path.write_text(json.dumps({**json.loads(KEY.to_json()), **change}))
    with pytest.raises(ValueError, match=rf"study.key.json: the key must be .* got .*{message}"):
        StudyKey.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>"])
def test_other_texts_are_no_key(text):
    with pytest.raises(ValueError, match="the key must be the JSON that was written beside"):
        StudyKey.from_json(text)
