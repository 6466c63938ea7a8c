"""The command `opmask`, as ``python -m opmask``."""

from opmask.cli import main

if __name__ == "__main__":
    main()
