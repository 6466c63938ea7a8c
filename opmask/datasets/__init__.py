"""Data sets of photos with label maps, and of the composites made from them."""

from opmask.datasets.ade20k import ADE20K
from opmask.datasets.benchmark import Benchmark, BenchmarkConfig, Triptychs, build_benchmark
from opmask.datasets.composites import Composites, Sources
from opmask.datasets.iharmony4 import IHarmony4
from opmask.datasets.labelled import labelled
from opmask.datasets.lip import LIP
from opmask.datasets.making import MakingConfig, make_iharmony4
from opmask.datasets.pairs import TABLE_1, PhotoCounts, PhotoFiles, pair_files
from opmask.datasets.photos import (
    BrokenPhotoError,
    Photo,
    Photos,
    Resized,
    UnlabelledPhotoError,
    random_crop,
    resize_photo,
)
from opmask.datasets.reading import read_image, read_label_map, read_photo, read_region
from opmask.datasets.region_prompts import REGION_PROMPTS, region_prompt
from opmask.datasets.scenes import SyntheticScenes
from opmask.datasets.segmentation import segment

__all__ = [
    "ADE20K",
    "LIP",
    "REGION_PROMPTS",
    "TABLE_1",
    "Benchmark",
    "BenchmarkConfig",
    "BrokenPhotoError",
    "Composites",
    "IHarmony4",
    "MakingConfig",
    "Photo",
    "PhotoCounts",
    "PhotoFiles",
    "Photos",
    "Resized",
    "Sources",
    "SyntheticScenes",
    "Triptychs",
    "UnlabelledPhotoError",
    "build_benchmark",
    "labelled",
    "make_iharmony4",
    "pair_files",
    "random_crop",
    "read_image",
    "read_label_map",
    "read_photo",
    "read_region",
    "region_prompt",
    "resize_photo",
    "segment",
]
