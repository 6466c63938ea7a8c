"""Data sets of photos with label maps, and of the composites made from them."""

from opmask.datasets.ade20k import ADE20K
from opmask.datasets.benchmark import Benchmark
from opmask.datasets.building import build_benchmark
from opmask.datasets.composites import Composites, Sample, Source, Sources
from opmask.datasets.hints import HINTS, region_hint
from opmask.datasets.iharmony4 import HarmonyTriple, IHarmony4, resize_triple, to_sample
from opmask.datasets.labelled import labelled
from opmask.datasets.lip import LIP
from opmask.datasets.pairs import TABLE_1, Counts, PhotoFiles, pair_files
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
from opmask.datasets.recipe import Recipe
from opmask.datasets.segments import segment
from opmask.datasets.synthetic import SyntheticScenes
from opmask.datasets.triptych import Triptychs

__all__ = [
    "ADE20K",
    "HINTS",
    "LIP",
    "TABLE_1",
    "Benchmark",
    "BrokenPhotoError",
    "Composites",
    "Counts",
    "HarmonyTriple",
    "IHarmony4",
    "Photo",
    "PhotoFiles",
    "Photos",
    "Recipe",
    "Resized",
    "Sample",
    "Source",
    "Sources",
    "SyntheticScenes",
    "Triptychs",
    "UnlabelledPhotoError",
    "build_benchmark",
    "labelled",
    "pair_files",
    "random_crop",
    "read_image",
    "read_label_map",
    "read_photo",
    "read_region",
    "region_hint",
    "resize_photo",
    "resize_triple",
    "segment",
    "to_sample",
]
