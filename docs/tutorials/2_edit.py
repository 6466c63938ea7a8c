"""
See, edit, save, re-apply
=========================

What the model predicts is not a picture but an *edit*: one map for each operation. Look at the
maps, change them, keep them in a file, and apply them to the photo at full size, without the
model.
"""

# %%
# An edit
# -------
#
# The left half of the picture of Chelsea went through a filter. The model is told where, and
# predicts the maps at a small size, whatever the size of the photo.

# sphinx_gallery_thumbnail_number = 4
import tempfile
from pathlib import Path

import skimage.data
import torch
from PIL import Image

import opmask
from opmask.inference.panel import draw_panel
from opmask.perturb import Filter
from opmask.visualize import PanelRow, panel_image

original = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)  # (3, 300, 451), uint8
region = torch.zeros(300, 451)
region[:, :205] = 1
photo = torch.where(region > 0, Filter("walden")(original), original)

edit = opmask.plan(opmask.load(), photo, region=region)
print("The photo has", tuple(photo.shape[1:]), "pixels, the maps have", edit.size)

# %%
# See
# ---
#
# The six maps, with the gate, which says where they act, multiplied in. Neutral is the identity,
# at which an operator does nothing; ``mul`` are factors, ``add`` shifts in units of the channel.

masks, ranges = edit.masks(effective=True), edit.retoucher.ranges
offsets = {name: mask[0] - ranges[name].identity for name, mask in masks.items()}
panel_image([PanelRow({}, offsets)])

# %%
# What they do to the photo, in L*, a* and b*, with a sentence for each region that changes
# visibly:

draw_panel(edit.explain(photo))

# %%
# Edit
# ----
#
# ``adjust`` changes one map, everywhere or within a region, and gives a new edit. Strength is
# measured from the identity: 0 switches an operator off, 0.5 goes half the way. An offset is in
# units of the operator: 0.05 of ``l_add`` is 5 L*.

darker = edit.adjust("l_add", offset=-0.05, region=region)
redder = darker.adjust("a_add", offset=0.04, region=region)
weaker = redder.adjust(strength=0.5)

shown = {
    "the photo": photo,
    "as predicted": edit.render(photo),
    "darker there": darker.render(photo),
    "redder, too": redder.render(photo),
    "half of it all": weaker.render(photo),
}
panel_image([PanelRow({name: image / 255 for name, image in shown.items()})])

# %%
# Each adjustment can be taken back, in the order in which they were made:

torch.equal(weaker.undo().undo().render(photo), darker.render(photo))

# %%
# Save
# ----
#
# The file holds the maps, the adjustments, and what is known of the photo: some hundred kilobytes.
# Reading it runs nothing.

file = Path(tempfile.mkdtemp(), "chelsea.opmask")
redder.save(file)
print(file.stat().st_size // 1024, "KiB")

# %%
# Re-apply
# --------
#
# An edit knows its photo by the checksum of its pixels. Another one, such as the same photo at
# three times the size, has to be forced; the maps are enlarged, and the detail is the photo's own.

large = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((1353, 900))
opmask.Edit.load(file).render(large, force=True)

# %%
# On the command line the same is
#
# .. code-block:: bash
#
#    opmask harmonize photo.jpg --region region.png -o edited.jpg --save-edits photo.opmask
#    opmask explain photo.jpg --edit photo.opmask --panel why.png
#    opmask edit photo.opmask -o redder.opmask --region region.png \
#        --set l_add.offset=-0.05 --set a_add.offset=0.04
#    opmask render photo.jpg redder.opmask -o redder.jpg
#
# :doc:`/how-to/edits` goes on to layers, colour tables and other programs.
