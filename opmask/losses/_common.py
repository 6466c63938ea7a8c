r"""What every loss shares: the checks of its arguments and the reduction of its values.

loss per element or per image -> reduced loss
"""

from __future__ import annotations

from torch import Tensor


def check_images(
    input: Tensor, target: Tensor, names: tuple[str, str] = ("input", "target")
) -> None:
    """Refuse 8-bit images, whose differences wrap around, and images of different shapes."""
    for name, image in zip(names, (input, target), strict=True):
        if not image.is_floating_point():
            raise TypeError(
                f"'{name}' must be a floating point image in [0, 1], got {image.dtype}. "
                "Divide 8-bit images by 255."
            )
    if input.shape != target.shape:
        raise ValueError(
            f"'{names[1]}' must have the shape of '{names[0]}', {tuple(input.shape)}, "
            f"got {tuple(target.shape)}."
        )


def check_positive(name: str, value: float) -> None:
    """Refuse a constant that is not positive."""
    if not value > 0:
        raise ValueError(f"'{name}' must be positive, got {value}.")


def check_reduction(reduction: str) -> None:
    """Refuse a reduction that torch's own losses do not know."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"'reduction' must be 'none', 'mean' or 'sum', got {reduction!r}.")


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Reduce `loss` over all of its elements, as `reduction` says."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def check_logits(real_logits: Tensor, fake_logits: Tensor) -> None:
    """Refuse logits that are labels, and those of images of different sizes."""
    for name, logits in (("real_logits", real_logits), ("fake_logits", fake_logits)):
        check_floating(name, logits)
    if fake_logits.shape != real_logits.shape:
        raise ValueError(
            f"'fake_logits' must have the shape of 'real_logits', {tuple(real_logits.shape)}, "
            f"got {tuple(fake_logits.shape)}. Show the discriminator images of one size."
        )


def check_floating(name: str, logits: Tensor) -> None:
    """Refuse labels in the place of logits."""
    if not logits.is_floating_point():
        raise TypeError(
            f"'{name}' must be floating point, got {logits.dtype}. "
            "Pass what the discriminator returns, not labels."
        )
