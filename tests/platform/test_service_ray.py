"""The service on a real Ray cluster: runs move no number, sources and consumers are killed, and what is counted."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from processes import alive, wait_for
from searches import prepare_search
from serving import GatedRecipe, WalkRecipe, in_process, recipe_of, same
from watching import measured

from frisket.errors import DataError, ServiceError, SourceLost, SpecError, Stopped
from frisket.files import find_json, write_json
from frisket.platform import executors
from frisket.platform.cli.main import main
from frisket.platform.executors import Shares, local
from frisket.platform.executors.stream_source import opener, spans_nodes
from frisket.platform.executors.supervision import attempt, conclude
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.streaming.chunk import pack
from frisket.platform.streaming.consumer import Patience, Service
from frisket.platform.streaming.feed import Recipe
from frisket.platform.streaming.metrics import METRICS
from frisket.platform.streaming.reader import Reader
from frisket.platform.streaming.streams import StreamFeed, open_stream
from frisket.platform.streaming.transport import RayTransport
from frisket.platform.verbs import run as launch
from frisket.rng import derive

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("ray_cluster", "workplace")]

SERVICE = "shared"


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def service(ray_cluster: None) -> Iterator[RayTransport]:
    """A service of two sources, whose processes can unpickle what `serving` defines."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(serving)
    started = RayTransport.start(SERVICE, sources=2)
    yield started
    started.stop()
    cloudpickle.unregister_pickle_by_value(serving)


