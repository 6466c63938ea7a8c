import pytest
import torch

from opmask.losses import DomainTripletLoss, domain_triplet_loss


def codes(batch=3, numbers=16):
    return torch.randn(4, batch, numbers, dtype=torch.double).unbind()


def plain_triplet(anchor, positive, negative, margin=0.1):
    """Number by number, as in the published code, whose distances have an epsilon of 1e-6."""
    triples = zip(*(code.flatten().tolist() for code in (anchor, positive, negative)), strict=True)
    values = [max(0.0, abs(a - p + 1e-6) - abs(a - n + 1e-6) + margin) for a, p, n in triples]
    return sum(values) / len(values)


def test_it_equals_a_plain_loop_over_the_numbers_of_the_codes():
    real, restored, composite, background = codes()
    wanted = plain_triplet(real, restored, composite)
    wanted += plain_triplet(restored, background, composite)
    assert domain_triplet_loss(real, restored, composite, background).item() == pytest.approx(
        wanted, rel=1e-6
    )


def test_it_is_not_the_distance_of_whole_codes():
    real, restored, composite, background = codes()
    whole = torch.nn.functional.triplet_margin_loss
    other = whole(real, restored, composite, 0.1) + whole(restored, background, composite, 0.1)
    assert not torch.isclose(domain_triplet_loss(real, restored, composite, background), other)


def test_a_restored_foreground_like_all_but_the_composite_costs_nothing():
    same, composite = torch.zeros(2, 16), torch.ones(2, 16)
    assert domain_triplet_loss(same, same, composite, same) == 0
    torch.testing.assert_close(domain_triplet_loss(same, same, same, same), torch.tensor(0.2))


def test_the_margin_is_a_setting():
    four = codes()
    module = DomainTripletLoss(margin=0.5)
    assert module(*four) == domain_triplet_loss(*four, margin=0.5) > domain_triplet_loss(*four)
    assert repr(module) == "DomainTripletLoss(margin=0.5)"


def test_other_shapes_and_margins_are_refused():
    real, restored, composite, background = codes()
    with pytest.raises(ValueError, match=r"'background' must have the shape of 'real', \(3, 16\)"):
        domain_triplet_loss(real, restored, composite, background[:1])
    with pytest.raises(ValueError, match="'margin' must be positive, got 0"):
        DomainTripletLoss(0)
