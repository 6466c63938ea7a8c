r"""Tries a network out: where its masks are read, which sizes it accepts, and what is left unused.

Data flow: `(network, example images) -> try_out -> Trial`, once, when a wrapper is built. What
cannot be wrapped is refused in one line, which says what argument to pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from opmask.color import check_image
from opmask.wrapper.attached import find_start, find_stop
from opmask.wrapper.heads import MaskHead, OutputHead, Run
from opmask.wrapper.probing import HeadChoice, find_head
from opmask.wrapper.sizes import SizeRule, enlarged, find_sizes
from opmask.wrapper.training import TrainingStep, try_training

__all__ = ["Trial", "try_out"]

# Sides of the images that a network is tried on. Not square where possible: that tells maps of the
# image from pooled maps, fixed grids and window partitions, which look alike on a square.
OBLONG = ((64, 96), (128, 192), (224, 336), (96, 144))
SQUARE = ((224, 224), (256, 256))

MORE = "Build it with one input channel more, 4 for RGB: region=True adds one"

Head = MaskHead | OutputHead
"""What turns a network into logits, by its features or by its own output."""


class Trial(NamedTuple):
    r"""What the trial of a network found.

    Args:
        head: The mask head, attached to the network.
        rule: The sizes that the network accepts.
        unused: The parameters that only matter after the layer that is read.
        idle: Those that got no gradient, but might with another image.
        doubts: What the user should know, each in a sentence or two.
    """

    head: Head
    rule: SizeRule
    unused: set[nn.Parameter]
    idle: set[nn.Parameter]
    doubts: tuple[str, ...]


class _CallError(Exception):
    """The network itself raised."""

    def __init__(self, image: Tensor, error: Exception) -> None:
        line = "".join(str(error).strip().splitlines()[:1])
        what = f"{type(error).__name__}: {line}".rstrip(":. ")
        super().__init__(f"on an image batch of shape {tuple(image.shape)} it raised {what}")


def try_out(
    run: Run,
    backbone: nn.Module,
    names: Sequence[str],
    head: str | Head | None,
    example: Tensor | None,
    multiple_of: int | SizeRule | None,
    size: int | tuple[int, int] | None,
    *,
    region: bool,
) -> Trial:
    r"""Tries a network on the first example image that it takes; the random state stays as it was.

    Args:
        run: Calls the network with an image, with shape :math:`(B, 3, H, W)`, RGB in
            :math:`[0, 1]`.
        backbone: The network.
        names: The names of the masks.
        head: As for :class:`opmask.OperatorMaskWrapper`, like `example` and `multiple_of`.
        example: As there; images of several sizes are tried if `None`.
        multiple_of: As there; or all that is known of the sizes. With that and a head that is no
            name nothing is left to try.
        size: As there; it is one of those that are tried.
        region: Whether the network gets a fourth channel.

    Returns:
        The head, attached, the sizes, and what the user should know.

    Raises:
        ValueError: If there is no way to read masks from the network. The message says in one line
            what was tried and which argument to pass.
    """
    if isinstance(multiple_of, SizeRule) and isinstance(head, Head):
        if isinstance(head, MaskHead):
            head.attach(backbone)
        return Trial(head, multiple_of, set(), set(), ())
    device = next(backbone.parameters()).device
    errors: list[Exception] = []
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with forked, _evaluating(backbone):
        for probe in _probes(size) if example is None else [example]:
            check_image(probe, "example")
            try:
                trial = _try(run, backbone, names, head, probe.to(device), multiple_of)
            except Exception as error:  # whatever it raises, the next probe may suit it
                errors.append(error)
                if _is_wrong_call(errors):
                    break
            else:
                searched = example is None and size is None
                limits = _limits(backbone, trial.rule, probe) if searched else ()
                return trial._replace(doubts=trial.doubts + limits)
    # What went wrong after the network had run says more than that other sizes do not suit it.
    ran = [error for error in errors if not isinstance(error, _CallError)]
    other = "" if example is None else "another "
    why = str(ran[0]) if ran else f"{errors[0]}. {_advice(errors[0].__cause__, other, region)}"
    raise ValueError(f"cannot wrap {type(backbone).__name__}: {why.rstrip('.')}.")


def _probes(size: int | tuple[int, int] | None) -> Iterator[Tensor]:
    """Pairs of images; at the end a single one, for networks that take no more at a time."""
    wanted = () if size is None else ((size, size) if isinstance(size, int) else size,)
    shapes = [(2, 3, *sides) for sides in (*OBLONG, *wanted, *SQUARE)]
    generator = torch.Generator("cpu").manual_seed(0)
    for shape in (*shapes, (1, *shapes[0][1:])):
        yield torch.rand(*shape, generator=generator, device="cpu")


def _is_wrong_call(errors: list[Exception]) -> bool:
    """Whether a network has raised the same TypeError twice, which no other size will change."""
    last = [error.__cause__ for error in errors[-2:]]
    return [type(error) for error in last] == [TypeError] * 2 and str(last[0]) == str(last[1])


def _limits(backbone: nn.Module, rule: SizeRule, example: Tensor) -> tuple[str, ...]:
    """What the user should know who has let the images be searched for."""
    kind, found = type(backbone).__name__, []
    if rule.fixed:
        found.append(
            f"{kind} takes {rule.fixed[0]}x{rule.fixed[1]} pixels and no other size that was "
            "tried, so every image is resized to that. Pass example= an image batch of that size "
            "if this is right, or of another one that it takes."
        )
    if len(example) == 1:
        found.append(
            f"{kind} takes one image at a time: two raised an error at every size that was tried. "
            "Pass example= one image if this is right."
        )
    return tuple(found)


def _advice(error: BaseException | None, other: str, region: bool) -> str:
    """Which argument to pass where the network itself raises."""
    channels = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
    added = re.search(r"tensor a \(4\) .* b \(3\) at|tensor a \(3\) .* b \(4\) at", str(error))
    products = re.search(r"cannot be multiplied \(\d+x(\d+) and (\d+)x", str(error))
    patches = products and 3 * int(products[1]) == 4 * int(products[2])
    if region and (added or patches):  # it does more with the channels than convolve them
        return MORE
    if channels:
        wanted, got = int(channels[1]), int(channels[2])
        if region and got == wanted + 1:
            return f"{MORE}. Or wrap opmask.backbones.with_region_input(backbone)"
        fourth = ", or region=True if the last one says where the image was changed"
        return (
            f"Pass preprocess= what makes its {wanted} channels of an RGB image"
            f"{fourth if wanted == got + 1 and not region else ''}"
        )
    if "be one more channel of 'image'" in str(error):  # says a network of opmask.backbones
        return "Wrap it with region=True"
    if isinstance(error, TypeError):
        return "Pass call= how to call it, as call(backbone, input)"
    return f"Pass {other}example= an image batch of a size that it takes"


def _try(
    run_on: Run,
    backbone: nn.Module,
    names: Sequence[str],
    wanted: str | Head | None,
    example: Tensor,
    multiple_of: int | SizeRule | None,
) -> Trial:
    def run(image: Tensor) -> object:
        try:
            return run_on(image.clone())  # a copy, because some networks change their input
        except Exception as error:
            raise _CallError(image, error) from error

    def accepts(image: Tensor) -> bool:
        try:
            logits = head(lambda: run(image), tuple(image.shape[-2:]))
        except Exception:  # whatever the network raises at this size, the size is no good
            return False
        return logits.shape[1] == len(names)

    if isinstance(wanted, OutputHead):
        head: Head = wanted
        _check_channels(head(lambda: run(example), tuple(example.shape[-2:])), names)
        rule, found = _rule(example, accepts, multiple_of), None
    else:
        found = None
        if not isinstance(wanted, MaskHead):
            found = find_head(backbone, len(names), example, run, wanted)
            wanted = found.head
        head, handles = wanted, wanted.attach(backbone)
        try:
            if found is not None:
                find_start(head, example, run)
            rule = _rule(example, accepts, multiple_of)
            find_stop(head, backbone, _small(example, rule, 1), run)
        except Exception:
            for handle in handles:
                handle.remove()
            raise
        if found is None:  # the head is that of a file, which also knows what is unused
            return Trial(head, rule, set(), set(), ())
    unused = set() if found is None else found.unused
    learns = any(p.requires_grad and p not in unused for p in backbone.parameters())
    images = [_small(example, rule, 2)]
    if not rule.fixed:  # of a size that was accepted, but not the example's, which may be special
        images.append(enlarged(example, rule.multiple_of, 2 * rule.multiple_of))
    step = try_training(head, backbone, images, run, learns)
    return _trained(backbone, head, rule, found, step)


def _small(image: Tensor, rule: SizeRule, batch: int) -> Tensor:
    """The smallest images that a network accepts, or those given if no others are known."""
    if rule.fixed or rule.least >= min(image.shape[-2:]):
        return image
    return image[:batch, :, : rule.least, : rule.least].contiguous()


def _trained(
    backbone: nn.Module, head: Head, rule: SizeRule, found: HeadChoice | None, step: TrainingStep
) -> Trial:
    """What is known after a step of training: of parameters that ran, some get no gradient."""
    behind, unused, doubt = (set(), set(), "") if found is None else found[1:]
    frozen = (unused | step.ran) - behind - step.reached
    idle = {p for p in backbone.parameters() if p.requires_grad} - frozen - step.reached
    doubts = tuple(each for each in (doubt, step.doubt) if each)
    return Trial(head, rule, frozen, set() if step.doubt else idle, doubts)


def _rule(
    example: Tensor, accepts: Callable[[Tensor], bool], known: int | SizeRule | None
) -> SizeRule:
    return known if isinstance(known, SizeRule) else find_sizes(example, accepts, known)


def _check_channels(logits: Tensor, names: Sequence[str]) -> None:
    if logits.shape[1] != len(names):
        raise ValueError(
            f"with OutputHead the network must put out {len(names)} channels, one for each of "
            f"{list(names)}, got {logits.shape[1]}. Build it with {len(names)} outputs, or "
            "leave out head= to read the masks from its features"
        )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards each module's own `training` flag is as before.

    For a network that nobody else runs meanwhile: modules have one flag for all threads.
    """
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag
