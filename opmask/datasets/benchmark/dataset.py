r"""Benchmarks on disk: composites that anyone who has the photos can rebuild, bit for bit.

The pictures of a benchmark can also be read without the photos, by
:class:`opmask.datasets.Triptychs`.

Manifest + photos -> ``Benchmark`` -> ``Composite`` -> evaluation, or picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from opmask.datasets.benchmark.manifest import read_manifest, sha256
from opmask.datasets.reading import read_photo
from opmask.files.reading import LONGEST_NAME, shorten, why_unreadable
from opmask.perturb import Composite, composite

MANIFEST = "manifest.jsonl"
"""The name of the manifest in the folder of a benchmark."""


class Benchmark(Dataset[Composite]):
    r"""The samples of a manifest, rebuilt from the photos.

    They are as :func:`opmask.datasets.build_benchmark` made them, whichever machine it was on.
    Where nothing was recompressed they equal those of ``Composites(photos, Perturber(settings),
    size=size, seed=seed)`` at the places `entries[i].index`.

    Each time a sample is asked for, the checksums of its files are compared first.

    Args:
        manifest: The manifest, or the folder that :func:`opmask.datasets.build_benchmark` wrote.
        root: The folder of the data set, to which the paths in the manifest are relative.
        perturbations: The perturbations of your own that the manifest names, each as the function
            or class itself.

    Attributes:
        header: The first line of the manifest: what the benchmark is made of, and the counts.
        entries: The other lines, one for each sample.

    Raises:
        FileNotFoundError: If there is no manifest, or no ``.cube`` file that it names.
        ValueError: If it is damaged or of another version, or names a perturbation that is not in
            `perturbations`; the message names line and field.

    Example:
        See :func:`opmask.datasets.build_benchmark`.
    """

    def __init__(
        self,
        manifest: str | Path,
        root: str | Path,
        perturbations: Sequence[Callable[..., Any]] = (),
    ) -> None:
        path = Path(manifest)
        self.manifest = path / MANIFEST if path.is_dir() else path
        self.root = Path(root)
        self.header, self.entries = read_manifest(self.manifest, perturbations)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Composite:
        """The sample at `index`.

        Raises:
            FileNotFoundError: If one of its files is missing.
            ValueError: If one of them has changed since the benchmark was built.
        """
        entry = self.entries[index]
        photo = read_photo(
            self._file(index, "photo", entry.photo, entry.photo_sha256),
            self._file(index, "label_map", entry.label_map, entry.label_map_sha256),
        )
        size = self.header.config.size
        if entry.recompression is None:
            return composite(photo.image, photo.label_map, entry.applied, size=size)
        made = composite(photo.image, photo.label_map, entry.applied)
        return entry.recompression(made, size=size)

    def _file(self, index: int, field: str, name: str, checksum: str) -> Path:
        path = self.root / name
        line = f"{field!r} in line {index % len(self) + 2} of {self.manifest}"
        if why := why_unreadable(path):
            shown = shorten(path, LONGEST_NAME)
            raise FileNotFoundError(
                f"{line} must be a file below 'root', got {shown}, which is none: {why}."
            )
        if (found := sha256(path)) != checksum:
            raise ValueError(
                f"{path} must have the SHA-256 that stands beside {line}, {checksum[:12]}..., "
                f"got {found[:12]}... The file has changed since the benchmark was built."
            )
        return path
