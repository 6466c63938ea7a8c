"""
Harmonize a photo
=================

A region of a photo looks out of place: it was pasted, or changed by a filter. You say where,
roughly or exactly, and the bundled model brings it back towards the rest.
"""

# %%
# A photo to mend
# ---------------
#
# Here the cup and its saucer go through a photo filter, so that the right answer is known. What
# belongs to them is found by their colours, as segments that lie in an ellipse.

import skimage.data
import torch
from PIL import Image

import opmask
from opmask.datasets import segment
from opmask.perturb import Filter
from opmask.visualize import PanelRow, panel_image

photo = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)  # (3, 400, 600), uint8

segments = segment(photo)
down, across = torch.meshgrid(torch.arange(400), torch.arange(600), indexing="ij")
ellipse = ((down - 205) / 175) ** 2 + ((across - 295) / 190) ** 2 < 1
inside = [n for n in segments.unique() if ellipse[segments == n].float().mean() > 0.5]
cup = torch.isin(segments, torch.stack(inside))

composite = torch.where(cup, Filter("nashville")(photo), photo)
Image.fromarray(composite.permute(1, 2, 0).numpy())

# %%
# With a photo of your own you begin here, with ``Image.open("photo.jpg")`` and a region of the
# same size, ``Image.open("region.png")``, white where something was changed and black elsewhere:
# any program that paints makes one, and so does ``opmask editor photo.jpg``.
# :func:`opmask.harmonize` takes PIL images, arrays and tensors.
#
# Three ways to say where
# -----------------------
#
# A region is 1 inside, 0 outside and -1 where you do not know. It may be exact, as a mask from
# another program is; a box around what was changed; or two strokes, one on what was changed and
# one beside it, here white and black on the photo.

exact = cup.float()

box = torch.zeros(400, 600)
box[30:385, 105:490] = 1

strokes = torch.full((400, 600), -1.0)
strokes[180:200, 150:440] = 1  # on the cup
strokes[20:40, 50:550] = 0  # on the table

drawn = torch.where(strokes < 0, composite / 255, strokes)
row = {"the composite": composite / 255, "exact": exact[None], "a box": box[None]}
panel_image([PanelRow({**row, "strokes": drawn})])

# %%
# Harmonize
# ---------
#
# The model was trained with all of these, and without any region. The better the region, the
# better the result; given nothing, the model has to find the region first, which it often cannot,
# and then it leaves the photo nearly as it is.

model = opmask.load()
told = {"exact": exact, "a box": box, "strokes": strokes, "nothing": None}
made = {name: opmask.harmonize(model, composite, region=region) for name, region in told.items()}
panel_image([PanelRow({name: image / 255 for name, image in made.items()})])

# %%
# How far each is from the photo before the filter, inside the cup, in levels of 255:


def distance(image):
    return (image.float() - photo)[:, cup].abs().mean().item()


print(f"{'the composite':14} {distance(composite):5.1f}")
for name, image in made.items():
    print(f"{name:14} {distance(image):5.1f}")

# %%
# What it did, in words
# ---------------------
#
# :func:`opmask.plan` gives the edit instead of the picture. It explains itself, here as a panel,
# and with sentences:

from opmask.inference.panel import draw_panel

edit = opmask.plan(model, composite, region=exact)
explanation = edit.explain(composite)
print("\n".join(explanation.sentences))
draw_panel(explanation)

# %%
# The same on the command line
# ----------------------------
#
# .. code-block:: bash
#
#    opmask harmonize photo.jpg --region region.png -o harmonized.jpg
#    opmask harmonize photo.jpg --box 105,30,490,385 -o harmonized.jpg
#    opmask harmonize photo.jpg --region strokes.png --strokes -o harmonized.jpg
#
# ``opmask editor photo.jpg`` opens a page on which the region is painted. All options are in
# :doc:`/how-to/harmonize`; how well the model does on photos that it never saw is in its card,
# :doc:`/reference/card`.