def stats_of(service: RayTransport, source: int) -> dict[str, float]:
    """`Source.stats`, once it answers."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return service.take(service.ask(source, "stats"), 60)
        except SourceLost:
            assert time.monotonic() < deadline, "the source did not come back"
            time.sleep(0.1)


def answers(service: RayTransport, source: int) -> bool:
    """Whether a source answers, now."""
    try:
        service.take(service.ask(source, "stats"), 60)
    except SourceLost:
        return False
    return True


def test_found_by_name_and_served_bit_for_bit(service: RayTransport) -> None:
    found = RayTransport.connect(SERVICE)
    assert found.sources == 2
    recipe = recipe_of("osaka")
    plain, served = in_process(recipe, 1), open_stream(Service(found, "me"), recipe, 1)
    for position in range(plain.steps):
        assert same(plain.batch(position).x, served.batch(position).x)
    assert RayTransport.start(SERVICE, sources=2).sources == 2, "started again, the same sources are found"
    assert [stats_of(service, i)["pid"] for i in range(2)] == [stats_of(found, i)["pid"] for i in range(2)]


def test_feeds_that_the_service_has_never_heard_of(service: RayTransport) -> None:
    reader, feed = Reader(Service(service, "me"), WalkRecipe(), 5, chunk_bytes=3000), serving.WalkFeed(5)
    assert all(pack([reader.read(i)]).digest == pack([feed.item(i)]).digest for i in range(40))
    assert Service(service, "me").call("facts", WalkRecipe(), 5, read=dict) == {"actions": ["left", "right"]}
    with pytest.raises(DataError, match="no place to walk"):
        Reader(Service(service, "me"), WalkRecipe("nowhere"), 0).read(0)


def test_unknown_service_names_those_that_run(service: RayTransport) -> None:
    with pytest.raises(ServiceError, match=r"service = 'shard': no such service in this cluster; running: .*shared"):
        RayTransport.connect("shard", patience=0.0)


def test_stopped_service_is_a_clear_error() -> None:
    transport = RayTransport.start("short-lived", sources=1)
    pid = int(stats_of(transport, 0)["pid"])
    consumer = Service(RayTransport.connect("short-lived"), "me", Patience(lost=0.5))
    transport.stop()
    with pytest.raises(ServiceError, match=r"none of its 1 sources has answered for 0.5 s"):
        open_stream(consumer, recipe_of("osaka"), 0)
    wait_for(lambda: not alive(pid), seconds=30)


def test_source_comes_back_though_its_creator_found_it_dead() -> None:
    """Ray ends an actor for good when its creator forgets it: a lost source must not be forgotten."""
    transport = RayTransport.start("fragile", sources=1)
    try:
        pids = [int(stats_of(transport, 0)["pid"])]
        for _ in range(2):
            os.kill(pids[-1], signal.SIGKILL)
            wait_for(lambda: not answers(transport, 0), seconds=30)
            pids.append(int(stats_of(transport, 0)["pid"]))
        assert len(set(pids)) == 3
    finally:
        transport.stop()


def test_busy_source_queues_and_answers_for_itself(service: RayTransport, tmp_path: Path) -> None:
    """Requests are answered in their order; the state of a source can be asked all the while."""
    before, gate = [stats_of(service, i) for i in range(2)], tmp_path / "gate"
    asked = [service.ask(0, "read_chunk", GatedRecipe(str(gate)), 9, i, 200) for i in range(20)]
    wait_for(lambda: stats_of(service, 0)["frisket_source_queue_depth"] == 20)
    gate.touch()
    assert [service.take(ticket, 60).cursor for ticket in asked] == list(range(20))
    after = [stats_of(service, i) for i in range(2)]
    assert after[0]["frisket_source_queue_depth"] == 0
    chunks = [
        b["frisket_source_chunks"] - a.get("frisket_source_chunks", 0) for a, b in zip(before, after, strict=True)
    ]
    assert chunks == [20, 0]
    assert after[0]["frisket_source_items"] - before[0].get("frisket_source_items", 0) == 4000


def test_metrics_reach_prometheus(service: RayTransport) -> None:
    import ray

    reader = Reader(Service(service, "watched"), WalkRecipe(), 0)
    [reader.read(i) for i in range(20)]
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def exported() -> bool:
        with contextlib.suppress(OSError):
            text = urllib.request.urlopen(address, timeout=10).read().decode()
            return all(f"ray_{name}" in text for name in METRICS if not name.endswith("retries"))
        return False

    wait_for(exported, seconds=60)


@pytest.mark.parametrize(
    ("stream", "learner"),
    [
        ({"kind": "osaka", "p": 0.8, "domains": {"digits": 1.0}, "ways": 3, "shots": 1, "steps": 60}, "sparse-cmaml"),
        ({"kind": "permutations", "dataset": "digits", "tasks": 2, "samples": 60}, "sparse-la-maml"),
        ({"kind": "split-classes", "dataset": "digits", "tasks": 2, "classes_per_task": 3, "samples": 60},
         "sparse-la-maml"),
        ({"kind": "permutations", "dataset": "digits", "tasks": 2, "samples": 60, "validation": 50},
         "efficient-packnet"),
    ],
)  # fmt: skip
def test_where_streams_come_from_moves_no_number(
    stream: dict[str, Any], learner: str, service: RayTransport, tmp_path: Path
) -> None:
    """Journals, results and masks, bit for bit; on the way the served run is stopped and resumed once."""
    osaka = stream["kind"] == "osaka"
    spec: dict[str, Any] = {
        "stream": stream,
        "network": {"kind": "conv4", "channels": 2} if osaka else {"kind": "mlp", "hidden": [12]},
        "learner": {"kind": learner},
        "protocol": {"kind": "online-accuracy" if osaka else "retained-accuracy"},
        "seeds": 1,
    }
    path = tmp_path / "served.yaml"
    path.write_text(json.dumps(spec))
    plain, served = (
        launch.prepare(
            str(path), [f"stream.source={source}"], data="embedded", register=False, runs_dir=tmp_path / source
        )
        for source in ("in-process", "service")
    )
    local.execute(plain, data_dir=None, stop=never)
    (one,) = served.packs
    asked = iter([False] * 5 + [True])
    with pytest.raises(Stopped):
        run_pack(served, one, stop=lambda: next(asked), open_stream=opener(served, SERVICE, None))
    assert not served.done
    run_pack(served, one, open_stream=opener(served, SERVICE, None))
    assert measured(served) == measured(plain)


def test_auto_makes_in_the_worker_what_no_service_gives_whole(service: RayTransport, tmp_path: Path) -> None:
    """Pictures, whose test set comes piece by piece: the worker makes them, and who insists on a service is told."""
    spec = {
        "stream": {"kind": "pictures", "batch": 4, "steps": 6, "size": 12, "resize": 14, "readers": 1,
                   "test_samples": 30},
        "network": {"kind": "resnet", "depth": 18, "width": 2},
        "learner": {"kind": "static-sparse", "kept": 0.5, "lr": 0.05},
        "protocol": {"kind": "held-out-accuracy", "every": 3},
        "seeds": 1,
    }  # fmt: skip
    path = tmp_path / "pictures.yaml"
    path.write_text(json.dumps(spec))
    plain, left_open, insisting = (
        launch.prepare(
            str(path), [f"stream.source={source}"], data="embedded", register=False, runs_dir=tmp_path / source
        )
        for source in ("in-process", "auto", "service")
    )
    local.execute(plain, data_dir=None, stop=never)
    run_pack(left_open, left_open.packs[0], open_stream=opener(left_open, SERVICE, None))
    assert measured(left_open) == measured(plain)
    with pytest.raises(SpecError, match=r"stream\.source = 'service': must be in-process: PictureStream has its own"):
        run_pack(insisting, insisting.packs[0], open_stream=opener(insisting, SERVICE, None))
    assert not insisting.done


def test_run_on_ray_train_with_a_service(tiny_spec: str, workplace: Path) -> None:
    """The whole way, from the command line; the service goes with the run, and the run counts as the same work."""
    plain = launch.prepare(tiny_spec, data="embedded", register=False, runs_dir=workplace / "plain")
    local.execute(plain, data_dir=None, stop=never)
    assert main(["run", tiny_spec, "stream.source=service", "--data", "embedded", "--no-register"]) == 0
    folder = RunFolder.find("last", workplace / "frisket_runs")
    assert measured(folder) == measured(plain)
    with pytest.raises(ServiceError, match=f"running: (?!.*{folder.run_id})"):
        RayTransport.connect("nothing", patience=0.0)
    found = launch.finished_run(tiny_spec, ["stream.source=in-process"], data="embedded")
    assert found is not None
    assert found.path == folder.path


def test_search_on_ray_tune_with_a_service(workplace: Path) -> None:
    plain = prepare_search(workplace / "plain")
    stream = {**plain.experiment.stream.as_dict(), "source": "service"}
    served = prepare_search(workplace / "served", stream=stream)
    local.execute(plain, data_dir=None, stop=never)
    executors.execute(served, local=False, workers=2, data_dir=None, stop=never)
    assert measured(served) == measured(plain)


def test_lost_service_ends_a_run_with_a_mistake(tiny_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker meets reaches the driver as a `UserError`, which the command line answers with exit code 2."""
    monkeypatch.setattr("frisket.platform.streaming.transport._FIND_SECONDS", 0.1)
    folder = launch.prepare(tiny_spec, data="embedded", register=False)
    assert not attempt(folder, folder.packs[0], None, never, service="lost")
    with pytest.raises(ServiceError, match="service = 'lost': no such service"):
        conclude(folder)


