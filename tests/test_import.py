import subprocess
import sys

import opmask
import opmask.study

HEAVY = ["torchvision", "lpips", "timm", "segmentation_models_pytorch", "pilgram", "accelerate",
         "matplotlib", "gradio", "typer", "tensorboard", "skimage", "cv2",
         "onnx", "onnxscript", "onnxruntime"]  # fmt: skip


def test_importing_opmask_loads_no_heavy_package():
    # What kornia loads by itself does not count: below 0.9 that is accelerate, if it is there.
    code = f"""
import sys, torch, kornia.color
before = set(sys.modules)
import opmask
print([name for name in {HEAVY} if name in set(sys.modules) - before])
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_every_public_name_exists():
    for module in (
        opmask,
        opmask.losses,
        opmask.metrics,
        opmask.perturb,
        opmask.datasets,
        opmask.export,
        opmask.backbones,
        opmask.study,
    ):
        assert all(hasattr(module, name) for name in module.__all__)
        assert list(module.__all__) == sorted(set(module.__all__), key=_order)


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as ruff sorts `__all__`."""
    return (not name.isupper(), not name[0].isupper(), name)
