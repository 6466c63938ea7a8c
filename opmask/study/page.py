r"""The page of a study, which shows the outputs of several methods, and its key.

The page needs neither a server nor a network: images, style and script are in it, and its content
security policy forbids it to load or send anything.

Folders of outputs, or models and composites -> :func:`build_study` -> page for the participants,
key for the experimenter.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import torch
from PIL import Image
from tqdm import tqdm

from opmask._version import __version__
from opmask.files import check_outputs, replacing
from opmask.study.key import FORMAT, MAX_METHODS, MAX_TEXT, StudyKey, Trial
from opmask.study.models import SIDE
from opmask.study.outputs import make_outputs
from opmask.study.pictures import (
    check_inputs,
    find_inputs,
    match_files,
    pair_composites,
    read_picture,
)
from opmask.study.sources import Files, read_source

logger = logging.getLogger("opmask")

QUESTION = "Which image looks most realistic?"
"""What the paper's subjects were asked, in our words."""

LARGE = 50e6  # bytes; mail and phones have trouble with larger pages
QUALITY = 95  # of JPEG, with chroma at full size: colours are what such studies are about

_NO_CHECKSUM = "0" * 64


def build_study(
    methods: Mapping[str, str | Path],
    out: str | Path,
    *,
    inputs: str | Path | None = None,
    regions: str | Path | None = None,
    show_inputs: bool = True,
    title: str = "Image comparison",
    question: str = QUESTION,
    max_side: int = 1024,
    seed: int = 0,
    work_size: int = SIDE,
    device: str | torch.device = "cpu",
) -> StudyKey:
    r"""Writes the page of a user study, and its key beside it.

    Each participant sees every image once, in all versions at the same time, and chooses one. The
    order of images and the order of versions are drawn anew for each participant, in the browser,
    and recorded with the answers. All versions are encoded alike, as JPEG of quality 95 with
    chroma at full size, without the metadata of the files.

    What a method shows is a folder of pictures, or is made here of `inputs` by a model. These
    pictures are kept, see :func:`outputs_path`: where the work was interrupted, the same call goes
    on. A model that takes a region is given it if there are `regions`.

    The same arguments make the same page. A key is never replaced by that of another page, because
    the answers that were given to its page could no longer be read.

    Args:
        methods: By name what the method's pictures come from; two to nine methods.

            * The folder of its outputs, PNG or JPEG; names of files without their endings must be
              the same in all folders.
            * A model of :func:`opmask.save`, or the folder with its `model.safetensors`.
            * The files of a published network, `dovenet:latest_net_G.pth`; those of
              `opmask.study.models.PUBLISHED`.
        out: The page to write, such as `study.html`; its key becomes `study.key.json`.
        inputs: A folder of composites, which models harmonize. If there are folders of outputs,
            those of the same names count, and it may hold more.
        regions: A folder of pictures that are white where composites were changed, paired as in
            :func:`opmask.files.regions.region_files`.
        show_inputs: Whether composites are shown beside the outputs, for reference.
        title: What stands above the page.
        question: What is asked of each image.
        max_side: The longest side of the embedded images, in pixels; larger ones are downscaled.
        seed: The integer that decides the names in the page.
        work_size: The longer side at which masks are predicted, and both sides at which networks
            paint, in pixels.
        device: Where models run.

    Returns:
        The key.

    Raises:
        ValueError: If there are fewer than two methods or more than nine, a source is none of
            these, a model needs composites or regions that are not given, a folder lacks images
            that others have, versions of an image differ in size, a file cannot be read or is not
            opaque, title or question name a method, `max_side` is below 1, page or key is one of
            the images or lies in a folder that is missing, or there is the key of another page.
        OSError: If a folder cannot be read, or a file cannot be written.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), Table 3

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for method, color in ("dovenet", "red"), ("omgan", "blue"):
        ...     (folder / method).mkdir()
        ...     Image.new("RGB", (32, 24), color).save(folder / method / "barn.png")
        >>> methods = {name: folder / name for name in ("dovenet", "omgan")}
        >>> key = build_study(methods, folder / "study.html")
        >>> key.trials[0].name, sorted(key.trials[0].choices.values())
        ('barn', ['dovenet', 'omgan'])
        >>> sorted(path.name for path in folder.glob("study.*"))
        ['study.html', 'study.key.json']
    """
    _check(methods, title, question, max_side)
    sources = {name: read_source(name, source) for name, source in methods.items()}
    made = {name: source for name, source in sources.items() if isinstance(source, Files)}
    folders = {name: source for name, source in sources.items() if isinstance(source, Path)}
    if made and inputs is None:
        raise ValueError(
            f"'inputs' must be a folder of composites, of which {', '.join(made)} make their "
            "pictures, got none."
        )
    before = {} if inputs is None else find_inputs(Path(inputs), regions)
    files = match_files(folders) if folders else {name: {} for name in before}
    if inputs is not None:
        check_inputs(before, Path(inputs), files)
        before = {name: before[name] for name in files}
    for text in (title, question, *methods, *files):
        _check_text(text)
    read = [path for versions in (before, *files.values()) for path in versions.values()]
    check_outputs({"out": out, "the key": key_path(out)}, inputs=read, overwrite=True)
    if made:
        for name in files:  # before hours of work
            _open(name, files[name], before[name])
        composites = pair_composites(before, regions)
        pictures = make_outputs(made, composites, outputs_path(out), work_size, device)
        files = {name: {**files[name], **pictures[name]} for name in files}
    elif regions is not None:
        raise ValueError("'regions' must go with a model among 'methods', got folders alone.")
    trials, records = [], []
    for name in tqdm(files, "images", disable=None):
        shown = before.get(name) if show_inputs else None
        trial, record = _trial(name, files[name], shown, max_side, seed)
        trials.append(trial)
        records.append(record)
    study = {"format": FORMAT, "version": __version__, "trials": records}
    page, checksum = _page(study, title, question)
    key = StudyKey(__version__, checksum, title, question, seed, tuple(methods), tuple(trials))
    _write(Path(out), page, key)
    return key


