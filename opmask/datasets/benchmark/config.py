r"""What decides a benchmark, besides the photos.

``BenchmarkConfig`` -> :func:`opmask.datasets.build_benchmark` -> first line of the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass

from opmask.perturb import JPEG, PRESETS

LARGEST_SIZE = 8192
"""The largest height and width of a sample, in pixels."""


@dataclass(frozen=True)
class BenchmarkConfig:
    r"""What a benchmark is made of: with the files, this decides every pixel.

    Args:
        data: The name of the data set, such as `"ADE20K"`.
        split: The name of its split.
        seed: The integer from which all samples are drawn.
        settings: One of :data:`opmask.perturb.PRESETS`.
        size: The height and width to which samples are resized, without keeping the aspect ratio.
            Default: they are not resized.
        recompression: The JPEG quality of composites that are resampled and compressed, see
            :class:`opmask.datasets.benchmark.recompression.Recompression`. Default: they stay
            exact.

    Raises:
        ValueError: If there are no such settings, `size` is not in [1, 8192], `recompression`
            not in [1, 100], or `seed` needs more than 64 bits.

    Example:
        >>> BenchmarkConfig("ADE20K", "validation", seed=1, size=256).settings
        'default'
    """

    data: str
    split: str
    seed: int = 0
    settings: str = "default"
    size: int | None = None
    recompression: int | None = None

    def __post_init__(self) -> None:
        if self.settings not in PRESETS:
            raise ValueError(
                f"'settings' must be one of {', '.join(PRESETS)}, got {self.settings!r}."
            )
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"'seed' must fit 64 bits, got {self.seed}.")
        if self.size is not None and self.size < 1:
            raise ValueError(f"'size' must be at least 1, got {self.size}.")
        if self.size is not None and self.size > LARGEST_SIZE:
            raise ValueError(f"'size' must be at most {LARGEST_SIZE}, got {self.size}.")
        if self.recompression is not None:
            JPEG(self.recompression)  # which refuses what is no quality
