r"""The convolutions of AlexNet, whose ImageNet features the losses compare and backbones may use.

Data flow: `image (B, 3, H, W), normalised as ImageNet's -> alexnet_features -> (B, 256, h, w)`.
"""

from __future__ import annotations

from torch import nn

__all__ = ["alexnet_features"]


def alexnet_features() -> nn.Sequential:
    r"""The layers up to the last ReLU, numbered as in torchvision's `features`, untrained.

    References:
        | ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012)
    """
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
    )
