"""Build a benchmark on Ray, with the same bytes as `opmask build-benchmark`.

    python examples/build_benchmark_with_ray.py ade20k ADEChallengeData2016 hscene --images
    python examples/build_benchmark_with_ray.py lip LIP hlip --address head:6379

Without an address Ray runs on this machine, with one process for each processor. What was
interrupted goes on when it is called again. On a cluster the folders must be on storage that all
machines share, under the same path.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import os
import time
from pathlib import Path

from reproduction.flags import at_least, existing
from reproduction.on_ray import Engine, cluster, start

from opmask.cli.benchmark import SPLITS
from opmask.datasets import ADE20K, LIP
from opmask.datasets.benchmark import BenchmarkConfig, build_benchmark

KINDS = {"ade20k": ADE20K, "lip": LIP}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=KINDS, help="the data set")
    parser.add_argument("root", type=existing, help="its folder")
    parser.add_argument("out", type=Path, help="the folder to write: new, or to be completed")
    parser.add_argument("--seed", type=at_least(0), default=0, help="decides all samples")
    parser.add_argument("--size", type=at_least(1), help="resize to a square of so many pixels")
    parser.add_argument("--images", action="store_true", help="write a picture of each, too")
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="at a time")
    parser.add_argument("--address", type=cluster, help="of a cluster: HOST:PORT, or auto")
    args = parser.parse_args(arguments)
    root, out = args.root.resolve(), args.out.resolve()  # for processes elsewhere
    kind, split = KINDS[args.data], SPLITS[args.data]
    config = BenchmarkConfig(kind.__name__, split, args.seed, size=args.size)
    start(args.address)
    began = time.monotonic()
    try:
        benchmark = build_benchmark(
            kind(root, split),
            root,
            out,
            config,
            images=args.images,
            workers=Engine(args.workers),
        )
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    seconds = time.monotonic() - began
    print(benchmark.header.describe())
    print(f"{len(benchmark)} samples in {out}, {seconds:.1f} s with {args.workers} workers.")


if __name__ == "__main__":
    launch.run(main)
