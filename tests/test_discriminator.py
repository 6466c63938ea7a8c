import copy

import pytest
import torch
import torch.nn.functional as F

import opmask
from opmask.discriminator import DomainVerificationDiscriminator, PatchDiscriminator


def field(depth: int, size: int, place: tuple[int, int]) -> tuple[int, int, int, int]:
    """The first and last row and column that one logit depends on, read off gradients.

    Instance norms would let every logit depend on every pixel, so they are taken out.
    """
    discriminator = PatchDiscriminator(width=2, depth=depth).double()
    convolutions = [m for m in discriminator.model if not isinstance(m, torch.nn.InstanceNorm2d)]
    image = torch.rand(1, 3, size, size, dtype=torch.double, requires_grad=True)
    torch.nn.Sequential(*convolutions)(image)[(0, 0, *place)].backward()
    rows, columns = image.grad[0].abs().sum(0).nonzero().unbind(1)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_it_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_764_737


def test_its_tensors_have_the_published_names():
    names = [f"model.{n}.{kind}" for n in (0, 2, 5, 8, 11) for kind in ("weight", "bias")]
    assert list(PatchDiscriminator(width=1).state_dict()) == names


def test_an_image_of_256_has_30_by_30_logits():
    assert PatchDiscriminator(width=8)(torch.rand(2, 3, 256, 256)).shape == (2, 1, 30, 30)


