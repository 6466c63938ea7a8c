r"""PIL images as photos, and back.

Data flow: `PIL image -> as_photo -> Photo -> ... -> Photo -> as_pil -> PIL image`.
"""

from __future__ import annotations

from PIL import Image

from opmask.files.photo import Photo

__all__ = ["MODES", "as_photo", "as_pil"]

MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "I;16")
"""The modes of PIL images that can be retouched; `I;16` stands for either order of bytes."""


def as_photo(image: Image.Image) -> Photo:
    r"""A PIL image as a photo, upright.

    A palette cannot hold new colours, so `P` and `PA` become RGB; a single transparent colour
    becomes an alpha channel.

    Args:
        image: An image of one of :data:`MODES`.

    Returns:
        The photo.

    Raises:
        ValueError: If it is of another mode.

    Example:
        >>> as_photo(Image.new("P", (3, 2))).pixels.shape
        (2, 3, 3)
    """
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        raise ValueError(
            f"'image' must have one of the modes {', '.join(MODES)}, got {image.mode!r}. "
            "Convert it to 8-bit RGB, by its colour profile if it has one."
        )
    return Photo.from_image(image)


def as_pil(photo: Photo, image: Image.Image) -> Image.Image:
    r"""The inverse of :func:`as_photo`.

    Args:
        photo: What became of the photo.
        image: The image that it was. Its ICC profile stays even if it is one that is not read:
            what shows the colours by it has shown the old ones so, too.

    Returns:
        The new image, with the profile, EXIF, XMP and resolution of the photo.
    """
    result = photo.to_image()
    if profile := image.info.get("icc_profile"):
        result.info["icc_profile"] = profile
    return result
