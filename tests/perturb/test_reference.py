"""REFERENCE and REFERENCE_RGB against the reference pipeline, written down plainly once more."""

from dataclasses import replace

import cv2
import numpy as np
import pilgram
import pilgram.css
import pytest
import torch
from PIL import Image

import opmask
from opmask.datasets import ADE20K
from opmask.perturb import (
    JPEG,
    REFERENCE,
    REFERENCE_RGB,
    Filter,
    LabScaling8,
    PerturbationRecord,
    Perturber,
    RegionChange,
    composite,
    draw,
)

# OpenCV's weights for resizing are float32; the rest is the way through RGB and back.
TOLERANCE = {"rtol": 0, "atol": 1e-5}
LABEL_MAP = torch.arange(1, 13).repeat_interleave(64).view(24, 32)


def to_lab(array):
    return cv2.cvtColor(array, cv2.COLOR_RGB2LAB)


def perturb(photo, perturbation):
    """One change of the whole photo, with PIL, pilgram and OpenCV."""
    if isinstance(perturbation, LabScaling8):
        lab = to_lab(photo) * np.array(perturbation.factors)
        return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    module = pilgram.css if perturbation.name in pilgram.css.__all__ else pilgram
    name = "_1977" if perturbation.name == "1977" else perturbation.name
    return np.array(getattr(module, name)(Image.fromarray(photo)))


def to_tensor(array):
    array = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)


def reference(image, label_map, applied, size, convert):
    """The tensors of the reference, in [-1, 1], and its mask, in [0, 1]."""
    photo, labels = image.permute(1, 2, 0).contiguous().numpy(), label_map.numpy()
    real = convert(photo)
    comp, union = real.astype(np.float64), np.zeros(labels.shape)
    for change in applied.regions:
        fake = photo
        for perturbation in change.perturbations:
            fake = perturb(fake, perturbation)
        mask = (labels == change.label).astype(np.float64)
        comp = convert(fake) * mask[..., None] + comp * (1 - mask[..., None])
        union = union + mask
    if applied.degradation is not None:  # tested on its own
        codes = torch.from_numpy(real).permute(2, 0, 1).contiguous()
        real = applied.degradation(codes).permute(1, 2, 0).numpy()
        comp = comp * union[..., None] + real * (1 - union[..., None])
    comp, real, union = (cv2.resize(array, (size, size)) for array in (comp, real, union))
    return 2 * to_tensor(comp) / 255 - 1, 2 * to_tensor(real) / 255 - 1, to_tensor(union)


def check(settings, image, label_map, applied, size):
    if settings.compositing == REFERENCE.compositing:
        to_codes, convert = opmask.LAB_CENTERED.from_rgb, to_lab
    else:
        to_codes, convert = lambda rgb: 2 * rgb - 1, np.copy
    made = composite(image, label_map, applied, size=size)
    comp, real, union = reference(image, label_map, applied, size, convert)
    torch.testing.assert_close(to_codes(made.composite), comp, **TOLERANCE)
    torch.testing.assert_close(to_codes(made.real), real, **TOLERANCE)
    torch.testing.assert_close(made.region, union, **TOLERANCE)


def photo(seed=0, height=24, width=32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB], ids=["lab", "rgb"])
@pytest.mark.parametrize("size", [16, 24, 40])
def test_tensors_equal_the_references(settings, size):
    for seed in range(12):
        applied = draw(LABEL_MAP, seed, replace(settings, degradation_rate=0))
        check(settings, photo(seed), LABEL_MAP, applied, size)


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB], ids=["lab", "rgb"])
def test_degraded_tensors_equal_the_references(settings):
    kinds = set()
    for seed in range(40):
        applied = draw(LABEL_MAP, seed, replace(settings, degradation_rate=1))
        kinds.add(type(applied.degradation))
        check(settings, photo(seed), LABEL_MAP, applied, 17)
    assert len(kinds) == 6


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB], ids=["lab", "rgb"])
def test_real_photos_give_the_references_tensors_at_its_size(settings, data_root):
    photos = ADE20K(data_root / "ade150_sample", "validation")
    for index, rate in (0, 0.0), (1, 1.0):
        image, label_map, _ = photos[index]
        applied = draw(label_map, index, replace(settings, degradation_rate=rate))
        check(settings, image, label_map, applied, 256)


def test_without_a_size_the_codes_are_those_of_8_bit_lab():
    applied = PerturbationRecord(
        0, (RegionChange(3, (Filter("kelvin"),)),), None, REFERENCE.compositing
    )
    made = composite(photo(), LABEL_MAP, applied)
    changed = torch.where(LABEL_MAP == 3, Filter("kelvin")(photo()), photo())
    for rgb, image in (made.composite, changed), (made.real, photo()):
        codes = to_tensor(to_lab(image.permute(1, 2, 0).contiguous().numpy()))
        torch.testing.assert_close(opmask.LAB_UNIT.from_rgb(rgb) * 255, codes, rtol=0, atol=1e-3)
    assert torch.equal(made.region[0], (LABEL_MAP == 3).float())


def test_without_a_size_the_references_rgb_is_exact():
    applied = draw(LABEL_MAP, 0, REFERENCE_RGB)
    assert torch.equal(composite(photo(), LABEL_MAP, applied).real, photo() / 255)


def test_the_references_lab_may_leave_rgb():
    made = Perturber(REFERENCE)(photo()[None], LABEL_MAP[None], [0])
    assert made.real.min() < 0
    assert made.real.max() > 1


def test_the_references_background_differs_by_up_to_three_quarters_of_a_code():
    # Real is rounded to 8 bits after it was resized, and the composite is not.
    nothing = PerturbationRecord(0, (), None, REFERENCE_RGB.compositing)
    made = composite(photo(), LABEL_MAP, nothing, size=17)
    difference = (made.composite - made.real).abs() * 255
    assert 0.4 < difference.max() < 0.76
    assert 0.15 < difference.mean() < 0.3


def test_the_references_region_is_soft_at_its_edges():
    applied = PerturbationRecord(
        0, (RegionChange(3, (Filter("moon"),)),), None, REFERENCE.compositing
    )
    region = composite(photo(), LABEL_MAP, applied, size=17).region
    assert ((region > 0) & (region < 1)).any()


def test_the_reference_degrades_lab_codes_as_if_they_were_rgb():
    nothing = PerturbationRecord(0, (), JPEG(), REFERENCE.compositing)
    codes = opmask.color.opencv_lab.rgb_to_lab8(photo())
    made = opmask.LAB_UNIT.from_rgb(composite(photo(), LABEL_MAP, nothing).real) * 255
    torch.testing.assert_close(made, JPEG()(codes).float(), rtol=0, atol=1e-3)
