"""The command `opmask`: thin functions that parse, call the library and print."""

from opmask.cli.entry import main

__all__ = [
    "main",
]
