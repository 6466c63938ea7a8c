"""Synthetic scenes: drawn photos with label maps, for tests and first trainings."""

from opmask.datasets.scenes.synthetic import SyntheticScenes

__all__ = [
    "SyntheticScenes",
]
