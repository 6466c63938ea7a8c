"""Do the tests notice? Small mutations of the core modules, each against that module's own tests.

A hundred sampled mutations (an operator swapped, a term dropped, a comparison or a constant
changed) are applied to a copy, one at a time. Prints the survivors and the share that was killed.
Linux or macOS only, because each run is a fork of one warm process.

    python benchmarks/mutation.py --count 100 --seed 0
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401  (warm before the forks, as are kornia, pilgram and scikit-image)
import kornia  # noqa: F401
import pilgram  # noqa: F401
import pytest
import skimage.color
import skimage.metrics  # noqa: F401
import torch
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
TESTS = {
    "opmask/backbones/attention_unet.py": ["tests/backbones", "tests/checkpoints"],
    "opmask/checkpoints/reference.py": ["tests/checkpoints"],
    "opmask/color/spaces.py": ["tests/color/test_spaces.py"],
    "opmask/datasets/benchmark/dataset.py": ["tests/datasets/benchmark/test_dataset.py"],
    "opmask/datasets/benchmark/build.py": [
        "tests/datasets/benchmark/test_build.py",
        "tests/datasets/benchmark/test_entries.py",
    ],
    "opmask/datasets/benchmark/recompression.py": [
        "tests/datasets/benchmark/test_recompression.py"
    ],
    "opmask/datasets/benchmark/entries.py": [
        "tests/datasets/benchmark/test_build.py",
        "tests/datasets/benchmark/test_entries.py",
    ],
    "opmask/datasets/iharmony4.py": ["tests/datasets/test_iharmony4.py"],
    "opmask/datasets/labelled.py": ["tests/datasets/test_labelled.py"],
    "opmask/files/locking.py": ["tests/files/test_locking.py"],
    "opmask/datasets/benchmark/manifest.py": ["tests/datasets/benchmark/test_manifest.py"],
    "opmask/datasets/pairs.py": ["tests/datasets/test_pairs.py"],
    "opmask/datasets/reading.py": ["tests/datasets/test_reading.py"],
    "opmask/datasets/benchmark/triptych.py": ["tests/datasets/benchmark/test_triptych.py"],
    "opmask/datasets/workers.py": ["tests/datasets/benchmark/test_build.py"],
    "opmask/files/pth.py": ["tests/files/test_pth.py", "tests/checkpoints"],
    "opmask/discriminator.py": ["tests/test_discriminator.py"],
    "opmask/files/pictures.py": ["tests/files/test_pictures.py"],
    "opmask/color/opencv_lab.py": ["tests/color/test_opencv_lab.py"],
    "opmask/losses/_common.py": ["tests/losses"],
    "opmask/losses/charbonnier.py": ["tests/losses"],
    "opmask/losses/masks.py": ["tests/losses"],
    "opmask/losses/perceptual.py": ["tests/losses"],
    "opmask/losses/region_normalized.py": ["tests/losses"],
    "opmask/losses/relativistic.py": ["tests/losses"],
    "opmask/losses/vgg19.py": ["tests/losses"],
    "opmask/metrics/definitions.py": ["tests/metrics"],
    "opmask/metrics/evaluation.py": ["tests/metrics"],
    "opmask/metrics/image.py": ["tests/metrics"],
    "opmask/metrics/localization.py": ["tests/metrics"],
    "opmask/metrics/masks.py": ["tests/metrics"],
    "opmask/metrics/protocols.py": ["tests/metrics"],
    "opmask/metrics/reference.py": ["tests/metrics"],
    "opmask/metrics/results.py": ["tests/metrics"],
    "opmask/operators/base.py": ["tests/operators"],
    "opmask/operators/channel.py": ["tests/operators"],
    "opmask/perturb/batched.py": ["tests/perturb/test_batched.py"],
    "opmask/perturb/filters/blends.py": ["tests/perturb/filters/test_lookup.py"],
    "opmask/perturb/filters/batched_lookup.py": ["tests/perturb/test_batched.py"],
    "opmask/perturb/composite.py": ["tests/perturb/test_composite.py"],
    "opmask/perturb/compositing.py": ["tests/perturb/test_reference.py"],
    "opmask/perturb/degrade/counter.py": ["tests/perturb/degrade/test_counter.py"],
    "opmask/perturb/filters/cube.py": ["tests/perturb/filters/test_cube.py"],
    "opmask/perturb/degrade/sampling.py": ["tests/perturb/degrade/test_sampling.py"],
    "opmask/perturb/engine.py": ["tests/perturb/test_engine.py"],
    "opmask/fitting/fit.py": ["tests/fitting/test_fit.py"],
    "opmask/perturb/filters/gradients.py": ["tests/perturb/filters/test_filter.py"],
    "opmask/perturb/degrade/kernels.py": ["tests/perturb/degrade/test_kernels.py"],
    "opmask/perturb/lab.py": ["tests/perturb/test_lab.py"],
    "opmask/fitting/solver.py": [
        "tests/fitting/test_solver.py",
        "tests/fitting/test_fit.py",
    ],
    "opmask/perturb/filters/cssgram.py": ["tests/perturb/filters/test_filter.py"],
    "opmask/perturb/degrade/noise.py": ["tests/perturb/degrade/test_noise.py"],
    "opmask/perturb/filters/nonseparable.py": ["tests/perturb/filters/test_filter.py"],
    "opmask/perturb/filters/lookup.py": ["tests/perturb/filters/test_lookup.py"],
    "opmask/perturb/regions.py": ["tests/perturb/test_regions.py"],
    "opmask/perturb/resize.py": ["tests/perturb/test_resize.py"],
    "opmask/perturb/settings.py": ["tests/perturb/test_settings.py"],
    "opmask/perturb/steps.py": ["tests/perturb/test_engine.py", "tests/perturb/test_batched.py"],
    "opmask/files/regions.py": ["tests/files/test_regions.py"],
    "opmask/retouch/retoucher.py": ["tests/retouch/test_retoucher.py"],
    "opmask/study/answers.py": ["tests/study/test_answers.py"],
    "opmask/study/page.py": ["tests/study/test_page.py"],
    "opmask/study/chart.py": ["tests/study/test_chart.py"],
    "opmask/study/key.py": ["tests/study/test_key.py"],
    "opmask/study/scoring.py": ["tests/study/test_scoring.py"],
    "opmask/study/statistics.py": ["tests/study/test_statistics.py"],
}
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Mod: ast.Add, ast.FloorDiv: ast.Mult,
}  # fmt: skip


def quiet(tree: ast.AST) -> set[int]:
    """What mutations pass over: docstrings, annotations, and the text of error messages."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.Raise)):
            skipped |= {id(n) for n in ast.walk(node)}
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                skipped |= {id(n) for n in ast.walk(getattr(node, name))}
    return skipped


