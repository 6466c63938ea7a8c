"""Export: models as files that run without opmask, and edits as files that other programs open."""

from opmask.export.cube import CubeExport, to_cube
from opmask.export.masks import load_masks, save_masks
from opmask.export.onnx import to_onnx
from opmask.export.openraster import to_openraster

__all__ = ["CubeExport", "load_masks", "save_masks", "to_cube", "to_onnx", "to_openraster"]
