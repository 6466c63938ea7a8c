r"""The pictures of methods that are models: made of composites, one by one, and kept.

Each is written whole or not at all, and says in itself what it was made of and by which files. So
what was interrupted goes on where it was, and what was made of something else is made anew.

Data flow: `composites, regions, files of models -> make_outputs -> folders of PNG files`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from opmask._version import __version__
from opmask.files import replacing
from opmask.files.pictures import picture_files
from opmask.inference.plan import check_options
from opmask.study.models import Models
from opmask.study.pictures import Composite
from opmask.study.sources import Files

__all__ = ["make_outputs"]

MARK = "opmask-study"
"""The text in a picture that says what it was made of."""


def make_outputs(
    methods: Mapping[str, Files],
    composites: Mapping[str, Composite],
    folder: Path,
    work_size: int,
    device: str | torch.device,
) -> dict[str, dict[str, Path]]:
    """Makes the pictures of methods, each in a folder of its own; by image and method their files.

    What can be refused is refused before the first is made.

    Raises:
        ValueError: If models need regions or take none, a composite, a region or a file of a model
            cannot be used, or a name or what is there already is in the way.
        OSError: If a picture cannot be written.
    """
    check_options(1.0, work_size)
    for name in methods:
        others = {other.casefold() for other in methods if other != name}
        if Path(name).name != name or name == ".." or name.casefold() in others:
            raise ValueError(
                f"the names of methods must be those of folders, different in more than case, got "
                f"{name!r}."
            )
        _check_folder(folder / name, composites)
    models = {name: files.load() for name, files in methods.items()}
    _check_regions(models, composites)
    for composite in composites.values():
        composite.read()
    pictures: dict[str, dict[str, Path]] = {name: {} for name in composites}
    for method, files in methods.items():
        how = [__version__, files.kind, *map(_checksum, files.paths), work_size]
        model = models.pop(method).to(device)
        (folder / method).mkdir(parents=True, exist_ok=True)
        for name, composite in tqdm(composites.items(), method, disable=None, unit="picture"):
            pictures[name][method] = path = folder / method / f"{name}.png"
            _make(path, model, composite, how, work_size)
    return pictures


def _make(
    path: Path, models: Models, composite: Composite, how: Sequence[object], work_size: int
) -> None:
    """Makes a picture, unless there is the one that would be made."""
    seen = composite.path, None if models.region == "never" else composite.region
    made_of = [_checksum(file) for file in seen if file is not None]
    mark = _digest(json.dumps([*how, *made_of]).encode())
    if _mark(path) == mark:
        return
    pixels, region = composite.read()
    picture = Image.fromarray(models.harmonize(pixels, region, work_size=work_size))
    text = PngInfo()
    text.add_text(MARK, mark)
    with replacing(path) as temporary:
        picture.save(temporary, "PNG", pnginfo=text)


def _check_folder(folder: Path, composites: Mapping[str, Composite]) -> None:
    """Raises if a folder for pictures holds others, which would be replaced or left over."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder for pictures, got a file. Move it away.")
    for path in picture_files(folder):
        if path.stem not in composites or path.suffix != ".png" or not _mark(path):
            raise ValueError(
                f"{folder} must hold nothing but pictures that were made here, one for each "
                f"composite, got {path.name}. Move it away."
            )


def _check_regions(models: Mapping[str, Models], composites: Mapping[str, Composite]) -> None:
    there = all(composite.region is not None for composite in composites.values())
    needing = [name for name, model in models.items() if model.region == "needed"]
    if needing and not there:
        raise ValueError(
            f"'regions' must be given, because {', '.join(needing)} must be told where composites "
            "were changed, got none."
        )
    if there and all(model.region == "never" for model in models.values()):
        raise ValueError(
            f"'regions' must go with a model that takes them, got none among {', '.join(models)}."
        )


def _mark(path: Path) -> str:
    """What a picture says that it was made of; "" if there is none, or it does not say."""
    try:
        with Image.open(path) as picture:
            return str(picture.info.get(MARK, ""))
    except (OSError, SyntaxError):  # which Pillow raises for a broken PNG
        return ""


def _checksum(path: Path) -> str:
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
