"""From bytes to what a network sees: pictures in [0, 1], normalised by their data set's published constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from frisket.envs.data.imageset import Pictures
from frisket.errors import require

Normalise = Literal["published", "none", "imagenet"]
"""By which mean and deviation: the data set's published ones, where it has any; none; or ImageNet's."""

_CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
_PHOTOS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

NORMALISATION: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": _CIFAR100,
    "cifar_fs": _CIFAR100,
    "fc100": _CIFAR100,
    "tinyimagenet": _PHOTOS,
    "miniimagenet": _PHOTOS,
    "imagenet": _PHOTOS,
}
"""Mean and standard deviation of each channel of pictures in [0, 1], by data set (lamaml spec, section 6; ImageNet's
are those in general use)."""


class Scale:
    """Pixels ``[N, C, H, W]`` float32 in 0..255 to what the network sees, in place; a set without published constants
    is left in [0, 1], and features are left as they are.

    Args:
        pictures: whose pixels.
        by: whose constants.
        channels: what they are shown in, where that is not what they have: grey ones as so many equal ones.

    Raises:
        SpecError: ImageNet's constants for pictures of other than three colours.
    """

    def __init__(self, pictures: Pictures, by: Normalise = "published", channels: int | None = None) -> None:
        channels = channels or pictures.channels
        nothing = ((0.0,) * channels, (1.0,) * channels)
        known = {"published": NORMALISATION.get(pictures.name, nothing), "none": nothing, "imagenet": _PHOTOS}
        mean, deviation = (one * channels if len(one) == 1 else one for one in known[by])
        fix = f"published or none: pictures of {pictures.name} have {channels} colours"
        require(len(mean) == channels, "normalise", by, fix)
        self.factor = torch.tensor([1 / (pictures.unit * d) for d in deviation])[:, None, None]
        self.shift = torch.tensor([m / d for m, d in zip(mean, deviation, strict=True)])[:, None, None]

    def __call__(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).mul_(self.factor).sub_(self.shift)

    def numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Factor and shift of each channel: what takes a byte k to the number ``k factor - shift``."""
        return tuple(self.factor.flatten().tolist()), tuple(self.shift.flatten().tolist())
