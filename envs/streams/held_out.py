"""Which pictures are for learning and which for judging."""

from __future__ import annotations

import numpy as np

from frisket.envs.data.imageset import Pictures

_TEST_SHARE = 3  # one in so many, where there is no published test split


def learn_and_judge(train: Pictures, test: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Indices into ``train`` that may be learned from, and indices into ``test`` to be judged on; no picture in both.

    All of both where the data have a published test split. An embedded stand-in has none and serves as ``train`` and
    ``test`` alike; a third of each of its classes, the last in file order, is then set apart for judging.
    """
    if train is not test and train.name != test.name:
        return np.arange(len(train.labels)), np.arange(len(test.labels))
    cuts = [len(indices) - len(indices) // _TEST_SHARE for indices in train.class_indices()]
    parts = [np.split(indices, [cut]) for indices, cut in zip(train.class_indices(), cuts, strict=True)]
    learn, judge = (np.sort(np.concatenate(side)) for side in zip(*parts, strict=True))
    return learn, judge
