import pytest


@pytest.fixture(autouse=True)
def _no_weights_at_hand(torch_home):
    """Scores depend on what lies in torchvision's cache."""
