"""What tests and the examples of the documentation run under: one thread, a fixed seed."""

from __future__ import annotations

import pytest
import torch

# Tests' tensors are small: a second thread costs more than it brings, above all on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
