r"""Samples as pictures: real, composite and region side by side, as the paper's test set has them.

``Composite`` -> :func:`to_triptych` -> picture file -> :class:`Triptychs` -> ``Composite``.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from opmask.datasets.photos import BrokenPhotoError
from opmask.datasets.reading import read_image
from opmask.files import replacing
from opmask.files.pictures import picture_files
from opmask.perturb import DEFAULT, Composite, Settings
from opmask.perturb.compositing import RGB_ANTIALIASED
from opmask.perturb.resize import resize_bilinear_opencv

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png")

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last chunk of every PNG


def to_triptych(sample: Composite) -> Tensor:
    r"""Puts real, composite and region side by side, rounded to 8 bits.

    .. math:: \lfloor 255 x + \tfrac{1}{2} \rfloor

    Values outside of :math:`[0, 1]` are clipped. The region becomes grey: 255 inside, 0 outside.

    Args:
        sample: The composite, real image and region, with shapes :math:`(3, H, W)` and
            :math:`(1, H, W)`.

    Returns:
        The RGB picture, ``uint8``, with shape :math:`(3, H, 3 W)`, in 0-255.

    Example:
        >>> black = torch.zeros(3, 1, 1)
        >>> to_triptych(Composite(black + 0.5, black, torch.ones(1, 1, 1), None))[0]
        tensor([[  0, 128, 255]], dtype=torch.uint8)
    """
    parts = (sample.real, sample.composite, sample.region.expand(3, -1, -1))
    return torch.cat(parts, dim=2).mul(255).add(0.5).clamp(0, 255).to(torch.uint8)


def write_triptych(path: str | Path, sample: Composite) -> None:
    r"""Writes a sample as a picture, whole or not at all; for a PNG no pixel changes.

    Args:
        path: The file to write, of a format that Pillow writes.
        sample: What to write, see :func:`to_triptych`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.png")
        >>> black = torch.zeros(3, 1, 1)
        >>> write_triptych(path, Composite(black + 0.5, black, torch.ones(1, 1, 1), None))
        >>> read_image(path)[0]
        tensor([[  0, 128, 255]], dtype=torch.uint8)
    """
    pixels = to_triptych(sample).permute(1, 2, 0).contiguous().numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def is_whole_png(path: str | Path) -> bool:
    r"""Whether a PNG is there and has its end, that is, was not cut off.

    Args:
        path: The file to look at.

    Returns:
        Whether it is whole.

    Example:
        >>> is_whole_png("missing.png")
        False
    """
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:  # there is none, or it is shorter than that
        return False


class Triptychs(Dataset[Composite]):
    r"""The samples of a folder of triptychs, such as the published test sets of HScene and HLIP.

    A triptych is real | composite | region, each :math:`\lfloor W / 3 \rfloor` wide; the region is
    the last of them, white where the image was changed. Files (`.png`, `.jpg`, `.jpeg`, `.bmp`)
    come in the order of their names, while the reference code takes that of the folder.

    The settings say how they are read:

    ================= ==================================================================
    ``DEFAULT``       RGB; resized with antialiasing; the region is where the picture is at
                      least half white, and 0 or 1
    ``REFERENCE``     as the reference code reads them for its operator-mask models: 8-bit
                      LAB, then resized as OpenCV does, all of it rounded to 8 bits but the
                      region, whose edges become soft. ``opmask.LAB_CENTERED.from_rgb`` gives
                      its tensors back, to 1e-5
    ``REFERENCE_RGB`` the same without LAB, for its RGB models
    ================= ==================================================================

    Args:
        folder: The folder of the triptychs.
        settings: How they are read.
        size: The height and width to which samples are resized; the reference code's is 256.
            Default: they are not resized.

    Attributes:
        paths: The files.

    Raises:
        FileNotFoundError: If the folder is missing or holds no picture.
        ValueError: If `size` is below 1.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (30, 8), "white").save(folder / "a.png")
        >>> Triptychs(folder, size=4)[0].region
        tensor([[[1., 1., 1., 1.],
                 [1., 1., 1., 1.],
                 [1., 1., 1., 1.],
                 [1., 1., 1., 1.]]])
    """

    def __init__(
        self, folder: str | Path, settings: Settings = DEFAULT, *, size: int | None = None
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"'size' must be at least 1, got {size}.")
        self.paths = _pictures(Path(folder))
        self.compositing = settings.compositing
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Composite:
        """The sample at `index`; its `applied` is None, as pictures do not say what was done.

        Raises:
            BrokenPhotoError: If the file cannot be read or is less than 3 pixels wide.
        """
        real, composite, region = _thirds(self.paths[index])
        exact, to_codes = self.compositing == RGB_ANTIALIASED, self.compositing.to_codes
        real, composite = to_codes(real), to_codes(composite)
        region = (region >= 128).float() if exact else region.float() / 255
        if self.size is not None and exact:
            composite, real, region = self.compositing.resize(composite, real, region, self.size)
        elif self.size is not None:
            # Not as in training, where the composite is not rounded (D-35): here it is a picture.
            composite, real, region = (
                resize_bilinear_opencv(part, self.size) for part in (composite, real, region)
            )
        to_rgb = self.compositing.to_rgb
        return Composite(to_rgb(composite), to_rgb(real), region, None)


def _pictures(folder: Path) -> list[Path]:
    paths = picture_files(folder, ENDINGS)
    if not paths:
        got = f"{len(list(folder.iterdir()))} other files in" if folder.is_dir() else "no folder"
        raise FileNotFoundError(
            f"'folder' must hold triptychs ({', '.join(ENDINGS)}), got {got} {folder}."
        )
    return paths


def _thirds(path: Path) -> tuple[Tensor, Tensor, Tensor]:
    image = read_image(path)
    width = image.shape[2] // 3
    if width == 0:
        raise BrokenPhotoError(f"{path} must be at least 3 pixels wide, got {image.shape[2]}.")
    # The last channel, because the reference code takes the first of blue, green and red. Its
    # region ends where the picture does, whatever is left of a width that 3 does not divide.
    return image[..., :width], image[..., width : 2 * width], image[2:, :, -width:]
