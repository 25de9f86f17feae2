"""Reading through a service, without Ray: the same bits as in-process, whatever is lost; bounded prefetch."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from serving import CONFIGS, LogRecipe, WalkFeed, WalkRecipe, in_process, recipe_of, same

from frisket.envs.data import Pictures, resolve
from frisket.envs.episode_stream import SPLITS, EpisodeStream
from frisket.envs.kinds import STREAMS
from frisket.envs.robots.stream import RobotStream
from frisket.envs.streams.osaka import OsakaStream
from frisket.envs.streams.pixel_tasks import PixelTaskStream
from frisket.envs.task_stream import TaskStream
from frisket.errors import DataError, ServiceError, SourceLost, SpecError
from frisket.platform.streaming import source as source_module
from frisket.platform.streaming.chunk import Chunk, pack
from frisket.platform.streaming.consumer import Patience, Service
from frisket.platform.streaming.metrics import METRICS
from frisket.platform.streaming.reader import Reader
from frisket.platform.streaming.streams import StreamFeed, StreamRecipe, open_stream
from frisket.platform.streaming.transport import LocalTransport
from frisket.types import Batch


class Recorded(LocalTransport):
    """Keeps every request. Attributes: asked: ``(source, method, cursor, count)``."""

    def __init__(self, sources: int = 1) -> None:
        super().__init__(sources)
        self.asked: list[tuple[int, str, Any, Any]] = []
        self.taken = 0

    def ask(self, source: int, method: str, *arguments: Any) -> Any:
        self.asked.append((source, method, *arguments[-2:]))
        return super().ask(source, method, *arguments)

    def take(self, ticket: Any, timeout: float) -> Any:
        self.taken += 1
        return super().take(ticket, timeout)


class Unreliable(LocalTransport):
    """Loses, by a seed, requests when they are made or taken, and damages chunks."""

    def __init__(self, sources: int, seed: int, share: float) -> None:
        super().__init__(sources)
        self.dice, self.share, self.lost = random.Random(seed), share, 0

    def ask(self, source: int, method: str, *arguments: Any) -> Any:
        self._perhaps_lose()
        return super().ask(source, method, *arguments)

    def take(self, ticket: Any, timeout: float) -> Any:
        self._perhaps_lose()
        answer = super().take(ticket, timeout)
        if isinstance(answer, Chunk) and self.dice.random() < self.share:
            self.lost += 1
            return answer._replace(structure=answer.structure + " ")
        return answer

    def _perhaps_lose(self) -> None:
        if self.dice.random() < self.share:
            self.lost += 1
            raise SourceLost("gone")


def digests(reader: Reader, positions: range) -> list[str]:
    return [pack([reader.read(position)]).digest for position in positions]


def walk_digests(seed: int, positions: range) -> list[str]:
    feed = WalkFeed(seed)
    return [pack([feed.item(position)]).digest for position in positions]


@pytest.mark.parametrize("name", CONFIGS)
def test_served_stream_is_the_stream(name: str) -> None:
    recipe = recipe_of(name)
    plain, served = in_process(recipe, 4), open_stream(Service(LocalTransport(2), "me"), recipe, 4)
    assert isinstance(served, TaskStream) == isinstance(plain, TaskStream)
    for field in ("steps", "shape", "ways", "domains", "labelled", "names"):
        assert getattr(served, field) == getattr(plain, field)
    assert served.provenance() == plain.provenance()
    for position in range(plain.steps):
        a, b = plain.batch(position), served.batch(position)
        assert same(a.x, b.x)
        assert same(a.y, b.y)
        assert (a.position, a.task, a.epoch, a.support) == (b.position, b.task, b.epoch, b.support)
        assert (a.end is None) == (b.end is None)
    assert isinstance(served, EpisodeStream) == isinstance(plain, EpisodeStream)
    if isinstance(plain, EpisodeStream) and isinstance(served, EpisodeStream):
        assert (served.shots, served.queries) == (plain.shots, plain.queries)
        for split, number in itertools.product(SPLITS, range(3)):
            a, b = plain.episode(split, number), served.episode(split, number)
            assert same(a.x, b.x)
            assert same(a.y, b.y)
            assert (a.position, a.task, a.support) == (b.position, b.task, b.support)
            assert same(plain.numbers(a.x), served.numbers(b.x))
    if isinstance(plain, TaskStream) and isinstance(served, TaskStream):
        assert (served.tasks, served.own) == (plain.tasks, plain.own)
        for task in range(plain.tasks):
            for verb in ("test_set", "validation_set"):
                for _ in range(2):  # fetched, and kept
                    assert all(
                        same(a, b) for a, b in zip(getattr(plain, verb)(task), getattr(served, verb)(task), strict=True)
                    )


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.process)])
def test_robot_tasks_are_acted_in_where_they_are_read(workers: int) -> None:
    recipe = recipe_of("robots")
    plain = in_process(recipe, 4)
    recipe = dataclasses.replace(recipe, stream={**recipe.stream, "rollout_workers": workers})
    served = open_stream(Service(LocalTransport(2), "me"), recipe, 4)
    assert isinstance(plain, RobotStream)
    assert isinstance(served, RobotStream)
    with served.at_work():
        _need_same_worlds(plain, served)


def _need_same_worlds(plain: RobotStream, served: RobotStream) -> None:
    for position in range(plain.steps):
        worlds = [one.batch(position).world for one in (plain, served)]
        ends = [one.batch(position).end for one in (plain, served)]
        assert (worlds[0] is None) == (worlds[1] is None) == (ends[0] is not None)
        trials = [[] if end is None else list(end.trials()) for end in ends]
        for one, other in [(worlds[0], worlds[1]), *zip(*trials, strict=True)]:
            if one is not None and other is not None:
                assert same(one.reset(), other.reset())
                actions = torch.full((one.environments, 2), 0.5)
                assert all(same(*pair) for pair in zip(one.step(actions), other.step(actions), strict=True))


def test_every_kind_of_stream_is_tried() -> None:
    """But pictures that are too large to be held at once: their test set comes piece by piece (next test)."""
    assert {kind for kind, _ in CONFIGS.values()} == set(STREAMS) - {"pictures"}


def test_stream_that_does_something_of_its_own_is_refused() -> None:
    class Odd(OsakaStream):
        def batch(self, position: int) -> Batch:
            return super().batch(position)

    class Uneven(PixelTaskStream):
        def ends_task(self, position: int) -> bool:
            return position == 7

    def feed(name: str, kind: type[OsakaStream] | type[PixelTaskStream]) -> StreamFeed:
        recipe = recipe_of(name)
        section = recipe.section
        return StreamFeed(kind(section.config, resolve(section.row.datasets(section.config), "embedded"), 0))

    assert feed("osaka", Odd).length() == 60
    with pytest.raises(SpecError, match=r"must be in-process: Uneven has its own ends_task"):
        feed("rotations", Uneven)
    entry = STREAMS["pictures"]
    config = entry.config(batch=4)
    pictures = entry.build(config, resolve(entry.datasets(config), "embedded", kind=Pictures), 0)
    with pytest.raises(SpecError, match=r"must be in-process: PictureStream has its own test_batches"):
        StreamFeed(pictures)


@pytest.mark.parametrize("name", ["osaka", "osaka-raw", "rotations", "permutations", "split-classes"])
def test_pixels_travel_as_bytes(name: str) -> None:
    recipe = recipe_of(name)
    batch = in_process(recipe, 0).batch(0)
    chunk = LocalTransport().shelves[0].read_chunk(recipe, 0, 0, 8)
    assert [column.coded.data.nbytes for column in chunk.columns] == [8 * batch.x.numel(), 8 * batch.y.nbytes]


def test_ended_task_is_gone_through_again_by_a_reader_of_its_own() -> None:
    recipe, transport = recipe_of("permutations"), Recorded()
    plain, served = in_process(recipe, 0), open_stream(Service(transport, "me"), recipe, 0)
    for position in range(plain.steps):
        end, expected = served.batch(position).end, plain.batch(position).end
        if end is not None and expected is not None:
            assert end.steps == expected.steps
            assert all(same(end.batch(i).x, expected.batch(i).x) for i in range(end.steps))
            assert same(end.validation()[0], expected.validation()[0])
    cursors = [cursor for _, method, cursor, _ in transport.asked if method == "read_chunk"]
    assert max(cursors.count(cursor) for cursor in cursors) == 2, "neither reader makes the other begin anew"


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_doubled_on_an_unreliable_way(seed: int) -> None:
    transport = Unreliable(sources=3, seed=seed, share=0.2)
    reader = Reader(Service(transport, f"me {seed}"), WalkRecipe(), seed, chunk_bytes=2000)
    assert digests(reader, range(150)) == walk_digests(seed, range(150))
    assert transport.lost >= 3


def test_any_order_of_positions() -> None:
    reader = Reader(Service(LocalTransport(2), "me"), WalkRecipe(), 1, chunk_bytes=1500)
    feed, dice = WalkFeed(1), random.Random(0)
    for _ in range(100):
        position = dice.randrange(300)
        assert pack([reader.read(position)]).digest == pack([feed.item(position)]).digest


@pytest.mark.parametrize("sources", [1, 2, 5])
def test_prefetch_is_bounded(sources: int) -> None:
    """One chunk is consumed; at most two for every source, and 4 in all, are under way, of the bytes asked for."""
    transport = Recorded(sources)
    reader = Reader(Service(transport, "me"), WalkRecipe(), 0, chunk_bytes=4000)
    for position in range(400):
        reader.read(position)
        under_way = len(transport.asked) - transport.taken
        assert under_way == min(2 * sources, 4)
    sizes = [c.size for s in transport.shelves for c in [s.read_chunk(WalkRecipe(), 0, 300, transport.asked[-1][3])]]
    assert max(sizes) < 2 * 4000


def test_every_source_gets_an_equal_share() -> None:
    transport = Recorded(3)
    for consumer in range(8):
        reader = Reader(Service(transport, f"consumer {consumer}"), WalkRecipe(), consumer, chunk_bytes=1000)
        digests(reader, range(60))
    shares = [sum(asked[0] == source for asked in transport.asked) for source in range(3)]
    assert max(shares) - min(shares) <= 8
    firsts = {Service(transport, f"consumer {i}").ask("facts", WalkRecipe(), 0).source for i in range(30)}
    assert firsts == {0, 1, 2}


def test_lost_source_is_replaced_by_another_at_once() -> None:
    class HalfDead(Recorded):
        def take(self, ticket: Any, timeout: float) -> Any:
            if ticket[0] == 0:
                raise SourceLost("dead")
            return super().take(ticket, timeout)

    service = Service(HalfDead(2), "me", Patience(lost=0.0))
    assert digests(Reader(service, WalkRecipe(), 0), range(40)) == walk_digests(0, range(40))
    assert service.numbers.totals["frisket_consumer_retries"] >= 1


def test_service_that_stays_lost_is_a_mistake_with_a_way_out() -> None:
    service = Service(Unreliable(2, 0, share=1.0), "me", Patience(lost=0.3))
    with pytest.raises(
        ServiceError, match=r"local.*none of its 2 sources has answered.*gone.*stream.source=in-process"
    ):
        Reader(service, WalkRecipe(), 0).read(0)


def test_mistake_seen_by_a_source_reaches_the_consumer() -> None:
    with pytest.raises(DataError, match="no place to walk"):
        Reader(Service(LocalTransport(), "me"), WalkRecipe("nowhere"), 0).read(0)
    unknown = StreamRecipe(stream=recipe_of("osaka").stream, data="real", data_dir="/nowhere/at/all")
    with pytest.raises(DataError, match="not a folder"):
        open_stream(Service(LocalTransport(), "me"), unknown, 0)


def test_feed_that_grows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\n")
    reader = Reader(Service(LocalTransport(2), "me"), LogRecipe(str(log)), 0)
    assert [reader.read(i)["line"] for i in range(2)] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(IndexError, match="no item 2"):
            reader.read(2)
    log.write_text("".join(f"{c}\n" for c in "abcdefghijkl"))
    assert "".join(reader.read(i)["line"] for i in range(12)) == "abcdefghijkl"


def test_stream_ends() -> None:
    recipe = recipe_of("osaka")
    served = open_stream(Service(LocalTransport(), "me"), recipe, 0)
    assert served.batch(served.steps - 1).position == served.steps - 1
    with pytest.raises(IndexError):
        served.batch(served.steps)


def test_source_makes_no_chunk_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_MOST_BYTES", 3000)
    shelf = LocalTransport().shelves[0]
    large = recipe_of("rotations")
    assert shelf.read_chunk(large, 0, 0, 10).length == 1, "one item at least"
    reader = Reader(Service(LocalTransport(2), "me"), WalkRecipe(), 0, chunk_bytes=100_000)
    assert digests(reader, range(600)) == walk_digests(0, range(600))


def test_sources_forget_nothing_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds are opened anew when too many are open."""
    monkeypatch.setattr(source_module, "_OPEN", 2)
    shelf = LocalTransport().shelves[0]
    first = [shelf.read_chunk(WalkRecipe(), seed, 3, 4).digest for seed in range(5)]
    assert [shelf.read_chunk(WalkRecipe(), seed, 3, 4).digest for seed in range(5)] == first
    assert len(set(first)) == 5


