"""
Write an operator
=================

The paper multiplies and adds in LAB. An edit that people should read off the masks may be
another one: here white balance, in stops. It is written in seven lines, checked, used by hand,
and learned by a network.
"""

# %%
# Declare and compute
# -------------------
#
# An operator says in which colour space it works, and which masks it wants, with their identity
# and range. ``forward`` gets the image in that space, and one channel of masks for each name.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import skimage.data
import torch

import opmask
import opmask.testing
from opmask.backbones import SmallUNet
from opmask.datasets import SyntheticScenes
from opmask.losses import charbonnier
from opmask.visualize import PanelRow, panel_image


class Warmth(opmask.Operator):
    """White balance in stops: each unit of mask doubles red and halves blue."""

    space = opmask.LINEAR_RGB
    ranges = {"warmth": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        """The image in another light."""
        return image * 2 ** torch.cat([mask, torch.zeros_like(mask), -mask], dim=1)


# %%
# Check
# -----
#
# One call tries what the library relies on: the identity, shapes, types, gradients and so on. It
# is silent if all is well, and names the rule that is broken if not.

opmask.testing.check_operator(Warmth())


class Wrong(Warmth):
    """Adds a little, whatever the mask says."""

    def forward(self, image, mask):
        """The image, and a bit."""
        return super().forward(image, mask) + 0.01


try:
    opmask.testing.check_operator(Wrong())
except AssertionError as error:
    print(error)

# %%
# Use it by hand
# --------------
#
# A retoucher needs no network. Here the right half of the coffee gets colder, towards the edge.

retoucher = opmask.Retoucher(Warmth())
photo = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)[None] / 255
ramp = torch.linspace(-1, 1, 600).clamp(min=0).expand(1, 1, 400, 600)
masks = {"warmth": -1.2 * ramp}
colder = retoucher(photo, masks)[0]
panel_image([PanelRow({"before": photo[0], "after": colder}, {"warmth": masks["warmth"][0]})])

# %%
# Learn it
# --------
#
# Now scenes get another light in one region, by up to 1.5 stops, and a small network is to undo
# it. It sees pictures only, never a mask. Eighty steps at 48 pixels take some seconds.


def relight(count, seed):
    """Scenes with one class in another light: composites, originals, and the right masks."""
    generator = torch.Generator().manual_seed(seed)
    scenes = list(SyntheticScenes(count, size=48, seed=seed))
    real = torch.stack([scene.image for scene in scenes]) / 255
    labels = torch.stack([scene.label_map for scene in scenes])[:, None]
    middle = labels[:, :, 24:25, 24:25]
    stops = 3 * torch.rand(count, 1, 1, 1, generator=generator) - 1.5
    changed = stops * (labels == middle)
    return retoucher(real, {"warmth": changed}), real, -changed


torch.manual_seed(0)
model = opmask.OperatorMaskWrapper(SmallUNet(width=16), retoucher)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=4e-3)
composites, real, _ = relight(256, seed=0)
losses = []
for _ in range(80):
    chosen = torch.randint(256, (16,))
    loss = charbonnier(model(composites[chosen]).image, real[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(6, 2.5))
axes.plot(losses)
axes.set(xlabel="step", ylabel="loss")
figure.tight_layout()

# %%
# What it found in scenes that it has not seen, beside the right masks:

composites, real, right = relight(4, seed=1)
with torch.no_grad():
    output, masks = model.eval()(composites)
rows = [
    PanelRow(
        {"composite": composites[i], "output": output[i], "real": real[i]},
        {"warmth, found": masks["warmth"][i], "warmth, right": right[i]},
    )
    for i in range(4)
]
panel_image(rows, limit=1.5, caption="stops")

# %%
# ``examples/custom_operator.py`` trains longer. Several masks, parameters, units in the editor and
# colour spaces of your own are in :doc:`/how-to/operators`; those that opmask has are in
# :doc:`/reference/operators`.
