"""The plain experiments behind a specification: derived once, each validated once; and what of it moves numbers."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.envs.kinds import STREAMS
from frisket.errors import SpecError
from frisket.moves import NOTHING, ROUNDING, idle
from frisket.platform.cluster.submission import name_of_work
from frisket.platform.specs import experiment as module
from frisket.platform.specs import section
from frisket.platform.specs.build import datasets
from frisket.platform.specs.experiment import Experiment, from_dict, load_spec
from frisket.platform.specs.kinds import PROTOCOLS
from frisket.platform.specs.search import Search
from frisket.platform.specs.typed import typed

BASE: dict[str, Any] = {
    "name": "tiny/search",
    "stream": {"kind": "permutations", "tasks": 2, "samples": 40},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "la-maml", "glances": 1},
    "protocol": {"kind": "retained-accuracy"},
}
THOUSAND = {"learner.alpha_init": [i / 100 for i in range(1, 41)], "learner.alpha_lr": [i / 100 for i in range(1, 26)]}


def test_a_search_of_a_thousand_points_is_validated_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[type[Any]] = []

    def counting(cls: type[Any], raw: Any, prefix: str) -> Any:
        read.append(cls)
        return typed(cls, raw, prefix)

    for reader in (module, section):
        monkeypatch.setattr(reader, "typed", counting)
    search = from_dict(BASE | {"tune": {"axes": THOUSAND}})
    assert len(search.plans) == 1000
    learner = LEARNERS["la-maml"].config
    assert read.count(learner) == 1001  # the base's, and every point's
    once = [STREAMS["permutations"].config, NETWORKS["mlp"].config, PROTOCOLS["retained-accuracy"].config, Search]
    assert [read.count(cls) for cls in once] == [1, 1, 1, 1]
    assert len(read) == 1001 + len(once) + 1  # and the fields that belong to no section

    assert len(search.packs()) == 1000 * search.seeds
    assert len(datasets(search)) == 2
    assert search.variant(None) is search.headline
    search.work()
    assert len(read) == 1006


@pytest.mark.parametrize(
    "name", ["demo", "replay/rotations-sparse-grid", "pruning/cifar10-one-shot", "osaka/p98-sparse-cmaml"]
)
def test_a_plan_is_what_its_own_specification_says(name: str) -> None:
    experiment = load_spec(name)
    assert list(experiment.plans) == (list(experiment.variants) or [None])
    assert experiment.headline is next(iter(experiment.plans.values()))
    for label, plan in experiment.plans.items():
        assert plan is experiment.variant(label)
        assert (plan.variants, plan.tune) == ({}, None)
        assert plan == from_dict(plan.as_dict())
        assert plan.plans == {None: plan}


def test_untouched_parts_are_the_base_s_own() -> None:
    pretrain = {"domain": "digits", "epochs": 2}
    variants = {"same": {}, "other": {"learner": {"kind": "online-adam"}, "pretrain": pretrain}}
    made = from_dict({"name": "two", "learner": {"kind": "sparse-cmaml"}, "pack": 1, "variants": variants})
    other = made.variant("other")
    assert other.stream is made.stream
    assert (other.learner.kind, made.learner.kind) == ("online-adam", "sparse-cmaml")
    assert (made.pretrain, made.variant("same").pretrain) == (None, None)
    assert other.pretrain is not None
    assert other.pretrain.epochs == 2


def test_the_norm_is_that_of_the_networks_that_answer() -> None:
    """Of every variant; a network without batch norm has none."""
    own = {"learner": {"kind": "sparse-cmaml"}, "pack": 1, "name": "norm"}
    inductive = {"network": {"norm": "inductive"}}
    assert from_dict(own).norm == "transductive"
    assert from_dict(own | {"variants": {"a": inductive, "b": inductive}}).norm == "inductive"
    assert from_dict(own | {"variants": {"a": {}, "b": inductive}}).norm == "transductive and inductive"
    assert from_dict(BASE).norm is None


def test_a_mistake_says_which_variant_makes_it() -> None:
    variants = {"good": {}, "bad": {"learner": {"glances": 0}}}
    with pytest.raises(SpecError, match=r"learner\.glances = 0.*at least 1 \(variant bad\)"):
        from_dict(BASE | {"variants": variants})


def test_what_was_derived_is_neither_compared_nor_pickled() -> None:
    search = from_dict(BASE | {"tune": {"axes": THOUSAND}})
    assert "plans" in vars(search)
    content = pickle.dumps(search)
    assert len(content) < 150_000  # with its thousand plans it would be more than 200,000
    again = pickle.loads(content)
    assert again == search
    assert again.plans == search.plans
    assert "plans" not in repr(search)
    assert dataclasses.replace(search, variants={}, tune=None).plans.keys() == {None}


def test_a_plain_experiment_has_no_variant_to_ask_for() -> None:
    with pytest.raises(SpecError, match="leave it out: this experiment has no variants"):
        from_dict(BASE).variant("a")


def changed(*changes: str, spec: str = "replay/rotations-la-maml") -> Experiment:
    return load_spec(spec, changes)


@pytest.mark.parametrize(
    ("change", "equal", "exactly"),
    [
        ("log_every=7", True, True),
        ("checkpoint_seconds=5", True, True),
        ("stream.source=service", True, True),
        ("learner.compile=false", True, False),
        ("threads=2", True, False),
        ("device=cpu", True, False),
        ("pack=2", True, False),
        ("learner.glances=2", False, False),
        ("stream.samples=70", False, False),
        ("seeds=2", False, False),
    ],
)
def test_fields_that_move_no_number_are_no_part_of_the_work(change: str, equal: bool, exactly: bool) -> None:
    base, other = changed(), changed(change)
    assert base != other
    assert (base.work() == other.work()) is equal
    assert (base.work(exact=True) == other.work(exact=True)) is exactly
    assert (name_of_work(base) == name_of_work(other)) is exactly


def test_a_variant_s_own_fields_are_judged_alike() -> None:
    quick, slow, other = (
        from_dict(BASE | {"variants": {"a": {"learner": {"compile": compiled, "glances": glances}}}})
        for compiled, glances in ((True, 1), (False, 1), (False, 2))
    )
    assert quick.work() == slow.work() != other.work()
    assert quick.work(exact=True) != slow.work(exact=True)


def test_a_race_is_decided_where_points_are_journalled() -> None:
    tune = {"axes": {"learner.glances": [1, 2]}, "search": "asha"}
    often, rarely = (from_dict(BASE | {"seeds": 1, "tune": tune, "log_every": n}) for n in (2, 4))
    assert often.work() != rarely.work()


def test_readers_of_pictures_and_workers_of_robots_move_nothing_and_share_a_pack() -> None:
    assert idle(STREAMS["pictures"].config, rounding=False) == {"readers"}
    assert idle(STREAMS["robots"].config, rounding=False) == {"rollout_workers"}
    base = BASE | {"seeds": 1, "pack": 2, "learner": {"kind": "la-maml"}}
    sources = from_dict(base | {"variants": {"a": {}, "b": {"stream": {"source": "in-process"}}}})
    assert [len(pack) for pack in sources.packs()] == [2]
    compiled = from_dict(base | {"variants": {"a": {}, "b": {"learner": {"compile": False}}}})
    assert [len(pack) for pack in compiled.packs()] == [1, 1]


@pytest.mark.parametrize(
    "kinds", [LEARNERS, NETWORKS, STREAMS, PROTOCOLS], ids=["learner", "network", "stream", "protocol"]
)
def test_what_fields_say_of_themselves_is_known(kinds: Any) -> None:
    said = {f.metadata["moves"] for kind in kinds.values() for f in dataclasses.fields(kind.config) if f.metadata}
    assert said <= {NOTHING["moves"], ROUNDING["moves"]}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("learner.inner_steps=8", ["own", "other"]),
        ("learner.kind=bgd", ["other"]),
        ("network.channels=8", []),
        ("seeds=3", []),
        ("stream.steps=3", ["shorter"]),
    ],
)
def test_variants_that_an_override_leaves_as_they_are_are_named(change: str, left: list[str]) -> None:
    variants = {
        "plain": {},
        "own": {"learner": {"inner_steps": 4}},
        "other": {"learner": {"kind": "online-adam"}},
        "shorter": {"stream": {"steps": 5}},
    }
    raw = {"name": "x", "learner": {"kind": "cmaml"}, "variants": variants}
    assert from_dict(raw).unreached(change) == left
