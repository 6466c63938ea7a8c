"""Data sets of photos with label maps, and of the composites made from them."""

from opmask.datasets.ade20k import ADE20K
from opmask.datasets.composites import Composites, Sample
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
from opmask.datasets.reading import read_image, read_label_map, read_photo
from opmask.datasets.synthetic import SyntheticScenes

__all__ = [
    "ADE20K",
    "LIP",
    "TABLE_1",
    "BrokenPhotoError",
    "Composites",
    "Counts",
    "Photo",
    "PhotoFiles",
    "Photos",
    "Resized",
    "Sample",
    "SyntheticScenes",
    "UnlabelledPhotoError",
    "labelled",
    "pair_files",
    "random_crop",
    "read_image",
    "read_label_map",
    "read_photo",
    "resize_photo",
]
