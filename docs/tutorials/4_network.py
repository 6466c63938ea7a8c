"""
Wrap your network
=================

Any network from images to images predicts operator masks, as it is: no class to derive from, no
code for the architecture, and its ``state_dict`` stays.
"""

# %%
# A network
# ---------
#
# This one is an ordinary residual network, with things that often get in the way: it ends in a
# ``tanh``, adds its input, and works at half the size.

import torch
from torch import nn

import opmask


class MyNetwork(nn.Module):
    """A residual network for images in [0, 1]."""

    def __init__(self, width=32):
        super().__init__()
        self.inward = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)) for _ in range(4))
        )
        self.outward = nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, image):
        """The image, with something added to it."""
        features = self.inward(image)
        return image + torch.tanh(self.outward(features + self.blocks(features)))


# %%
# Wrapped
# -------
#
# The wrapper runs the network once, finds the last layer that nearly all of its work goes into,
# and reads its features there. What comes after that layer is left out, and frozen.

torch.manual_seed(0)
model = opmask.OperatorMaskWrapper(MyNetwork())
print("not used:", model.unused)
print("sides must be multiples of", model.multiple_of, "which the wrapper pads to")

# %%
# Masks start at their identity, so the untrained model returns its input, whatever the network
# does:

image = torch.rand(2, 3, 97, 131)
output, masks = model(image)
print({name: tuple(mask.shape) for name, mask in masks.items()})
print("largest difference:", (output - image).abs().max().item())

# %%
# It is an ordinary module: training steps are yours to write, and gradients reach the network.
# Here it learns one picture by heart, whose right part was made warmer, to see that it can.

import skimage.data

from opmask.perturb import Light
from opmask.visualize import PanelRow, panel_image

real = torch.from_numpy(skimage.data.chelsea())[::3, ::3].permute(2, 0, 1).contiguous()
composite = real.clone()
composite[:, :, 80:] = Light(temperature=0.8, exposure=0.4)(real)[:, :, 80:]
real, composite = real[None] / 255, composite[None] / 255

optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
for _ in range(150):
    output, masks = model(composite)
    loss = (output - real).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

shown = {"composite": composite[0], "output": output[0], "real": real[0]}
offsets = {
    name: (masks[name] - model.retoucher.ranges[name].identity)[0] for name in ("l_add", "b_add")
}
panel_image([PanelRow(shown, offsets)])

# %%
# Other masks
# -----------
#
# Which operators there are is a matter of the retoucher. This one predicts exposure, white balance
# and saturation:

retoucher = opmask.Retoucher(
    opmask.operators.Temperature(), opmask.operators.Exposure(), opmask.operators.Saturation()
)
model = opmask.OperatorMaskWrapper(MyNetwork(), retoucher)
list(model(image).masks)

# %%
# A network that is given the region
# ----------------------------------
#
# With ``region=True`` the network gets a fourth channel. One that has three is given it by
# :func:`opmask.backbones.with_region_input`, where its first layers allow it; this one adds its
# input to its output, which four channels would not fit, and is refused in one line. A network of
# your own takes four and uses three:

from opmask.backbones import with_region_input

try:
    with_region_input(MyNetwork())
except ValueError as error:
    print(error)

# %%


class Guided(MyNetwork):
    """The same for an image and its region."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Conv2d(4, 32, 3, stride=2, padding=1)

    def forward(self, image):
        """The image, without the region, with something added to it."""
        features = self.inward(image)
        return image[:, :3] + torch.tanh(self.outward(features + self.blocks(features)))


guided = opmask.OperatorMaskWrapper(Guided(), region=True)
guided(image, torch.ones_like(image[:, :1])).image.shape

# %%
# Which networks work
# -------------------
#
# :doc:`/reference/backbones` lists the networks of other libraries that were tried, with what came
# of each. Where the wrapper chooses another layer than you would, name it: ``head="blocks.3.1"``;
# ``head=opmask.OutputHead()`` is for a network whose own output is the masks. Pretrained encoders
# are in :doc:`/how-to/pretrained`, why the head is where it is in :doc:`/concepts/masks`.