@pytest.mark.parametrize(
    ("workers", "cpus", "nodes", "spans"),
    [
        (2, 1.0, [(2.0, True)], False),
        (3, 1.0, [(2.0, True), (2.0, True)], True),
        (2, 1.0, [(2.0, True), (2.0, True)], False),
        (2, 2.0, [(2.0, True), (2.0, True)], True),
        (2, 1.0, [(1.0, True), (8.0, False)], True),
        (1, 1.0, [(0.0, True), (1.0, True)], False),
    ],
)
def test_auto_is_a_service_where_workers_span_nodes(
    workers: int, cpus: float, nodes: list[tuple[float, bool]], spans: bool
) -> None:
    known = [{"Resources": {"CPU": cpu, "memory": 1.0}, "Alive": alive} for cpu, alive in nodes]
    assert spans_nodes(Shares(workers, {"CPU": cpus}), known) == spans


class Consumer:
    """A process that reads a stream and keeps cursor and what it saw in one file, replaced atomically."""

    def pid(self) -> int:
        return os.getpid()

    def read(self, file: str, recipe: Recipe, seed: int, steps: int) -> None:
        path = Path(file)
        kept = find_json(path) or {"cursor": 0, "digests": []}
        reader = Reader(Service(RayTransport.connect("chaos"), path.stem), recipe, seed, chunk_bytes=20_000)
        while kept["cursor"] < steps:
            kept["digests"].append(pack([reader.read(kept["cursor"])]).digest)
            kept["cursor"] += 1
            if kept["cursor"] % 7 == 0 or kept["cursor"] == steps:
                write_json(path, kept)
            time.sleep(0.002)


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_lose_and_double_nothing(kills: int, ray_cluster: None, tmp_path: Path) -> None:
    """Sources and consumers die by kill -9 at moments spread over the run, in an order drawn from a fixed seed."""
    import ray
    from ray import cloudpickle
    from ray.exceptions import RayActorError

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    consumers, steps = 2, 120 * kills
    recipe = recipe_of("osaka", steps=steps)
    service = RayTransport.start("chaos", sources=2)
    options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": 2}
    remote: Any = ray.remote(Consumer)
    actors = [remote.options(**options).remote() for _ in range(consumers)]
    files = [tmp_path / f"consumer{i}.json" for i in range(consumers)]
    work: dict[int, Any] = {}
    dice, killed, died = random.Random(derive(0, "chaos", kills)), [], {"source": 0, "consumer": 0}

    def begin(i: int) -> None:
        work[i] = actors[i].read.remote(str(files[i]), recipe, i, steps)

    def progress() -> int:
        return sum((find_json(file) or {"cursor": 0})["cursor"] for file in files)

    def revive() -> bool:
        """Start consumers that died again; whether all are done."""
        done = 0
        for i, reference in list(work.items()):
            if ray.wait([reference], timeout=0.05)[0]:
                try:
                    ray.get(reference)
                    done += 1
                except RayActorError:
                    begin(i)
        return done == consumers

    def consumer_pid(i: int) -> int | None:
        try:
            return ray.get(actors[i].pid.remote(), timeout=30)
        except RayActorError:
            return None

    try:
        for i in range(consumers):
            begin(i)
        for k in range(kills):
            wait_for(lambda k=k: not revive() and progress() >= k * consumers * steps // (kills + 1), seconds=300)
            kind, i = dice.choice([("source", 0), ("source", 1), ("consumer", 0), ("consumer", 1)])
            time.sleep(dice.random() * 0.05)
            pid = int(stats_of(service, i)["pid"]) if kind == "source" else None
            while pid is None:  # it may still be coming back from the last time
                revive()
                pid = consumer_pid(i)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            died[kind] += 1
        wait_for(revive, seconds=300)
    finally:
        for actor in actors:
            ray.kill(actor)
        service.stop()
        cloudpickle.unregister_pickle_by_value(module)
    assert len(set(killed)) == kills
    assert min(died.values()) > 0
    for i, file in enumerate(files):
        plain = StreamFeed(in_process(recipe, i))
        assert find_json(file)["digests"] == [pack([plain.item(position)]).digest for position in range(steps)]
