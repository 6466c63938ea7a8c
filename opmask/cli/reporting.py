r"""What a command prints of each photo: a line for people, or one of JSON.

Job, what came of it -> :class:`Report` -> standard output and error, exit status.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import typer

from opmask.cli.errors import EXPECTED, describe, printable
from opmask.cli.photos import Job
from opmask.launching import was_interrupted


@dataclass
class Report:
    """Prints what comes of jobs, and remembers which failed.

    Args:
        total: How many jobs there are, with those that were finished before.
        as_json: Whether the standard output is one line of JSON for each job.
    """

    total: int
    as_json: bool = False
    failed_jobs: list[Job] = field(default_factory=list)
    told: set[Path] = field(default_factory=set)

    @contextmanager
    def refusing(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Where all is refused, says so of each job that nothing was said of, if in JSON."""
        try:
            yield
        except EXPECTED as error:
            if self.as_json and not was_interrupted(error):
                for job in jobs:
                    if job.photo not in self.told:
                        self._json(job, "failed", error=describe(error))
            raise

    def finished(self, jobs: Sequence[Job]) -> None:
        """Says which outputs were there before."""
        if self.as_json:
            for job in jobs:
                self._json(job, "finished")
        elif jobs:
            count = f"{len(jobs)} of {self.total} photos"
            _echo(f"{count} are there already, and stay. --overwrite redoes them.")

    def written(
        self,
        job: Job,
        remark: str,
        notes: Sequence[str] = (),
        *,
        width: int,
        height: int,
        changed: float,
    ) -> None:
        """Says what was written: a picture of this size, what of it changed, what is left out."""
        if self.as_json:
            facts = {"width": width, "height": height, "changed": changed, "remark": remark}
            self._json(job, "written", **facts, notes=list(notes))
        else:
            new = [path for path in job.outputs if path not in job.kept] if job.kept else [job.out]
            said = " ".join([".", *notes]) if notes else ""
            _echo(f"Written: {', '.join(map(str, new))} ({width}x{height}; {remark}){said}")

    def failed(self, job: Job, error: Exception) -> None:
        """Says why there is no output, and which photo is to blame if there are others.

        Raises:
            KeyboardInterrupt: If it is not the photo's fault, but Ctrl-C.
        """
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        self.failed_jobs.append(job)
        line = describe(error)
        if self.as_json:
            self._json(job, "failed", error=line)
        if self.total > 1:
            line = naming(job.photo, line)
        _echo(f"opmask: {line}", to_errors=True)

    def end(self) -> None:
        """Ends the command, with the status 1 if a job failed."""
        if not self.failed_jobs:
            return
        if self.total > 1:
            count = f"{len(self.failed_jobs)} of {self.total} photos"
            _echo(f"opmask: {count} failed.", to_errors=True)
        raise typer.Exit(1)

    def _json(self, job: Job, status: str, **facts: object) -> None:
        self.told.add(job.photo)
        region = None if job.region is None else str(job.region)
        about = {"photo": str(job.photo), "region": region, "out": str(job.out)}
        _echo(json.dumps({**about, "status": status, **facts}))


def naming(photo: Path, line: str) -> str:
    """A line about a photo that names it."""
    return line if str(photo) in line else f"{photo}: {line}"


def _echo(line: str, *, to_errors: bool = False) -> None:
    """Prints a line, above the progress bar if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode():
        typer.echo(printable(line), err=to_errors)