def key_path(out: str | Path) -> Path:
    r"""Where the key of a page lies.

    Args:
        out: The page.

    Returns:
        The file beside it.

    Example:
        >>> key_path("study.html").name
        'study.key.json'
    """
    return Path(out).with_suffix(".key.json")


def outputs_path(out: str | Path) -> Path:
    r"""Where the pictures lie that models make for a page, in a folder for each method.

    Args:
        out: The page.

    Returns:
        The folder beside it.

    Example:
        >>> outputs_path("study.html").name
        'study.outputs'
    """
    return Path(out).with_suffix(".outputs")


def _check(methods: Mapping[str, str | Path], title: str, question: str, max_side: int) -> None:
    if not 2 <= len(methods) <= MAX_METHODS:
        raise ValueError(
            f"'methods' must be 2 to {MAX_METHODS}, got {len(methods)}: {list(methods)}."
        )
    for argument, text in ("title", title), ("question", question):
        for name in methods:
            if re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE):
                raise ValueError(
                    f"{argument!r} must not name a method, got {text!r}, which names {name!r}. "
                    "Participants would read it."
                )
    if max_side < 1:
        raise ValueError(f"'max_side' must be at least 1, got {max_side}.")


def _check_text(text: str) -> None:
    """Refuses what the key could not be read with."""
    if len(text) > MAX_TEXT or text.encode(errors="ignore").decode() != text:
        raise ValueError(
            f"texts and names of images must be Unicode of at most {MAX_TEXT} characters, got "
            f"{text[:40]!r}. Change it."
        )


def _trial(
    name: str, files: dict[str, Path], before: Path | None, max_side: int, seed: int
) -> tuple[Trial, dict[str, object]]:
    """The trial as the key has it, and as the page does."""
    images = _open(name, files, before)
    for image in images:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    choices = {_opaque(seed, name, method): method for method in files}
    urls = [_data_url(image) for image in images]
    record: dict[str, object] = {
        "key": _opaque(seed, name),
        "size": images[0].size,
        # Sorted by opaque name, or the place would tell the method.
        "choices": [
            {"key": key, "image": url} for key, url in sorted(zip(choices, urls, strict=False))
        ],
    }
    if before:
        record["input"] = urls[-1]
    return Trial(_opaque(seed, name), name, choices), record


def _open(name: str, files: Mapping[str, Path], before: Path | None) -> list[Image.Image]:
    """All versions of an image, of one size; the composite, if it is there, last."""
    shown = [*files.values(), *([before] if before else [])]
    # New pictures, because a comment would be written again, and may name the method.
    images = [Image.fromarray(read_picture(path)) for path in shown]
    if len({image.size for image in images}) > 1:
        sizes = [f"{i.width}x{i.height} of {p}" for i, p in zip(images, shown, strict=True)]
        raise ValueError(
            f"the versions of {name!r} must have one size, got {', '.join(sizes)}. "
            "Resize them all alike."
        )
    return images


def _opaque(seed: int, *names: str) -> str:
    # Without the image's name a method would have the same name in all trials.
    return hashlib.sha256(json.dumps([seed, *names]).encode()).hexdigest()[:12]


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _page(study: Mapping[str, object], title: str, question: str) -> tuple[str, str]:
    """The page, and its checksum, which it holds."""
    folder = resources.files("opmask.study")
    parts = {part: (folder / f"page.{part}").read_text("utf-8") for part in ("html", "css", "js")}
    page = Template(parts["html"]).substitute(
        checksum=_NO_CHECKSUM,
        title=escape(title),
        question=escape(question),
        style=parts["css"],
        script=parts["js"],
        study=json.dumps(study, separators=(",", ":")).replace("<", "\\u003c"),
    )
    checksum = hashlib.sha256(page.encode()).hexdigest()
    return page.replace(_NO_CHECKSUM, checksum, 1), checksum


def _write(out: Path, page: str, key: StudyKey) -> None:
    target = key_path(out)
    if target.exists() and StudyKey.read(target).checksum != key.checksum:
        raise ValueError(
            f"{target} must be the key of the same page or not exist, but it belongs to another "
            "one, whose answers could not be read without it. Choose another name for the page."
        )
    with replacing(target) as temporary:
        temporary.write_text(key.to_json(), encoding="utf-8")
    with replacing(out) as temporary:
        temporary.write_bytes(page.encode())
    if (size := out.stat().st_size) > LARGE:
        logger.warning(
            "%s has %.0f MB, which some browsers and mail programs refuse. Lower max_side.",
            out,
            size / 1e6,
        )
