"""
Write a perturbation
====================

What a network learns to undo is what its composites were made by. A perturbation of your own is
a callable that changes an 8-bit photo, the same way each time; the settings say when it is
drawn.
"""

# %%
# What there is
# -------------
#
# The same region of one scene under the paper's filters, another photo's colours, and another
# light. Everything that can be drawn is in :doc:`/reference/perturbations`.

# sphinx_gallery_thumbnail_number = 3
import random
from dataclasses import dataclass, replace

import torch

import opmask
from opmask.datasets import SyntheticScenes
from opmask.perturb import DEFAULT, Filter, Light, PerturbationRecord, Perturber, draw_filter
from opmask.perturb import composite as rebuild
from opmask.visualize import PanelRow, panel_image

scene = SyntheticScenes(8, size=160, seed=5)[3]
changes = {
    "the scene": None,
    "filter: walden": Filter("walden"),
    "filter: inkwell": Filter("inkwell"),
    "light: +1 stop": Light(exposure=1.0),
    "light: warmer": Light(temperature=0.8),
}
shown = {
    name: (change(scene.image) if change else scene.image) / 255
    for name, change in changes.items()
}
panel_image([PanelRow(shown)])

# %%
# Your own
# --------
#
# A frozen dataclass holds what was drawn, so that a record of it can be written and read again. It
# gets and returns ``uint8``.


@dataclass(frozen=True)
class Vignette:
    """Darkens an image towards its corners."""

    strength: float

    def __call__(self, image):
        """The image, with dark corners."""
        y, x = (torch.linspace(-1, 1, n) ** 2 for n in image.shape[1:])
        shade = 1 - self.strength * (y[:, None] + x) / 2
        return (image * shade).round().to(torch.uint8)


panel_image([PanelRow({f"strength {s}": Vignette(s)(scene.image) / 255 for s in (0.3, 0.6, 0.9)})])

# %%
# Drawn for some regions
# ----------------------
#
# ``draw_first`` of the settings draws the first change of each region. It takes all its numbers
# from the generator that it is given, which is seeded for the sample. Here half of the regions get
# a vignette, and no second change follows.


def filter_or_vignette(rng: random.Random):
    """A vignette or one of the paper's filters."""
    return Vignette(0.5 + 0.5 * rng.random()) if rng.random() < 0.5 else draw_filter(rng)


settings = replace(DEFAULT, draw_first=filter_or_vignette, second_rate=0.0, degradation_rate=0.0)
scenes = [SyntheticScenes(8, size=160, seed=5)[i] for i in range(4)]
images = torch.stack([s.image for s in scenes])
label_maps = torch.stack([s.label_map for s in scenes])
batch = Perturber(settings)(images, label_maps, [1, 2, 3, 4])
shown = {"composite": batch.composite, "real": batch.real, "region": batch.region}
panel_image([PanelRow({title: stack[i] for title, stack in shown.items()}) for i in range(4)])

# %%
# The record
# ----------
#
# Each sample knows what was done to it. With the photo the record rebuilds it, bit for bit; to
# read one with perturbations of your own, say what their names stand for.

print(*batch.applied[0].regions, sep="\n")
text = batch.applied[0].to_json()
record = PerturbationRecord.from_json(text, perturbations=[Vignette])
again = rebuild(scenes[0].image, scenes[0].label_map, record)
torch.equal(again.composite, batch.composite[0])

# %%
# Could it be undone?
# -------------------
#
# The masks that undo a sample best, constant in each region, say how much of a perturbation the
# operators can express. A vignette is not constant in its region; masks that are free at each
# pixel do better.

from opmask.fitting import fit_record

retoucher = opmask.lab_retoucher()
composite, real = batch.composite[0], batch.real[0]
constant = fit_record(batch.applied[0], retoucher, composite, real, scenes[0].label_map)
constant = {name: mask[None] for name, mask in constant.items()}
free = opmask.fit_masks(retoucher, composite[None], real[None])
shown = {
    "composite": composite,
    "constants": retoucher(composite[None], constant)[0],
    "free masks": retoucher(composite[None], free)[0],
    "real": real,
}
for name, image in shown.items():
    print(f"{name:10} {255 * (image - real).abs().mean():.2f} levels from the photo")
panel_image([PanelRow(shown, {"l_add, free": free["l_add"][0]})])

# %%
# Settings, policies for classes such as skin, and loader workers are in
# :doc:`/reference/perturbations`.
