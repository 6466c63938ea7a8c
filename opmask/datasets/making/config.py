r"""What decides a set in iHarmony4's format, besides the photos.

``MakingConfig`` -> :func:`opmask.datasets.make_iharmony4` -> first line of its journal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from opmask.datasets.benchmark.config import BenchmarkConfig

FORMATS = ("jpg", "png")
"""What composites may be saved as."""


@dataclass(frozen=True)
class MakingConfig:
    r"""What a set in iHarmony4's format is made of: with the photos, this decides every pixel.

    Args:
        subset: The name of the set, and of its folder, beside which others may lie.
        seed: The integer from which all is drawn.
        settings: One of :data:`opmask.perturb.PRESETS`, of which nothing is degraded.
        size: The height and width to which all is resized after it was changed, without keeping
            the aspect ratio. Default: it is not resized.
        masks: How many masks a photo has, or as many as it has fitting classes.
        variants: How many composites are made with each mask.
        regions: How many classes a mask has, or as many as fit; iHarmony4 has one.
        share: The least and the largest share of the photo that a mask may take, in
            :math:`[0, 1]`. The default leaves out what is too small to see, and leaves a
            background.
        format: `"jpg"`, as iHarmony4 has it, or `"png"`, which loses nothing. Masks are PNG.
        quality: The JPEG quality of composites and real images, in [1, 100]. Colours are not
            subsampled.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> MakingConfig("HBarns", seed=1, size=256).ending
        '.jpg'
    """

    subset: str = "HOwn"
    seed: int = 0
    settings: str = "default"
    size: int | None = None
    masks: int = 1
    variants: int = 1
    regions: int = 1
    share: tuple[float, float] = (0.01, 0.8)
    format: str = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        BenchmarkConfig("", "", self.seed, self.settings, self.size)  # which checks those
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.subset):
            raise ValueError(
                f"'subset' must be a name of letters, digits, '-' and '_', got {self.subset!r}."
            )
        for name in ("masks", "variants", "regions"):
            if getattr(self, name) < 1:
                raise ValueError(f"'{name}' must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.share[0] <= self.share[1] < 1:
            raise ValueError(f"'share' must rise and lie between 0 and 1, got {self.share}.")
        if self.format not in FORMATS:
            raise ValueError(f"'format' must be one of {FORMATS}, got {self.format!r}.")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"'quality' must lie in [1, 100], got {self.quality}.")

    @property
    def ending(self) -> str:
        """The ending of composites and real images."""
        return f".{self.format}"

    def header(self, photos: Mapping[str, tuple[int, str]]) -> str:
        """The first line of the journal, by which another set is told from this one."""
        return json.dumps({"opmask_iharmony4": 1, **asdict(self), "photos": photos})
