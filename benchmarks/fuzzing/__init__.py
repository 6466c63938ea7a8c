r"""Hostile files for every door of the library; `benchmarks/fuzz.py` runs them.

`case.py` says what a case is, `mutations.py` spoils bytes, JSON and files, the modules named after
kinds build files and use them, and `judging.py` says what came of it.
"""
