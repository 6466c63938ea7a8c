r"""Where the pictures of a method come from: a folder that holds them, or models that make them.

Data flow: `source -> read_source -> folder or Files -> Files.load -> Models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opmask.files.reading import why_unreadable
from opmask.study.models import PUBLISHED, Models, load_model

__all__ = ["MODEL", "Files", "models_of_run", "read_source"]

MODEL = "model.safetensors"
"""The file of a finished model, in its folder within a run folder."""


@dataclass(frozen=True)
class Files:
    """The files of the models that make a method's pictures.

    Args:
        kind: One of `PUBLISHED`, or "" for a model of opmask.
        paths: The files.
    """

    kind: str
    paths: tuple[Path, ...]

    def load(self) -> Models:
        """The models, in evaluation mode, on the CPU.

        Raises:
            ValueError: If a file is damaged, or of another network.
        """
        if self.kind:
            try:
                return PUBLISHED[self.kind].load(*self.paths)
            except ValueError as error:
                raise ValueError(_in_kinds(str(error))) from error
        return load_model(self.paths[0])


def read_source(method: str, source: str | Path) -> Path | Files:
    r"""What a source is, read off names and folders: no file is opened.

    Args:
        method: The name of the method, for errors.
        source: A folder of pictures; a model that :func:`opmask.save` wrote, or its folder in a
            run folder; or the files of a published network, such as `dovenet:latest_net_G.pth`.

    Returns:
        The folder of pictures, or the files of models.

    Raises:
        ValueError: If there is no such folder or file, or it is not said which network it is of.

    Example:
        >>> read_source("ours", "dovnet:latest_net_G.pth")
        Traceback (most recent call last):
        ...
        ValueError: the source of 'ours' must be a folder of pictures, a model, or published files
        such as dovenet:GENERATOR, got 'dovnet:latest_net_G.pth'. Published are dovenet, rainnet,
        bargainnet, ht, ht-plus, dht, dht-v2, s2ad, dirl+dovenet, sgmmh, sgmmh-ht.
    """
    name, colon, listed = str(source).partition(":")
    if colon and name in PUBLISHED:
        return _published(method, name, listed)
    path = Path(source)
    if (path / MODEL).is_file():
        return Files("", (path / MODEL,))
    if path.is_file() and path.suffix == ".safetensors":
        return Files("", (path,))
    if path.is_dir():
        if (path / "checkpoint").is_dir():
            raise ValueError(
                f"the source of {method!r} must be a finished model, got {path}, which has a "
                f"checkpoint but no {MODEL}. Go on with its training first."
            )
        if finished := _finished(path):
            raise ValueError(
                f"the source of {method!r} must be one model, got the run folder {path}. Name one "
                f"of its models, such as {finished[0].parent}."
            )
        return path
    known = f"Published are {', '.join(PUBLISHED)}."
    raise ValueError(
        f"the source of {method!r} must be a folder of pictures, a model, or published files such "
        f"as dovenet:GENERATOR, got {str(source)!r}. {known}"
    )


def models_of_run(folder: str | Path) -> dict[str, Path]:
    r"""The finished models of a run folder.

    Args:
        folder: The folder, as the training scripts write it.

    Returns:
        By name of model its folder.

    Raises:
        ValueError: If there is none.

    Example:
        >>> models_of_run("runs/of-yesterday")
        Traceback (most recent call last):
        ...
        ValueError: the folder of a run must hold a finished model, such as om/model.safetensors,
        got runs/of-yesterday.
    """
    if not (finished := _finished(Path(folder))):
        raise ValueError(
            f"the folder of a run must hold a finished model, such as om/{MODEL}, got {folder}."
        )
    return {path.parent.name: path.parent for path in finished}


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/{MODEL}"))


def _published(method: str, name: str, listed: str) -> Files:
    wanted = PUBLISHED[name].files
    # A single file may have a comma in its name.
    found = listed.split(",") if len(wanted) > 1 else [listed]
    if len(found) != len(wanted) or not all(found):
        raise ValueError(
            f"the source of {method!r} must be {name}:{','.join(wanted)}, got "
            f"{f'{name}:{listed}'!r}."
        )
    for path in found:
        if why := why_unreadable(Path(path)):
            raise ValueError(f"the source of {method!r} cannot be read: {path!r}: {why}.")
    return Files(name, tuple(map(Path, found)))


def _in_kinds(text: str) -> str:
    """A loader's message that advises what a source begins with, not another loader."""
    for name, kind in PUBLISHED.items():
        advised = f"write {name}:{','.join(kind.files)}"
        for loader in kind.loader, kind.loader.partition("(")[0]:
            text = text.replace(f"use {loader}.", f"{advised}.")
    return text.replace("Load it with opmask.load.", "Write its name alone.")
