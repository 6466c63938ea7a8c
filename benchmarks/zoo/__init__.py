"""The networks of other libraries that `backbones.py` wraps, a module for each field."""

from zoo import diffusion, imaging, medical, restoration, segmentation, tokens
from zoo.case import CASES, Case

__all__ = [
    "CASES",
    "MODULES",
    "Case",
    "diffusion",
    "imaging",
    "medical",
    "restoration",
    "segmentation",
    "tokens",
]

MODULES = {
    "azula": ["azula.nn.unet"],
    "compressai": ["compressai.models"],
    "deepinv": ["deepinv"],
    "diffusers": ["diffusers"],
    "kornia": ["kornia.models", "kornia.feature"],
    "lucidrains": ["denoising_diffusion_pytorch", "x_unet"],
    "monai": ["monai.networks.nets"],
    "smp": ["segmentation_models_pytorch"],
    "spandrel": ["spandrel"],
    "spandrel_extra_arches": ["spandrel_extra_arches"],
    "super_image": ["super_image"],
    "timm": ["timm"],
    "torchsr": ["torchsr.models"],
    "torchvision": ["torchvision.models.segmentation", "torchvision.models.detection"],
    "transformers": ["transformers.modeling_utils"],
    "unet": ["unet"],
}
"""The modules of each library that its networks need, to be imported once for all of them."""
