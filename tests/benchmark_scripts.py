"""The scripts of `benchmarks/` as modules, for their tests."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(file: str):
    """A script as a module of another name than `__main__`, so that it does not start."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{file}", FOLDER / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
