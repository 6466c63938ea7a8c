"""A small study."""

import json

import numpy as np
import pytest
from PIL import Image

from opmask.study import StudyKey, build_study

METHODS = ("alpha_method", "beta_method", "gamma_method")
NAMES = ("barn", "lake", "street")


@pytest.fixture
def folders(tmp_path):
    """By name of method a folder of outputs, all different."""
    made = {}
    for number, method in enumerate(METHODS):
        made[method] = tmp_path / "outputs" / f"folder{number}"
        made[method].mkdir(parents=True)
        for place, name in enumerate(NAMES):
            rng = np.random.default_rng([number, place])
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
            coarse.resize((160, 120)).save(made[method] / f"{name}.png")
    return made


@pytest.fixture
def page(folders, tmp_path):
    """The page of a study of `folders`, with its key beside it."""
    build_study(folders, tmp_path / "study.html", title="Harmony", seed=3)
    return tmp_path / "study.html"


@pytest.fixture
def key(page):
    """Its key."""
    return StudyKey.read(page.with_name("study.key.json"))


@pytest.fixture
def write_answers(key, tmp_path):
    """Writes what a participant chose: a method, by its place, for each of the first images."""

    def write(participant, methods, *, seconds=2.0, shown_last=False, **change):
        answers = []
        for trial, method in zip(key.trials, methods, strict=False):
            choice = {m: c for c, m in trial.choices.items()}[key.methods[method]]
            others = [other for other in trial.choices if other != choice]
            order = [*others, choice] if shown_last else [choice, *others]
            answers.append(
                {"trial": trial.key, "order": order, "choice": choice, "seconds": seconds}
            )
        record = {"opmask_study": 1, "checksum": key.checksum, "participant": participant}
        path = tmp_path / f"answers-{participant}.json"
        path.write_text(json.dumps({**record, "answers": answers, **change}))
        return path

    return write