@pytest.mark.parametrize(("depth", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_square_of_the_published_size(depth, side):
    top, bottom, left, right = field(depth, 160, (8, 6))
    assert (bottom - top + 1, right - left + 1) == (side, side)


def test_neighbouring_logits_are_eight_pixels_apart():
    top, _, left, _ = field(3, 160, (8, 6))
    below = field(3, 160, (9, 7))
    assert (below[0] - top, below[2] - left) == (8, 8)


def test_it_equals_plain_layers_one_after_the_other():
    """Against the published table of layers, by hand."""
    discriminator, x = PatchDiscriminator(width=8), torch.rand(2, 3, 64, 96)
    weights, expected = list(discriminator.parameters()), x
    for n, stride in enumerate([2, 2, 2, 1, 1]):
        expected = F.conv2d(expected, weights[2 * n], weights[2 * n + 1], stride, 1)
        if n in (1, 2, 3):
            variance, mean = torch.var_mean(expected, (2, 3), correction=0, keepdim=True)
            expected = (expected - mean) / (variance + 1e-5).sqrt()
        if n < 4:
            expected = torch.where(expected > 0, expected, 0.2 * expected)
    torch.testing.assert_close(discriminator(x), expected, rtol=1e-4, atol=1e-5)


def test_a_gradient_reaches_every_parameter_and_the_image():
    discriminator, image = PatchDiscriminator(width=8), torch.rand(1, 3, 64, 64)
    discriminator(image.requires_grad_()).square().mean().backward()
    weights = [p for n, p in discriminator.named_parameters() if n.endswith("weight")]
    assert all(p.grad.abs().max() > 0 for p in [*weights, image])
    assert all(p.grad is not None for p in discriminator.parameters())


def test_widths_stop_growing_at_eight_times():
    discriminator = PatchDiscriminator(1, width=2, depth=5)
    channels = [m.out_channels for m in discriminator.model if isinstance(m, torch.nn.Conv2d)]
    assert channels == [2, 4, 8, 16, 16, 16, 1]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_smallest_image_has_one_logit_and_a_smaller_one_raises(depth):
    discriminator, least = PatchDiscriminator(width=2, depth=depth), 3 * 2**depth
    assert discriminator(torch.rand(1, 3, least, least)).numel() == 1
    for size in [(least - 1, 99), (99, least - 1)]:
        with pytest.raises(ValueError, match=f"at least {least}x{least} pixels, got .* depth="):
            discriminator(torch.rand(1, 3, *size))


def test_another_number_of_channels_raises():
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got \(1, 4"):
        PatchDiscriminator(width=2)(torch.rand(1, 4, 64, 64))
    with pytest.raises(ValueError, match=r"must have shape \(B, 6, H, W\), got \(1, 3"):
        PatchDiscriminator(6, width=2)(torch.rand(1, 3, 64, 64))


def test_eight_bit_images_raise():
    with pytest.raises(TypeError, match=r"must be floating point .*Divide 8-bit values by 255"):
        PatchDiscriminator(width=2)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_a_depth_of_zero_raises():
    with pytest.raises(ValueError, match="'depth' must be at least 1, got 0"):
        PatchDiscriminator(depth=0)


def test_it_judges_what_a_model_puts_out():
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
    logits = PatchDiscriminator(width=4)(model(torch.rand(2, 3, 64, 64)).image)
    logits.mean().backward()
    assert model.head.layer.weight.grad.abs().max() > 0


# --- domain verification ---


def verifying(depth=4):
    return DomainVerificationDiscriminator(width=4, depth=depth)


def image_and_region(height=64, width=96):
    region = torch.zeros(2, 1, height, width)
    region[..., width // 2 :] = 1
    return torch.rand(2, 3, height, width), region


def test_it_verifies_the_same_of_a_region_and_of_the_rest():
    discriminator = verifying().eval()
    image, region = image_and_region()
    whole, verification = discriminator(image, region)
    other_whole, other = discriminator(image, 1 - region)
    assert torch.equal(other_whole, whole)
    torch.testing.assert_close(other, verification)


def test_the_verification_alone_depends_on_the_region():
    discriminator = verifying().eval()
    image, region = image_and_region()
    whole, verification = discriminator(image, region)
    shifted_whole, shifted = discriminator(image, region.roll(20, 3))
    assert torch.equal(shifted_whole, whole)
    assert not torch.equal(shifted, verification)


def test_a_gradient_reaches_all_of_a_verifying_discriminator_and_the_image():
    discriminator, (image, region) = verifying(), image_and_region()
    sum(logits.sum() for logits in discriminator(image.requires_grad_(), region)).backward()
    assert image.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())


def test_spectral_norms_come_to_be_one():
    discriminator = verifying()
    for _ in range(30):
        discriminator(*image_and_region())
    for stack in (discriminator.whole, discriminator.parts):
        for level in stack:
            norm = torch.linalg.matrix_norm(level.convolution.weight.flatten(1), 2)
            assert norm.item() == pytest.approx(1, abs=0.05)


def test_a_verifying_discriminator_is_copied_after_a_step():
    discriminator, (image, region) = verifying(), image_and_region()
    sum(logits.sum() for logits in discriminator(image, region)).backward()
    twin = copy.deepcopy(discriminator).eval()
    for pair in zip(twin(image, region), discriminator.eval()(image, region), strict=True):
        assert torch.equal(*pair)


def test_an_image_of_256_has_one_verdict_of_each_kind():
    whole, verification = DomainVerificationDiscriminator(width=2)(*image_and_region(256, 256))
    assert whole.shape == verification.shape == (2, 1, 1, 1)


@pytest.mark.parametrize(("depth", "least"), [(2, 15), (4, 63), (6, 255)])
def test_the_smallest_image_is_verified_and_a_smaller_one_raises(depth, least):
    discriminator = verifying(depth)
    assert discriminator(*image_and_region(least, least))[1].shape == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=rf"at least {least}x{least} pixels, got .* depth="):
        discriminator(*image_and_region(300, least - 1))


def test_a_verifying_discriminator_refuses_other_shapes_and_kinds():
    image, region = image_and_region()
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got \(2, 1"):
        verifying()(region, region)
    with pytest.raises(ValueError, match=r"'region' must have shape \(2, 1, 64, 96\)"):
        verifying()(image, region[:1])
    with pytest.raises(TypeError, match="must be floating point"):
        verifying()(image.byte(), region)
    with pytest.raises(ValueError, match="'depth' must be at least 2, got 1"):
        verifying(depth=1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_region_without_an_end_has_finite_verdicts(value):
    image, region = image_and_region()
    for logits in verifying()(image.requires_grad_(), torch.full_like(region, value)):
        assert logits.isfinite().all()
        logits.sum().backward(retain_graph=True)
    assert image.grad.isfinite().all()


@pytest.mark.slow
def test_a_verifying_discriminator_compiles_in_training():
    torch.compiler.reset()
    compiled = torch.compile(verifying(), fullgraph=True, backend="eager")
    sum(logits.sum() for logits in compiled(*image_and_region())).backward()


def test_bfloat16_verdicts_are_close():
    discriminator, inputs = verifying().eval(), image_and_region()
    with torch.autocast("cpu", torch.bfloat16):
        rough = discriminator(*inputs)
    for pair in zip(rough, discriminator(*inputs), strict=True):
        torch.testing.assert_close(pair[0].float(), pair[1], rtol=0.05, atol=0.05)
