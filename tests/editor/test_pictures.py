import base64
import io

import pytest
import torch
from PIL import Image

from opmask.editor.pictures import area_uri, map_uri, read_area


def as_picture(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_an_area_comes_back_as_it_was_sent():
    area = torch.rand(1, 1, 12, 16).mul(255).round() / 255
    torch.testing.assert_close(read_area(area_uri(area), (12, 16)), area)


def test_a_mask_at_its_identity_has_no_hue():
    picture = as_picture(map_uri(torch.ones(1, 1, 30, 40), 1.0, 0.25))
    assert picture.size == (40, 30)
    assert len(set(picture.getpixel((3, 3)))) == 1


def test_large_masks_become_small_pictures():
    assert as_picture(map_uri(torch.ones(1, 1, 300, 400), 1.0, 0.25)).size == (160, 120)


def png(size):
    file = io.BytesIO()
    Image.new("RGBA", size).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (None, "must be a small PNG"),
        ("file:///etc/passwd", "must be a small PNG"),
        ("data:image/png;base64," + "A" * 5_000_000, "must be a small PNG"),
        ("data:image/png;base64,!", "cannot be read"),
        ("data:image/png;base64,R0lGODlhAQABAAAAACw=", "cannot be read"),
        (png((3000, 10)), "too large"),
    ],
)
def test_what_no_page_paints_is_refused(uri, message):
    with pytest.raises(ValueError, match=message):
        read_area(uri, (12, 16))