def test_sets_are_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Recorded()
    served = open_stream(Service(transport, "me"), recipe_of("rotations"), 0)
    assert isinstance(served, TaskStream)
    for _ in range(3):
        served.test_set(1)
    assert [asked[1] for asked in transport.asked].count("read_extra") == 1
    monkeypatch.setattr("frisket.platform.streaming.streams._SETS_BYTES", 0)
    first = [served.test_set(2)[0] for _ in range(2)]
    assert same(*first)
    assert [asked[1] for asked in transport.asked].count("read_extra") == 3, "what does not fit is fetched again"


def test_what_was_counted() -> None:
    transport = LocalTransport(2)
    service = Service(transport, "me")
    reader = Reader(service, WalkRecipe(), 0, chunk_bytes=3000)
    digests(reader, range(100))
    totals = service.numbers.totals
    assert set(totals) <= set(METRICS)
    assert totals["frisket_consumer_items"] >= 100
    assert totals["frisket_consumer_ahead"] == 4
    assert 0 < totals["frisket_consumer_lag_seconds"] < 60
    made = [shelf.numbers.totals for shelf in transport.shelves]
    assert sum(one["frisket_source_chunks"] for one in made) == totals["frisket_consumer_chunks"]
    assert sum(one["frisket_source_bytes"] for one in made) == totals["frisket_consumer_bytes"]
    assert all(one["frisket_source_busy_seconds"] > 0 for one in made)


def test_extras_that_are_not_there() -> None:
    with pytest.raises(KeyError, match="no test 0"):
        LocalTransport().shelves[0].read_extra(recipe_of("osaka"), 0, "test", 0)
