"""What tests of files share."""

import pytest
import torch


@pytest.fixture
def file(tmp_path):
    """Writes contents to a file and gives its path."""

    def write(content: object):
        torch.save(content, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return write
