"""
Train on your own data
======================

All that is needed are photos and, for each, a label map: a picture of the same size that numbers
its things. Changed regions are made of them while training.
"""

# %%
# Photos and label maps
# ---------------------
#
# Your folder may look like this, or be ADE20K, LIP or iHarmony4, which opmask reads as they are.
# Here 96 small drawn scenes are written to one; photographs without label maps can be cut into
# segments by :func:`opmask.datasets.segment`.

# sphinx_gallery_thumbnail_number = 3
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch.utils.data import DataLoader

import opmask
from opmask.backbones import SmallUNet, with_region_input
from opmask.datasets import Composites, PhotoFiles, SyntheticScenes, pair_files
from opmask.losses import charbonnier
from opmask.metrics import average, evaluate, to_markdown
from opmask.perturb import Perturber, collate
from opmask.visualize import PanelRow, panel_image

folder = Path(tempfile.mkdtemp())
for scene in SyntheticScenes(96, size=64):
    Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(folder / f"{scene.name}.jpg")
    Image.fromarray(scene.label_map.byte().numpy()).save(folder / f"{scene.name}.png")

print(*sorted(path.name for path in folder.iterdir())[:4])

# %%
# A data set is anything with a length that yields :class:`opmask.datasets.Photo`: an 8-bit image,
# a label map, and a name. For pairs of files there is a class that reads them; you say which files
# belong together.


class MyPhotos(PhotoFiles):
    """Photographs with label maps of the same names beside them."""

    def __init__(self, folder):
        self.pairs = pair_files(folder, folder)


photos = MyPhotos(folder)
photos[0].image.shape, photos[0].label_map.unique().tolist()

# %%
# Composites
# ----------
#
# :class:`opmask.datasets.Composites` changes some regions of each photo, by filters, shifts of
# colour and so on: which ones follows from the seed, so that a run can be repeated. What is drawn
# is in :doc:`/reference/perturbations`.

composites = Composites(photos, Perturber(), shuffle=True, seed=0)
batch = collate([composites[i] for i in range(4)])
shown = {"composite": batch.composite, "real": batch.real, "region": batch.region}
panel_image([PanelRow({title: images[i] for title, images in shown.items()}) for i in range(4)])

# %%
# A model and its training step
# -----------------------------
#
# There is no trainer to learn. The model is given the region here, as a fourth channel, which is
# the easier task; without ``region=True`` it would have to find it. Sixty steps are enough to see
# the error fall, and far too few for a good model.

torch.manual_seed(0)
model = opmask.OperatorMaskWrapper(with_region_input(SmallUNet(width=16)), region=True)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
losses = []
for batch in DataLoader(composites, 8, sampler=range(60 * 8), collate_fn=collate):
    restored, masks = model(batch.composite, batch.region)
    loss = charbonnier(restored, batch.real, eps=0.05)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(losses)
axes.set(xlabel="step", ylabel="loss")
figure.tight_layout()

# %%
# Evaluate
# --------
#
# On scenes that it has not seen, beside the composites as they are:

held_out = Composites(SyntheticScenes(32, size=64, seed=1), Perturber(), seed=1)
batches = [collate([held_out[i] for i in range(32)])]
model.eval()
scores = {
    "composite": average(evaluate(None, batches)),
    "om": average(evaluate(model, batches, guided=True)),
}
print(to_markdown([{"model": name, **row} for name, row in scores.items()]))

# %%
# And what it does with four of them. Each mask is shown as its distance from the identity:

with torch.no_grad():
    output, masks = model(batches[0].composite[:4], batches[0].region[:4])
rows = [
    PanelRow(
        {
            "composite": batches[0].composite[i],
            "output": output[i],
            "real": batches[0].real[i],
        },
        {
            name: masks[name][i] - model.retoucher.ranges[name].identity
            for name in ("l_add", "b_add")
        },
    )
    for i in range(4)
]
panel_image(rows)

# %%
# Save it, and use it on photos
# -----------------------------

opmask.save(model, folder / "model.safetensors")
opmask.load(folder / "model.safetensors").retoucher

# %%
# .. code-block:: bash
#
#    opmask harmonize photo.jpg --region region.png --model model.safetensors -o harmonized.jpg
#
# ``examples/train_minimal.py`` is a script of one page to copy. Several models and processes,
# resuming, recipes and protocols are in :doc:`/how-to/training` and :doc:`/how-to/evaluation`.