def sites(source: str) -> Iterator[tuple[int, str]]:
    """The places that can be mutated, as the number of the node and what to do there."""
    tree = ast.parse(source)
    skipped = quiet(tree)
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            yield from ((number, kind) for kind in ("swap", "drop left", "drop right"))
        elif isinstance(node, (ast.Compare, ast.BoolOp)):
            yield number, "swap"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            yield number, "drop sign"
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield number, "constant"


class Mutate(ast.NodeTransformer):
    """Changes one node of a tree."""

    def __init__(self, target: ast.AST, kind: str) -> None:
        self.target, self.kind = target, kind

    def visit(self, node: ast.AST) -> ast.AST:
        if node is not self.target:
            return self.generic_visit(node)
        if self.kind == "drop left":
            return node.right
        if self.kind == "drop right":
            return node.left
        if self.kind == "drop sign":
            return node.operand
        if self.kind == "constant":
            whole = isinstance(node.value, int) or node.value == 0
            return ast.Constant(node.value + 1 if whole else node.value * 1.5)
        if isinstance(node, ast.Compare):
            node.ops[0] = SWAPS.get(type(node.ops[0]), ast.NotEq)()
        else:
            node.op = SWAPS[type(node.op)]()
        return node


def mutated(source: str, number: int, kind: str) -> tuple[str, int]:
    tree = ast.parse(source)
    target = list(ast.walk(tree))[number]
    return ast.unparse(Mutate(target, kind).visit(tree)), target.lineno


def survives(copy: Path, file: str, text: str) -> bool:
    """Whether the tests of a module pass on a mutation of it."""
    original = (copy / file).read_text()
    (copy / file).write_text(text)
    child = os.fork()
    if child == 0:
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = True
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        options = ["-x", "-q", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main([*options, *TESTS[file]])))
    status = os.waitpid(child, 0)[1]
    (copy / file).write_text(original)
    return status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sources = {file: (ROOT / file).read_text() for file in TESTS}
    every = [(file, *site) for file, source in sources.items() for site in sites(source)]
    sample = random.Random(args.seed).sample(every, min(args.count, len(every)))
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("opmask", "tests"):
            shutil.copytree(ROOT / part, copy / part)
        shutil.copy(ROOT / "pyproject.toml", copy)
        for file in TESTS:
            if not survives(copy, file, sources[file]):
                raise SystemExit(f"the tests of {file} fail without any mutation.")
        for file, number, kind in tqdm(sample):
            text, line = mutated(sources[file], number, kind)
            if survives(copy, file, text):
                survivors.append(
                    f"{file}:{line} {kind}: {sources[file].splitlines()[line - 1].strip()}"
                )
    print("\n".join(["survivors:", *sorted(survivors)]))
    killed = len(sample) - len(survivors)
    print(f"{killed} of {len(sample)} mutations killed, of {len(every)}, seed {args.seed}")


if __name__ == "__main__":
    main()
