"""
Fit masks without a network
===========================

Two pictures are enough to find the masks that turn one into the other. It tells what a set of
operators can express, before anything is trained; and it copies an edit from one photo to
others.
"""

# %%
# A pair
# ------
#
# A photo, and the same photo after somebody's edit in another program. Here the edit is made: the
# table gets darker and warmer, the cup stays.

# sphinx_gallery_thumbnail_number = 1
import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

import opmask
from opmask.perturb import Light
from opmask.visualize import PanelRow, panel_image

photo = torch.from_numpy(skimage.data.coffee())[::2, ::2].permute(2, 0, 1).contiguous()
outline = Image.new("L", (300, 200))
ImageDraw.Draw(outline).ellipse((55, 54, 242, 151), fill=255)
ImageDraw.Draw(outline).ellipse((83, 37, 215, 131), fill=255)
table = torch.from_numpy(np.array(outline) < 128)
edited = torch.where(table, Light(exposure=-0.8, temperature=0.6)(photo), photo)

before, after = photo[None] / 255, edited[None] / 255
panel_image([PanelRow({"before": before[0], "after": after[0]})])

# %%
# The masks
# ---------
#
# The retoucher has the sliders of a photo editor. Nothing is said about where the photo was
# changed; a total variation keeps neighbours together.

retoucher = opmask.photo_retoucher()
masks = opmask.fit_masks(retoucher, before, after)
offsets = {name: mask[0] - retoucher.ranges[name].identity for name, mask in masks.items()}
panel_image([PanelRow({"fitted": retoucher(before, masks)[0]}, offsets)], cell=150)

# %%
# On the table, the median of the two masks that were used, and what they should be:

for name, value in (("exposure", -0.8), ("temperature", 0.6)):
    print(f"{name:12} {masks[name][0, 0][table].median():+.2f}, should be {value:+.2f}")

# %%
# Exposure is found. Of the temperature a part went to saturation and tint, which can imitate it at
# a pixel: masks that are free everywhere have more than one answer.
#
# Constants instead
# -----------------
#
# With ``regions`` given, one number for each region and mask is fitted: what a person would set
# with sliders.

regions = table.long()[None]
constants = opmask.fit_masks(retoucher, before, after, regions=regions)
for name in retoucher.ranges:
    print(f"{name:12} {constants[name][0, 0][table].mean():+.3f}")

# %%
# On another photo
# ----------------
#
# The constants are an edit like any other. Another photo gets it, on the left, and half of it on
# the right:

cat = torch.from_numpy(skimage.data.chelsea())[::2, ::2].permute(2, 0, 1)[None] / 255
share = torch.ones_like(cat[:, :1])
share[..., cat.shape[-1] // 2 :] = 0.5
copied = {}
for name, mask in constants.items():
    identity = retoucher.ranges[name].identity
    copied[name] = identity + (mask[0, 0][table].mean() - identity) * share
panel_image([PanelRow({"before": cat[0], "after": retoucher(cat, copied)[0]})])

# %%
# Is there one answer?
# --------------------
#
# :func:`opmask.retouch.ambiguity` says which masks can imitate each other on a photo, so that a
# network would have to guess:

print(opmask.retouch.ambiguity(retoucher, before))

# %%
# What each set of operators can undo, in numbers, is in :doc:`/how-to/fitting`.
