"""Benchmarks on disk: a manifest of what was done to photos, and pictures of it."""

from opmask.datasets.benchmark.build import IMAGES, build_benchmark, finished_files
from opmask.datasets.benchmark.config import BenchmarkConfig
from opmask.datasets.benchmark.dataset import Benchmark
from opmask.datasets.benchmark.manifest import read_manifest
from opmask.datasets.benchmark.recompression import (
    RECOMPRESSION_QUALITY,
    Recompression,
    draw_recompression,
)
from opmask.datasets.benchmark.triptych import Triptychs, to_triptych, write_triptych

__all__ = [
    "IMAGES",
    "RECOMPRESSION_QUALITY",
    "Benchmark",
    "BenchmarkConfig",
    "Recompression",
    "Triptychs",
    "build_benchmark",
    "draw_recompression",
    "finished_files",
    "read_manifest",
    "to_triptych",
    "write_triptych",
]
