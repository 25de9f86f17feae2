"""Few-shot episodes: the released class split, the sample pools, determinism."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.episodes.halved import HalvedEpisodes
from frisket.errors import SpecError
from frisket.types import Data, Split


def numbered(classes: int, samples: int = 20) -> ImageSet:
    """Images whose three pixels say which class (two bytes) and which sample they are."""
    labels = np.repeat(np.arange(classes), samples)
    within = np.tile(np.arange(samples), classes)
    images = np.stack([labels // 256, labels % 256, within], axis=-1).astype(np.uint8).reshape(-1, 1, 1, 3)
    provenance = Provenance("numbered", "embedded", "a test", "none", "none", {})
    return ImageSet("numbered", images, labels, tuple(map(str, range(classes))), provenance)


def sides(source: HalvedEpisodes, split: Split, number: int) -> tuple[Data, Data]:
    """Support and query, as a network sees them."""
    support, query = source.episode(split, number).sides()
    return Data(source.numbers(support.x), support.y), Data(source.numbers(query.x), query.y)


def read(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(classes, samples)`` of images."""
    pixels = (x * 255).round().long().reshape(-1, 3).numpy()
    return pixels[:, 0] * 256 + pixels[:, 1], pixels[:, 2]


def test_released_split_of_omniglot() -> None:
    """Section 8: classes 0..899 and 900..999; support from samples 0..9, query from 10..19, both with replacement."""
    source = HalvedEpisodes(numbered(1623), ways=10, shots=5, seed=0)
    seen: dict[Split, set[int]] = {"train": set(), "validation": set()}
    for split, found in seen.items():
        for number in range(200):
            support, query = sides(source, split, number)
            classes, samples = read(support.x)
            found |= set(classes.tolist())
            assert samples.max() <= 9
            assert read(query.x)[1].min() >= 10
    assert min(seen["train"]) < 20
    assert 880 < max(seen["train"]) <= 899
    assert seen["validation"] == set(range(900, 1000))


def test_shape_labels_and_scale() -> None:
    source = HalvedEpisodes(numbered(200), ways=4, shots=3, queries=6, seed=0)
    assert source.episode("train", 0).x.dtype == torch.uint8
    support, query = sides(source, "train", 0)
    assert support.x.shape == (12, 1, 1, 3)
    assert query.x.shape == (24, 1, 1, 3)
    assert support.x.dtype == torch.float32
    assert float(support.x.max()) <= 1
    assert support.y.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    shown, asked = read(support.x)[0], read(query.x)[0]
    assert len(set(shown.tolist())) == 4
    assert shown[::3].tolist() == asked[::6].tolist()  # position j is label j on both sides


def test_samples_come_with_replacement() -> None:
    source = HalvedEpisodes(numbered(200, samples=4), ways=2, shots=8, seed=0)
    classes, samples = read(sides(source, "train", 0)[0].x)
    assert set(samples.tolist()) <= {0, 1}  # the first half of four
    assert len(classes) == 16


def test_other_sets_are_split_in_the_same_proportions() -> None:
    source = HalvedEpisodes(numbered(200), ways=10, shots=1, seed=0)
    train = {int(c) for i in range(150) for c in read(sides(source, "train", i)[0].x)[0]}
    validate = {int(c) for i in range(50) for c in read(sides(source, "validation", i)[0].x)[0]}
    assert max(train) == 110
    assert validate == set(range(111, 123))


def test_a_pure_function_of_seed_split_and_counter() -> None:
    images = numbered(200)
    source, again, other = (HalvedEpisodes(images, ways=3, shots=2, seed=seed) for seed in (0, 0, 1))
    source.episode("train", 5)  # asking for one episode does not move another
    seventh = source.episode("train", 7).x
    assert torch.equal(seventh, again.episode("train", 7).x)
    assert not torch.equal(seventh, source.episode("train", 8).x)
    assert not torch.equal(seventh, other.episode("train", 7).x)


def test_too_few_classes_are_named() -> None:
    with pytest.raises(SpecError, match="ways = 10: must be at most 1, the validation classes of numbered"):
        HalvedEpisodes(numbered(20), ways=10, shots=1, seed=0)
    with pytest.raises(SpecError, match="within the 20 classes"):
        HalvedEpisodes(numbered(20), ways=2, shots=1, seed=0, validation_classes=(15, 30))
    with pytest.raises(SpecError, match="at least 2"):
        HalvedEpisodes(numbered(200, samples=1), ways=2, shots=1, seed=0)
