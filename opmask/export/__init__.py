"""Export: models as files that run without opmask, and without PyTorch."""

from opmask.export.onnx import to_onnx

__all__ = ["to_onnx"]
