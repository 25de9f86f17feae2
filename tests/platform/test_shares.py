"""How the work is spread over what a cluster has."""

from __future__ import annotations

import sys

import pytest

from frisket.errors import UserError
from frisket.platform.cluster.session import require_device
from frisket.platform.executors.ray_train import shares
from frisket.platform.specs.experiment import from_dict, share

EXPERIMENT = from_dict({"name": "x", "learner": {"kind": "online-adam"}, "threads": 2})


@pytest.mark.parametrize("workers", range(1, 65))
def test_parts_of_a_gpu_leave_room_for_all_workers(workers: int) -> None:
    """Ray divides what a node has by what a worker takes, rounding down, in floating point: 1.0 // 0.2 is 4."""
    dealt = shares(EXPERIMENT, workers, jobs=100, cluster={"CPU": 200.0, "GPU": 1.0})
    part = dealt.resources["GPU"]
    assert dealt.workers == workers
    assert 1.0 // part >= workers
    assert part * workers <= 1.0


def test_by_default_a_worker_per_gpu_or_as_many_as_cpus_feed() -> None:
    assert shares(EXPERIMENT, None, jobs=100, cluster={"CPU": 64.0, "GPU": 4.0}) == (4, {"CPU": 2, "GPU": 1.0})
    assert shares(EXPERIMENT, None, jobs=100, cluster={"CPU": 9.0}) == (4, {"CPU": 2})
    assert shares(EXPERIMENT, None, jobs=3, cluster={"CPU": 64.0}).workers == 3
    assert shares(EXPERIMENT, None, jobs=3, cluster={}).workers == 1


def test_a_gpu_that_is_named_is_asked_for_before_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    named = from_dict({"name": "x", "learner": {"kind": "online-adam"}, "device": "cuda"})
    assert shares(named, None, jobs=9, cluster={"CPU": 8.0}) == (1, {"CPU": 1, "GPU": 1.0})
    assert shares(named, 4, jobs=9, cluster={"CPU": 8.0}) == (4, {"CPU": 1, "GPU": 1.0})
    assert [record.message.split(",")[0] for record in caplog.records] == ["this cluster has no GPU yet"] * 2
    caplog.clear()
    assert shares(named, 4, jobs=9, cluster={"CPU": 8.0, "GPU": 8.0}) == (4, {"CPU": 1, "GPU": 1.0})
    assert shares(EXPERIMENT, 4, jobs=9, cluster={"CPU": 8.0}) == (4, {"CPU": 2})
    assert not caplog.records


def test_a_device_must_be_where_the_workers_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "ray", None)  # another test may have joined a cluster
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="this machine has no usable GPU"):
        require_device("cuda")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    require_device("cuda")


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_every_pack_falls_to_one_worker_whatever_their_number(workers: int) -> None:
    packs = EXPERIMENT.packs()
    dealt = [pack for rank in range(workers) for pack in share(packs, rank, workers)]
    assert sorted(dealt, key=packs.index) == packs
