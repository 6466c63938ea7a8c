"""
Deploy with ONNX
================

A trained model runs where neither opmask nor PyTorch is installed: one file predicts the masks
at a small size, another applies them at full size.
"""

# %%
# Export
# ------
#
# Here it is a small network with random weights; ``opmask.load()`` or a model of yours goes the
# same way. Each file is compared with the model in ONNX Runtime before it is written.

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import skimage.data
import torch
from PIL import Image

import opmask
from opmask.backbones import SmallUNet

torch.manual_seed(0)
model = opmask.OperatorMaskWrapper(SmallUNet(width=12))
torch.nn.init.normal_(model.head.layer.weight, std=0.15)  # instead of training it
model.eval()

folder = Path(tempfile.mkdtemp())
opmask.export.to_onnx(model, folder / "predictor.onnx", parts="predictor")
opmask.export.to_onnx(model, folder / "retoucher.onnx", parts="retoucher")
print({path.name: f"{path.stat().st_size // 1024} KiB" for path in sorted(folder.iterdir())})

# %%
# Run
# ---
#
# From here on neither opmask nor PyTorch is needed. Masks are predicted on a copy of 128 pixels,
# enlarged, and applied to the photo itself.

predictor = onnxruntime.InferenceSession(folder / "predictor.onnx")
retoucher = onnxruntime.InferenceSession(folder / "retoucher.onnx")
photo = Image.fromarray(skimage.data.coffee())


def to_array(picture):
    """A picture as (1, 3, H, W) in [0, 1]."""
    return np.float32(picture).transpose(2, 0, 1)[None] / 255


def enlarge(plane, size):
    """A map (1, 1, h, w) at another width and height."""
    return np.asarray(Image.fromarray(plane[0, 0]).resize(size, Image.Resampling.BILINEAR))[
        None, None
    ]


small = photo.resize((128, 85), Image.Resampling.BILINEAR)
names = [output.name for output in predictor.get_outputs()]
masks = dict(zip(names, predictor.run(names, {"image": to_array(small)}), strict=True))
large = {name: enlarge(mask, photo.size) for name, mask in masks.items()}
(output,) = retoucher.run(["image_out"], {"image": to_array(photo), **large})
Image.fromarray(np.uint8(np.rint(255 * output[0].transpose(1, 2, 0))))

# %%
# It is what the model itself gives, but for rounding of the small copy:

expected = np.float32(opmask.harmonize(model, photo, work_size=128))
difference = np.abs(255 * output[0].transpose(1, 2, 0) - expected)
print(f"mean difference {difference.mean():.2f} levels, largest {difference.max():.1f}")

# %%
# What the masks mean
# -------------------
#
# The file says so itself, so that any program can edit them before they are applied:

about = json.loads(predictor.get_modelmeta().custom_metadata_map["opmask"])
print(about["size"])
about["operators"][0]

# %%
# Sizes, metadata, exactness and limits are in
# :doc:`/how-to/deployment`; :doc:`/how-to/demo` runs a model in the browser.
