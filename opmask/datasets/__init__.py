"""Data sets of photos with label maps, and of the composites made from them."""

from opmask.datasets.ade20k import ADE20K
from opmask.datasets.composites import Composites, Sample
from opmask.datasets.photos import (
    BrokenPhotoError,
    Photo,
    Photos,
    Resized,
    random_crop,
    read_image,
    read_label_map,
    read_photo,
    resize_photo,
)
from opmask.datasets.synthetic import SyntheticScenes

__all__ = [
    "ADE20K",
    "BrokenPhotoError",
    "Composites",
    "Photo",
    "Photos",
    "Resized",
    "Sample",
    "SyntheticScenes",
    "random_crop",
    "read_image",
    "read_label_map",
    "read_photo",
    "resize_photo",
]
