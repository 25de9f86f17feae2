"""Few-shot runs over several domains: each has its accuracy, and what counts is their mean (gems spec, section 5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import gone_on
from torch import Tensor

import frisket
from frisket.algos.learner import Capabilities, Episodic
from frisket.algos.parts.tree import equal_states
from frisket.envs.episode_stream import EpisodeStream
from frisket.errors import SpecError
from frisket.platform.cli.main import main
from frisket.platform.protocols.few_shot_accuracy import FewShotAccuracy, FewShotAccuracyConfig, summarised
from frisket.platform.protocols.protocol import shown
from frisket.platform.reports.few_shot import FEW_SHOT, read_points
from frisket.platform.run.drive import Episodes, seen
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import Inputs, build_learner, build_stream, load_data
from frisket.platform.specs.experiment import load_spec
from frisket.platform.verbs.run import prepare
from frisket.types import Batch, Metrics, State

DOMAINS = ("glyphs", "digits", "patches")
TINY: dict[str, Any] = {
    "name": "mixed", "seeds": 1, "log_every": 2, "checkpoint_seconds": 1000.0,
    "stream": {"kind": "mixed-episodes", "domains": dict.fromkeys(DOMAINS), "ways": 2, "queries": 2, "steps": 24},
    "network": {"kind": "conv4", "channels": 2},
    "learner": {"kind": "multi-maml", "inner_steps": 1, "meta_batch": 6, "alpha": 0.3},
    "protocol": {"kind": "few-shot-accuracy", "every": 2, "validation_episodes": 4, "test_episodes": 5},
}  # fmt: skip
MAML = {"kind": "maml", "inner_steps": 1, "meta_batch": 4, "alpha": 0.3}  # 4 is no multiple of 3 domains


def run(parent: Path, stop_after: int = 0, **changes: Any) -> RunFolder:
    return gone_on({**TINY, **changes}, parent, stop_after)


def built(spec: dict[str, Any]) -> tuple[EpisodeStream, Episodic]:
    experiment = load_spec(spec)
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    assert isinstance(stream, EpisodeStream)
    assert isinstance(learner, Episodic)
    return stream, learner


def by_hand(stream: EpisodeStream, learner: Episodic, state: State, count: int) -> dict[str, list[float]]:
    """Of every domain the accuracies on its first ``count`` test episodes."""
    right: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    for number in range(3 * count):
        episode = stream.episode("test", number)
        assert episode.task is not None
        support, query = episode.sides()
        x = stream.numbers(support.x)
        adapted = learner.adapted(state, Batch(x, support.y, number, episode.task))
        logits = learner.predict(adapted, stream.numbers(query.x), episode.task)
        assert logits is not None
        right[episode.task.domain].append(float((logits.argmax(-1) == query.y).double().mean()))
    return right


@pytest.mark.parametrize("learner", [TINY["learner"], MAML], ids=["multi-maml", "maml"])
def test_each_domain_has_its_accuracy_and_the_best_point_is_that_of_their_mean(
    learner: dict[str, Any], tmp_path: Path
) -> None:
    folder = run(tmp_path, learner=learner)
    (result,) = folder.results()
    metrics, (files,) = result["metrics"], folder.replicas()
    right = by_hand(*built({**TINY, "learner": learner}), files.state, 5)
    for domain, found in right.items():
        assert metrics[f"accuracy/{domain}"] == pytest.approx(sum(found) / 5)
        width = 1.96 * float(torch.tensor(found).std()) / math.sqrt(5)
        assert metrics[f"accuracy/{domain}/interval"] == pytest.approx(width, rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(sum(map(sum, right.values())) / 15)
    halves = [metrics[f"accuracy/{domain}/interval"] for domain in DOMAINS]
    assert metrics["accuracy/interval"] == pytest.approx(math.sqrt(sum(one**2 for one in halves)) / 3)

    lines = [json.loads(line) for line in files.journal.read_text().splitlines()]
    judged = [line["step"] for line in lines if "validation" in line.get("step", {})]
    for one in judged:
        assert one["validation"] == pytest.approx(sum(one[f"validation/{domain}"] for domain in DOMAINS) / 3)
        assert all(one[f"validation/{domain}"] * 8 % 1 == 0 for domain in DOMAINS)  # 2 episodes of 4 queries: 4 / 3, up
    assert metrics["validation/accuracy"] == max(one["validation"] for one in judged)
    last = [line["points"] for line in lines if "points" in line][-1]
    names = {
        f"{name}{part}" for name in ("accuracy", "validation/accuracy") for part in ("", *(f"/{d}" for d in DOMAINS))
    }
    assert names <= last.keys()

    points = read_points(files)
    assert points is not None
    assert points.domains.keys() == set(DOMAINS)
    for domain, (validation, test) in points.domains.items():
        assert validation.tolist() == [one[f"validation/{domain}"] for one in judged]
        assert [t == t for t in test.tolist()] == [f"test/{domain}" in one for one in judged]
    FEW_SHOT.make(folder, tmp_path)
    assert (tmp_path / "accuracy.png").stat().st_size > 1000


def test_a_run_over_several_domains_is_the_same_wherever_it_was_stopped(tmp_path: Path) -> None:
    whole, stopped = run(tmp_path / "a"), run(tmp_path / "b", stop_after=3)
    assert equal_states(whole.replicas()[0].state, stopped.replicas()[0].state)
    assert whole.results()[0]["metrics"] == stopped.results()[0]["metrics"]


def test_a_members_weights_are_those_of_maml_on_its_data_set_alone() -> None:
    """To the bit after every meta-batch, through stream and drive (gems spec, section 8, fact 10)."""

    def walked(spec: dict[str, Any]) -> list[State]:
        stream, learner = built(spec)
        protocol = FewShotAccuracy(FewShotAccuracyConfig(every=100, validation_episodes=1, test_episodes=1), stream)
        drive = Episodes(learner=learner, protocol=protocol, stream=stream, device=torch.device("cpu"))
        states, scores = [learner.init(7)], protocol.init()
        for position in range(3):
            states.append(drive.step(position, states[-1], [scores]).state)
        return states

    together = walked(TINY)
    for i, domain in enumerate(DOMAINS):
        stream = {"kind": "episodes", "dataset": domain, "ways": 2, "queries": 2, "steps": 8}
        alone = walked({**TINY, "stream": stream, "learner": {**MAML, "meta_batch": 2}})
        for mine, own in zip(together, alone, strict=True):
            assert equal_states(
                {k: mine[k][str(i)] for k in ("theta", "outer")}, {k: own[k] for k in ("theta", "outer")}
            )


def test_a_task_is_shown_to_those_who_need_it_alone() -> None:
    stream, learner = built(TINY)
    _, plain = built({**TINY, "learner": MAML})
    episode = seen(stream, stream.batch(0), torch.device("cpu"))
    assert shown(learner, episode).task == episode.task is not None
    assert shown(plain, episode).task is None


class Looking(Episodic):
    """Knows what it was shown."""

    capabilities, meta_batch = Capabilities(meta_learns=True), 2

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return {"step": torch.zeros(())}

    def gradients(self, state: State, episodes: Any) -> State:
        self.tasks += [one.task for one in episodes]
        return {}

    def apply(self, state: State, gradients: State) -> tuple[State, Metrics]:
        return state, {}

    def adapted(self, state: State, support: Batch) -> State:
        self.tasks.append(support.task)
        return state

    def start(self, state: State) -> State:
        return {}

    def loss(self, state: State, batch: Batch) -> float:
        return 0.0

    def predict(self, state: State, x: Tensor, task: Any = None) -> Tensor:
        self.tasks.append(task)
        return torch.zeros(len(x), 2)

    def masks(self, state: State) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("needs", [False, True])
def test_a_drive_and_its_protocol_hide_the_task(needs: bool) -> None:
    (stream, _), learner = built(TINY), Looking()
    learner.capabilities = Capabilities(meta_learns=True, needs_task=needs)
    protocol = FewShotAccuracy(FewShotAccuracyConfig(every=1, validation_episodes=3, test_episodes=1), stream)
    drive = Episodes(learner=learner, protocol=protocol, stream=stream, device=torch.device("cpu"))
    drive.step(0, learner.init(0), [protocol.init()])
    assert len(learner.tasks) == 2 + 2 * 3 + 2 * 3
    assert {task is not None for task in learner.tasks} == {needs}


def test_a_mixture_is_evaluated_by_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path)
    metrics = folder.results()[0]["metrics"]
    found = frisket.evaluate(folder.path, episodes=5, data="embedded")
    (summary,), (result,) = found["summary"], found["results"]
    assert found["domains"] == list(DOMAINS)
    for name in ("accuracy", *(f"accuracy/{domain}" for domain in DOMAINS)):
        assert summary[name] == result[name] == metrics[name]
        assert summary.get(f"{name}/interval", summary["interval"]) == metrics[f"{name}/interval"]
    train = frisket.evaluate(folder.path, episodes=3, split="train", data="embedded")["summary"][0]
    assert train["accuracy"] == pytest.approx(sum(train[f"accuracy/{domain}"] for domain in DOMAINS) / 3)
    assert main(["evaluate", str(folder.path), "--episodes", "5", "--data", "embedded"]) == 0
    out = capsys.readouterr().out
    assert all(f"{domain} " in out for domain in DOMAINS)
    assert f"{metrics['accuracy/patches']:.3f}" in out


def test_a_domain_that_no_member_knows(tmp_path: Path) -> None:
    folder = run(tmp_path, stream={**TINY["stream"], "domains": {"glyphs": 0.5, "digits": 0.5}, "steps": 12})
    other = {**TINY, "stream": {"kind": "episodes", "dataset": "patches", "ways": 2, "queries": 2, "steps": 6}}
    found = frisket.evaluate(folder.path, other, episodes=4, data="embedded")
    assert (found["domains"], len(found["summary"])) == (["patches"], 1)
    assert not any(name.startswith("accuracy/") for name in found["summary"][0])
    with pytest.raises(SpecError, match="must be one that was learned from, glyphs, digits"):
        frisket.evaluate(folder.path, other, ["learner.unknown=error"], episodes=4, data="embedded")


def test_the_mean_over_domains_has_the_interval_of_a_mean() -> None:
    found = torch.tensor([0.0, 0.5, 1.0, 0.5] * 50, dtype=torch.float64)
    said = summarised(found, ("a", "b"))
    assert (said["accuracy/a"], said["accuracy/b"], said["accuracy"]) == (0.5, 0.5, 0.5)
    assert said["accuracy/b/interval"] == 0
    assert said["accuracy/interval"] == pytest.approx(said["accuracy/a/interval"] / 2)
    assert summarised(found, ("a",)).keys() == {"accuracy", "accuracy/interval"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stream": {"kind": "rotations"}, "protocol": {"kind": "online-accuracy"}}, "must be given episodes"),
        ({"learner": {"kind": "er"}}, "learns from episodes"),
        ({"learner": {**MAML, "meta_batch": 5}}, "a multiple of meta_batch = 5"),
        ({"stream": {**TINY["stream"], "ways": 3}}, "at most 2, the validation classes of digits"),
    ],
)
def test_what_does_not_suit_is_refused_before_the_run(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says):
        prepare({**TINY, **changes}, data="embedded", runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())
