r"""Harmonize a large folder of photos on Ray: on all processors here, or on a cluster.

    python examples/harmonize_with_ray.py photos --out harmonized
    python examples/harmonize_with_ray.py photos --region masks --out harmonized \
        --model model.safetensors --workers 64 --address head:6379

Each photo becomes what `opmask harmonize` makes of it, byte for byte if that has one thread too
(OMP_NUM_THREADS=1), and its edit is saved in OUT/edits. What was interrupted goes on when it is
called again: of what is there nothing is made anew. A photo that cannot be harmonized is listed in
OUT/failed.txt, with the reason, and the others go on. On a cluster the folders must be on storage
that all machines share.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import os
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reproduction.flags import at_least, existing, share
from reproduction.on_ray import check_gpus, cluster, start, stream
from tqdm import tqdm

from opmask.cli.errors import describe
from opmask.cli.harmonizing import Settings, find_device, harmonize_jobs, load_model
from opmask.cli.photos import Job, find_jobs
from opmask.cli.reporting import Report, naming
from opmask.files import replacing

EDITS, FAILED = "edits", "failed.txt"


@dataclass
class Quiet(Report):
    """Says nothing, and keeps why jobs failed."""

    reasons: list[str] = field(default_factory=list)

    def written(self, *_: object, **__: object) -> None:
        pass

    def failed(self, job: Job, error: Exception) -> None:
        self.reasons.append(naming(job.photo, describe(error)))


class Harmonizer:
    """A model in a process of Ray, which harmonizes one photo after another."""

    def __init__(self, settings: Settings, guided: bool) -> None:
        self.settings = settings
        self.network = load_model(settings.model, guided=guided).to(find_device(settings.device))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        report = Quiet(1)
        harmonize_jobs([pickle.loads(row["job"])], self.settings, report, self.network)
        return {"reason": "".join(report.reasons)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=existing, help="a folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--region", type=existing, help="a folder of regions, by name")
    parser.add_argument("--model", type=existing, help="a checkpoint; else the bundled one")
    parser.add_argument("--work-size", type=at_least(16), default=256, help="in pixels")
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="at a time")
    parser.add_argument("--gpus", type=share, default=0, help="the share of a GPU for each")
    parser.add_argument("--address", type=cluster, help="of a cluster: HOST:PORT, or auto")
    args = parser.parse_args(arguments)
    # Other processes may have another folder to begin from.
    photos, out, region, model = (
        path and path.resolve() for path in (args.photos, args.out, args.region, args.model)
    )
    settings = Settings(model, work_size=args.work_size, device=None if args.gpus else "cpu")
    try:
        jobs, finished = find_jobs([photos], out, region=region, model=model, edits=out / EDITS)
    except (OSError, ValueError) as error:
        raise SystemExit(describe(error)) from error
    print(f"{len(finished)} of {len(jobs) + len(finished)} photos are there already.")
    if not jobs:
        return
    start(args.address)
    check_gpus(args.gpus, min(args.workers, len(jobs)))
    began = time.monotonic()
    made = stream(
        Harmonizer,
        [{"job": pickle.dumps(job)} for job in jobs],
        args.workers,
        settings,
        region is not None,
        gpus=args.gpus,
    )
    rows = list(tqdm(made, "photos", len(jobs), disable=None))
    seconds = time.monotonic() - began
    failed = [row["reason"] for row in rows if row["reason"]]
    with replacing(out / FAILED) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in failed), encoding="utf-8")
    print(
        f"{len(rows) - len(failed)} photos harmonized, {len(failed)} failed (see "
        f"{out / FAILED}); {len(rows) / seconds:.2f} a second, {args.workers} at a time."
    )
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    launch.run(main)
