r"""Masks as pictures, and the pictures that a training run leaves behind.

Everything that matplotlib draws is drawn without pyplot, so that no global state is touched, and
replaces its file in one step, so that a viewer never meets half a picture::

    masks -> mask_to_rgb      samples -> save_panel, panel_image      losses -> save_curves
"""

from opmask.visualize.curves import save_curves
from opmask.visualize.masks import mask_to_rgb
from opmask.visualize.panel import PanelRow, panel_image, save_panel

__all__ = [
    "PanelRow",
    "mask_to_rgb",
    "panel_image",
    "save_curves",
    "save_panel",
]
