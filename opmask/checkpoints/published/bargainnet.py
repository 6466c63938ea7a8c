r"""Checkpoints of BargainNet's published code: its generator and what describes backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from opmask.backbones import BargainNet
from opmask.checkpoints._layout import DEEPEST, advice, check_names, fill_from, first_layer
from opmask.checkpoints._pth import read_state_dict
from opmask.checkpoints.published.dovenet import BATCH, dovenet_names, named

__all__ = ["load_bargainnet"]


def load_bargainnet(generator: str | Path, extractor: str | Path) -> BargainNet:
    r"""Loads a generator, and its extractor, that BargainNet's published code has trained.

    The published code describes the background of the *real* image, in tests too, and its figures
    were made with dropout and with the statistics of each test image. In evaluation mode, as here,
    there is neither; results differ a little from the published ones.

    Args:
        generator: The state dict of the generator, `latest_net_G.pth`; with the prefix `module.`
            before each name or without.
        extractor: That of the extractor, `latest_net_E.pth`. Widths, depths and the length of a
            code are read from both.

    Returns:
        The network, in evaluation mode, on the CPU. `network(image, region, background)` is the
        image as it paints it, not pasted, in :math:`[0, 1]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is damaged, would run code, or holds another network; or if the two
            have codes of different lengths.

    References:
        | BargainNet: Background-Guided Domain Translation for Image Harmonization (Cong et al.,
          2021) https://arxiv.org/abs/2009.09169

    Example:
        >>> import tempfile, torch
        >>> from opmask.checkpoints.published.bargainnet import extractor_names, generator_names
        >>> net = BargainNet(width=8, depth=5, code_width=8).state_dict()
        >>> files = {"G": generator_names(5), "E": extractor_names(5)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for kind, names in files.items():
        ...         published = {theirs: net[ours] for theirs, ours in names.items()}
        ...         torch.save(published, f"{folder}/latest_net_{kind}.pth")
        ...     bargainnet = load_bargainnet(*(f"{folder}/latest_net_{kind}.pth" for kind in "GE"))
        >>> bargainnet(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """
    generator, extractor = Path(generator), Path(extractor)
    ours, describing = (read_state_dict(path, "params") for path in (generator, extractor))
    depth = max(5, 1 + sum(name.endswith(".model.1.weight") for name in ours))
    code_depth = max(2, sum(name.startswith("conv") for name in describing) - 3)
    names = generator_names(min(depth, DEEPEST))
    code_names = extractor_names(min(code_depth, DEEPEST))
    check_names(generator, "generator of BargainNet", ours, names, _advice(ours))
    check_names(extractor, "extractor of BargainNet", describing, code_names, _advice(describing))
    width, inputs = first_layer(generator, ours, "model.model.0.weight")
    code_width, _ = first_layer(extractor, describing, "conv1f.weight", side=3)
    codes = describing["convs.bias"].numel()
    if inputs != 4 + codes:
        raise ValueError(
            f"'generator' and 'extractor' must be files of one network, but {str(generator)!r} "
            f"takes codes of {inputs - 4} numbers, and {str(extractor)!r} makes {codes}."
        )
    build = partial(
        BargainNet,
        ours["model.model.3.bias"].numel(),
        width=width,
        depth=depth,
        codes=codes,
        code_width=code_width,
        code_depth=code_depth,
    )
    files = (generator, ours, names), (extractor, describing, code_names)
    return fill_from(build, *files).eval()


def generator_names(depth: int) -> dict[str, str]:
    """Our name of each tensor by the published one: those of DoveNet, and the factor."""
    return {"weight": "factor"} | dovenet_names(depth, "batch")


def extractor_names(depth: int) -> dict[str, str]:
    """Our name of each tensor of an extractor by the published one."""
    names = {"conv1f.bias": "extractor.convolutions.0.bias"}
    for level in range(depth):
        theirs, ours = f"conv{level + 1}f.weight", f"extractor.convolutions.{level}.weight"
        names[theirs] = ours
        if 0 < level < depth - 1:
            names |= named(f"norm{level + 1}f", f"extractor.after.{level}.0", BATCH)
    return names | named("convs", "extractor.out", ("weight", "bias"))


def _advice(tensors: Mapping[str, Tensor]) -> str:
    if "model.model.1.model.1.bias" in tensors:
        return "Networks with instance norms, of no published file, need the code that wrote them."
    return advice(tensors, "load_bargainnet")
