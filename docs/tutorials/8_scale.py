"""
Scale out
=========

From one photo to a folder of them, to all processors, and to several machines. What is there
stays, so everything can be interrupted and called again.
"""

# %%
# A folder
# --------
#
# Three photos with their regions, and a file that is broken:

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

folder = Path(tempfile.mkdtemp())
for sub in "photos", "masks":
    (folder / sub).mkdir()
for name in "coffee", "chelsea", "astronaut":
    picture = Image.fromarray(getattr(skimage.data, name)())
    picture.thumbnail((320, 320))
    region = np.zeros(picture.size[::-1], np.uint8)
    region[:, : picture.width // 2] = 255
    picture.save(folder / "photos" / f"{name}.jpg")
    Image.fromarray(region).save(folder / "masks" / f"{name}.png")
(folder / "photos" / "broken.jpg").write_bytes(b"no picture")
Image.new("L", (8, 8), 255).save(folder / "masks" / "broken.png")

# %%
# One command harmonizes all of them. What cannot be read is reported, and the others go on:


def run(command):
    """Runs a command, as a terminal would, and prints what it says."""
    words = [sys.executable, "-m", *command.split()]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    print(*(line for line in said if "%|" not in line), sep="\n")


run("opmask harmonize photos --region masks -o harmonized")

# %%
# Called again, it only makes what is missing:

(folder / "harmonized" / "coffee.jpg").unlink()
run("opmask harmonize photos --region masks -o harmonized")

# %%
# A benchmark on all processors
# -----------------------------
#
# Composites take time to make. ``build-benchmark`` shares them among processes, and its files do
# not depend on how many. Eight drawn scenes stand in for ADE20K here, in its layout:

from opmask.datasets import SyntheticScenes

for scene in SyntheticScenes(8, size=96):
    for kind, ending, pixels in (
        ("images", "jpg", scene.image.permute(1, 2, 0)),
        ("annotations", "png", scene.label_map.byte()),
    ):
        path = folder / "ADE" / kind / "validation" / f"{scene.name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(path)

run("opmask build-benchmark ade20k ADE bench --size 96 --images --workers 2")

# %%
# Real, composite and region side by side, as one file each:

pictures = sorted((folder / "bench" / "images").iterdir())
sheet = Image.new("RGB", (3 * 96, 4 * 96))
for row, path in enumerate(pictures[:4]):
    sheet.paste(Image.open(path), (0, 96 * row))
sheet

# %%
# Several machines
# ----------------
#
# Ray does the same on a cluster, with the same bytes (``pip install 'opmask[ray]'``):
#
# .. code-block:: console
#
#    $ python examples/harmonize_with_ray.py photos --region masks --out harmonized --workers 8
#    $ python examples/build_benchmark_with_ray.py ade20k ADE hscene --images --address HEAD:6379
#
# How to point it at a cluster, with GPUs, is in :doc:`/how-to/scale`.
