"""The OSAKA stream against the facts of the osaka spec, on made-up image sets whose pixels say where they come from."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.streams.osaka import OsakaConfig, OsakaStream
from frisket.errors import SpecError

DOMAINS = {"omniglot": 0.5, "mnist": 0.25, "fashion_mnist": 0.25}


def image_set(name: str, classes: int, per_class: int) -> ImageSet:
    """Image i of class c has its class in pixel (0, 0) and its index within the class in pixel (0, 1)."""
    labels = np.tile(np.arange(classes), per_class)
    images = np.zeros((len(labels), 1, 16, 16), dtype=np.uint8)
    images[:, 0, 0, 0] = labels % 251
    images[:, 0, 0, 1] = np.repeat(np.arange(per_class), classes)
    provenance = Provenance(name=name, kind="embedded", source="made up", licence="none", citation="none", sha256={})
    return ImageSet(name, images, labels, tuple(map(str, range(classes))), provenance)


SIZES = {"omniglot": (60, 20), "mnist": (10, 50), "fashion_mnist": (10, 60)}
DATA = {name: image_set(name, classes, per_class) for name, (classes, per_class) in SIZES.items()}


def stream(seed: int = 0, **fields: object) -> OsakaStream:
    return OsakaStream(OsakaConfig(domains=DOMAINS, **fields), DATA, seed)  # type: ignore[arg-type]


def test_a2_switch_rate_and_domain_shares_over_200000_steps() -> None:
    n, p = 200_000, 0.9
    s = stream(p=p, steps=n)
    starts = np.array([s.task(t).start for t in range(n)])
    switches = starts == np.arange(n)
    assert switches[0]
    rate, sigma = switches[1:].mean(), np.sqrt(p * (1 - p) / (n - 1))
    assert abs(rate - (1 - p)) < 3 * sigma
    at_switches = [s.task(int(t)).domain for t in np.flatnonzero(switches)]
    for domain, share in DOMAINS.items():
        sigma = np.sqrt(share * (1 - share) / len(at_switches))
        assert abs(at_switches.count(domain) / len(at_switches) - share) < 3 * sigma


def test_a2_every_batch_has_each_label_five_times_class_major() -> None:
    s = stream(p=0.9, steps=500)
    for t in range(500):
        batch = s.batch(t)
        assert batch.y.tolist() == [j for j in range(10) for _ in range(5)]
        assert batch.task is not None
        shown = (batch.x[:, 0, 0, 0] * 255).round().int().reshape(10, 5)
        assert (shown == torch.tensor(batch.task.classes)[:, None]).all()


def test_a2_ten_class_tasks_are_fresh_permutations() -> None:
    s = stream(p=0.5, steps=2000)
    tasks = list(dict.fromkeys(s.task(t) for t in range(2000)))
    ten = [task for task in tasks if task.domain != "omniglot"]
    assert len(ten) > 300
    assert all(sorted(task.classes) == list(range(10)) for task in ten)
    assert all(a.classes != b.classes for a, b in itertools.pairwise(ten))


def test_task_holds_between_switches_and_omniglot_classes_are_distinct() -> None:
    s = stream(p=0.98, steps=3000)
    for t in range(1, 3000):
        assert s.task(t) == s.task(t - 1) or s.task(t).start == t
        assert len(set(s.task(t).classes)) == 10


@pytest.mark.parametrize(("p", "segments"), [(0.98, 201), (0.90, 1001)])
def test_expected_number_of_segments(p: float, segments: int) -> None:
    streams = [stream(seed=k, p=p, steps=10_000) for k in range(4)]
    counts = [len({s.task(t).start for t in range(10_000)}) for s in streams]
    sigma = np.sqrt(10_000 * p * (1 - p) / len(counts))
    assert abs(np.mean(counts) - segments) < 4 * sigma


def test_any_order_gives_the_same_batches_and_a_longer_stream_begins_alike() -> None:
    forward, backward = stream(p=0.9, steps=200), stream(p=0.9, steps=400)
    for t in reversed(range(200)):
        a, b = backward.batch(t), forward.batch(t)
        assert torch.equal(a.x, b.x)
        assert a.task == b.task


def test_seed_changes_tasks_samples_and_switches() -> None:
    a, b = stream(seed=0, p=0.9, steps=300), stream(seed=1, p=0.9, steps=300)
    assert [a.task(t).start for t in range(300)] != [b.task(t).start for t in range(300)]
    assert not torch.equal(a.batch(0).x, b.batch(0).x)


def test_samples_are_drawn_with_replacement_from_equal_classes() -> None:
    uneven = image_set("mnist", 10, 50)
    keep = np.ones(len(uneven.labels), dtype=bool)
    keep[np.flatnonzero(uneven.labels == 3)[7:]] = False  # class 3 is left with 7 images: every class is cut to 7
    small = dataclasses.replace(uneven, images=uneven.images[keep], labels=uneven.labels[keep])
    s = OsakaStream(OsakaConfig(domains={"mnist": 1.0}, p=0.0, steps=400), {"mnist": small}, 0)
    within = np.concatenate([small.images[s.samples(t)][:, 0, 0, 1] for t in range(400)])
    assert set(within.tolist()) == set(range(7))
    repeats = sum(len(set(s.samples(t)[:5].tolist())) < 5 for t in range(400))
    assert repeats > 200  # without replacement it would be 0


def test_raw_scale_serves_bytes_and_only_where_asked() -> None:
    s = stream(p=0.0, steps=200, raw_scale=("mnist",))
    peaks: dict[str, float] = {}
    for t in range(200):
        batch = s.batch(t)
        assert batch.task is not None
        peaks[batch.task.domain] = max(peaks.get(batch.task.domain, 0), float(batch.x.max()))
    assert peaks["mnist"] == 49
    assert peaks["omniglot"] < 1
    assert peaks["fashion_mnist"] < 1


def test_hidden_task_can_be_taken_off() -> None:
    batch = stream(p=0.9, steps=3).batch(1)
    assert batch.task is not None
    assert batch.hide_task().task is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"p": 1.5}, "p"),
        ({"domains": {"mnist": 0.5}}, "domains"),
        ({"domains": {"mnist": 1.5, "omniglot": -0.5}}, "domains.mnist"),
        ({"shots": 0}, "shots"),
        ({"steps": 0}, "steps"),
        ({"raw_scale": ("mnits",)}, "raw_scale"),
    ],
)
def test_wrong_numbers_are_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        OsakaConfig(**fields)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_more_ways_than_classes_is_named() -> None:
    with pytest.raises(SpecError, match="ways = 11: must be at most 10"):
        stream(ways=11)
