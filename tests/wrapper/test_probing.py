import pytest
import torch
from zoo import ZOO

from opmask import OperatorMaskWrapper

# The layer, the scale of its input and the size multiple, known from how the networks are built.
KNOWN = {
    "small U-Net": ("out", (1, 1), 32),
    "plain": ("out", (1, 1), 1),
    "tanh": ("out", (1, 1), 1),
    "residual": ("out", (1, 1), 1),
    "changes its input": ("out", (1, 1), 1),
    "pixel shuffle": ("up", (1, 2), 2),
    "transposed": ("up.2", (1, 1), 4),
    "auxiliary head last": ("out", (1, 1), 1),
    "squeeze last": ("out", (1, 1), 1),
    "tokens": ("head", (1, 8), 8),
    "valid convolutions": ("net.2", (1, 1), 1),
    "extra window": ("out", (1, 1), 1),
    "coarse": ("net.2", (1, 4), 4),
    "super-resolution": ("out", (2, 1), 1),
    "deep": ("out", (1, 1), 16),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_right_layer_scale_and_multiple_are_found(name):
    model = OperatorMaskWrapper(ZOO[name]())
    found = model.head.name, model.head.geometry.scale, model.multiple_of
    assert found == KNOWN[name]


@pytest.mark.parametrize(("name", "shuffle"), [("pixel shuffle", 2), ("tokens", 8), ("coarse", 1)])
def test_sub_pixel_heads_stay_sub_pixel(name, shuffle):
    assert OperatorMaskWrapper(ZOO[name]()).head.geometry.shuffle == shuffle


@pytest.mark.parametrize(
    ("name", "excess", "start"), [("valid convolutions", -6, 0), ("extra window", 8, 0)]
)
def test_where_the_image_lies_in_the_map_is_found(name, excess, start):
    geometry = OperatorMaskWrapper(ZOO[name]()).head.geometry
    assert (geometry.excess, geometry.start) == (excess, start)


@pytest.mark.parametrize("name", [n for n in KNOWN if n not in ("small U-Net", "deep")])
def test_changing_a_quadrant_moves_the_logits_of_that_quadrant_most(name):
    model, image = OperatorMaskWrapper(ZOO[name]()).eval(), torch.rand(1, 3, 64, 64)
    torch.nn.init.normal_(model.head.layer.weight)
    for rows in (slice(0, 32), slice(32, 64)):
        for columns in (slice(0, 32), slice(32, 64)):
            changed = image.clone()
            changed[..., rows, columns] = torch.rand(1, 3, 32, 32)
            change = (model.predict(changed)["l_add"] - model.predict(image)["l_add"]).abs()
            inside = change[..., rows, columns].mean()
            assert inside > (change.mean() - inside / 4) / 3 * 4 * 1.5
