"""What the words of a specification build: data sets' names, streams, networks, learners, and whether they suit each
other and have room in memory. Knows neither Ray nor MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from frisket.algos.learner import Episodic, Learner
from frisket.algos.networks.network import Network
from frisket.envs.data import SOURCES, DataMode, Pictures, resolve
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.robots.stream import RobotStream
from frisket.envs.stream import Stream
from frisket.envs.task_stream import TaskStream
from frisket.errors import DataError, SpecError, UserError, require
from frisket.heap import machine_memory
from frisket.platform.protocols.protocol import Apart, Protocol
from frisket.platform.specs.experiment import Experiment
from frisket.tune_configs.real_data import RealData, real_data

_COPIES = 2  # the weights and their gradients: the least that learning takes
_SMALL = 2_000
"""Below it in all its numbers a network's size is not asked for: asking takes seconds, and such a one fits."""


def datasets(experiment: Experiment) -> tuple[str, ...]:
    """Names of the data sets the experiment's stream needs, over all variants."""
    streams = [plan.stream for plan in experiment.plans.values()]
    return tuple(dict.fromkeys(n for s in streams for n in s.row.datasets(s.config)))


def load_data(experiment: Experiment, mode: DataMode, data_dir: str | None = None) -> dict[str, Pictures]:
    """The data sets of `datasets` by those names, the experiment's own among them; `frisket.envs.data.resolve` says
    more.

    Raises:
        DataError: one of them cannot be had.
    """
    own = {**experiment.kinds.own_data, **(experiment.data or {})}
    return resolve(datasets(experiment), mode, data_dir, kind=Pictures, own=own)


def mode_of(data: Mapping[str, Pictures]) -> Literal["real", "embedded"]:
    """Which mode gives these data: ``embedded`` where all of them are. Where there are none, nothing stands in for
    anything."""
    return "embedded" if data and all(one.provenance.kind == "embedded" for one in data.values()) else "real"


def provenance_of(data: Mapping[str, Pictures]) -> dict[str, Any]:
    """Provenance by the data set's own name, which is the name its metrics carry."""
    return {one.name: one.provenance.as_dict() for one in data.values()}


def build_stream(experiment: Experiment, data: Mapping[str, Pictures], seed: int) -> Stream:
    """The stream of one seed.

    Raises:
        SpecError: a data set is too large for memory, and the stream needs it there.
    """
    row, config = experiment.stream.row, experiment.stream.config
    for name in row.datasets(config):
        fix = "lies in folders and is read picture by picture; stream.kind=pictures does that, and stream.kind=episodes"
        if not isinstance(data[name], row.takes):
            raise SpecError("dataset", name, fix)
    return row.build(config, data, seed)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a network is to take and to tell apart.

    Attributes:
        shape: (C, H, W) of one input.
        ways: number of labels.
        own: size of the blocks of labels that are learned and judged among themselves; None for one head over all.
        names: name of each label, empty where labels have none that lasts.
        domains: what episodes are of; empty where the inputs are of no episodes.
        actions: A, numbers of an action, of which a network is to give mean and deviation; 0 where nobody acts.
    """

    shape: tuple[int, int, int]
    ways: int
    own: int | None = None
    names: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    actions: int = 0

    @classmethod
    def of(cls, stream: Stream) -> Inputs:
        """Those of ``stream``."""
        own = stream.own if isinstance(stream, TaskStream) else None
        domains = stream.domains if isinstance(stream, EpisodeStream) else ()
        actions = stream.actions if isinstance(stream, RobotStream) else 0
        return cls(
            shape=stream.shape, ways=stream.ways, own=own, names=stream.names, domains=domains, actions=actions
        )  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Inputs:
        """The inverse of `as_dict`."""
        names, domains = (tuple(raw.get(name, ())) for name in ("names", "domains"))
        return cls(
            shape=tuple(raw["shape"]), ways=raw["ways"], own=raw.get("own"), names=names, domains=domains,
            actions=raw.get("actions", 0),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        named = {name: list(said) for name, said in (("names", self.names), ("domains", self.domains)) if said}
        acting = {"actions": self.actions} if self.actions else {}
        return {"shape": list(self.shape), "ways": self.ways, "own": self.own, **named, **acting}


def build_network(experiment: Experiment, inputs: Inputs) -> Network:
    """The network for ``inputs``; of who acts, the actor (`frisket.algos.parts.acting`)."""
    channels, size, _ = inputs.shape
    section = experiment.network
    ways, own = (2 * inputs.actions, None) if inputs.actions else (inputs.ways, inputs.own)
    return section.row.build(section.config, in_channels=channels, size=size, ways=ways, own=own)


def build_learner(experiment: Experiment, inputs: Inputs) -> Learner:
    """The learner, over a network for ``inputs``."""
    network = build_network(experiment, inputs)
    learner = experiment.learner.row.build(experiment.learner.config, network)
    if isinstance(learner, Episodic):
        learner = learner.over(inputs.domains)
    if network.generates and not learner.capabilities.generates:
        raise SpecError("network.kind", experiment.network.kind, f"{experiment.learner.kind} learns labels only")
    if network.running and not learner.capabilities.statistics:
        fix = f"must be transductive: {experiment.learner.kind} moves no running statistics"
        raise SpecError("network.norm", network.norm, fix)
    return learner


def require_suited(learner: Learner, stream: Stream, method: str, kind: str) -> None:
    """Raise `SpecError` unless ``stream``, of that ``kind``, offers what ``learner``, the ``method`` of that name,
    declares to need of tasks and their ends."""
    can = learner.capabilities
    if can.acts != isinstance(stream, RobotStream):
        fix = "one of robot tasks: robots" if can.acts else f"one that learns by acting, as {kind} wants it: sac"
        raise SpecError(*(("stream.kind", kind) if can.acts else ("learner.kind", method)), f"must be {fix}")
    if can.ends_tasks and not isinstance(stream, TaskStream):
        raise SpecError("stream.kind", kind, f"must be a sequence of tasks: {method} acts at their ends")
    if can.ends_tasks and isinstance(stream, RobotStream) and stream.config.together:
        fix = f"must be left out: {method} acts at tasks' ends, and tasks in turn have none; sac-multi does not"
        raise SpecError("stream.together", True, fix)
    if learner.most_tasks is not None and isinstance(stream, RobotStream) and learner.most_tasks < stream.ways:
        fix = f"must be at least {stream.ways}, the stream's tasks, each of which takes its part"
        raise SpecError("learner.tasks", learner.most_tasks, fix)
    if can.needs_task and not stream.labelled:
        fix = f"must be told the task, which {kind} hides; take a stream of labelled tasks: rotations"
        raise SpecError("learner.kind", method, fix)
    if can.validates and isinstance(stream, TaskStream) and not len(stream.validation_set(0)[1]):
        raise SpecError("stream.validation", 0, f"must keep samples back: {method} judges its masks on them")
    if isinstance(stream, EpisodeStream):
        if not isinstance(learner, Episodic):
            raise SpecError(
                "learner.kind", method, f"must be one that learns from episodes, as {kind} gives them: maml"
            )
        divided = stream.steps % learner.meta_batch == 0
        require(divided, "stream.steps", stream.steps, f"a multiple of meta_batch = {learner.meta_batch}")
    wanted = learner.task_steps
    if wanted is not None and isinstance(stream, TaskStream) and wanted != stream.steps_per_task:
        fix = f"must be {stream.steps_per_task}, the batches of one of the stream's tasks in all its epochs"
        raise SpecError("learner.task_steps", wanted, fix)


def require_fits(network: Network, config: Any) -> None:
    """Raise `SpecError` where the weights of ``network``, of the section ``config``, have no room in memory."""
    if not _large(config):
        return
    wanted, there = _COPIES * _bytes(network), machine_memory()
    if wanted > there:
        fix = f"its weights and gradients take {wanted / 2**30:.3g} GiB, and this machine has {there / 2**30:.3g} GiB"
        raise SpecError("network", _said(config), fix)


def _large(config: Any) -> list[float]:
    """The numbers of ``config`` that may stand for a size."""
    return [number for number in _numbers(vars(config)) if number >= _SMALL]


def _bytes(network: Network) -> float:
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode():  # shapes without contents
            return sum(value.nbytes for value in network.init(torch.Generator()).values())
    except RuntimeError:  # more than torch can count
        return float(2**63)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, (int, float)):
        yield value


def _said(config: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in vars(config).items())


def rehearse(experiment: Experiment, images: Mapping[str, Pictures], overrides: Sequence[str] = ()) -> None:
    """Build every variant once, so that a specification which fits no data or network is refused before work starts.

    Args:
        experiment: what is to be run.
        images: its data sets.
        overrides: what was laid over its specification.

    Raises:
        SpecError: names the field that does not fit.
        DataError: it is a shipped specification that embedded data are too few for; names the data set it needs.
    """
    needed = real_data(experiment.name) if mode_of(images) == "embedded" else None
    try:
        _rehearse(experiment, images)
    except SpecError as error:
        too_large = {one.partition("=")[0] for one in needed.small} if needed else set[str]()
        own = {one.partition("=")[0].strip() for one in overrides}
        if needed is None or error.field not in too_large - own:  # a mistake of the user's is said as it is
            raise
        raise DataError("data", "embedded", _mending(experiment.name, needed, error)) from None


def _mending(name: str, needed: RealData, error: SpecError) -> str:
    fetched = f"get it with `frisket data fetch {needed.name}`, or " if needed.name in SOURCES else ""
    return (
        f"{name} needs the real data set {needed.name}; {fetched}name its folder with --data-dir or FRISKET_DATA. What "
        f"is embedded is too little for it ({error}); to try it out, make it smaller: {' '.join(needed.small)}"
    )


def _rehearse(experiment: Experiment, images: Mapping[str, Pictures]) -> None:
    tried = set[tuple[Any, ...]]()
    streams: dict[str, Stream] = {}  # points of a search often share one, and a stream costs more than a learner
    for label, plain in experiment.plans.items():
        described = repr(plain.stream)
        if described not in streams:
            try:
                streams[described] = build_stream(plain, images, seed=0)
            except SpecError as error:  # a stream knows its own fields only
                raise SpecError(f"stream.{error.field}", error.value, error.fix) from None
        stream = streams[described]
        network, learner = build_network(plain, Inputs.of(stream)), build_learner(plain, Inputs.of(stream))
        require_fits(network, plain.network.config)
        require_suited(learner, stream, plain.learner.kind, plain.stream.kind)
        sizes = repr(plain.network), *_large(plain.learner.config)
        if len(sizes) > 1 and sizes not in tried:
            learner.init(0)  # what it keeps besides the network; without room for it no run is begun
            tried.add(sizes)
        together = max(1, experiment.largest.get(label, 0))
        learner.pack([learner] * (together - 1))
        if experiment.tune is not None:
            _require_measured(experiment.metric, stream, learner)
        protocol = build_protocol(plain, [stream])
        fix = _unsuited(network, protocol)
        if fix is not None:
            raise SpecError("network.kind", plain.network.kind, fix)
        if isinstance(stream, EpisodeStream) and not protocol.of_episodes:
            raise SpecError("protocol.kind", plain.protocol.kind, "must judge episodes: few-shot-accuracy")
        if isinstance(stream, RobotStream) and not protocol.of_actions:
            raise SpecError("protocol.kind", plain.protocol.kind, "must judge what is acted: success")


def build_protocol(experiment: Experiment, streams: Sequence[Stream]) -> Protocol:
    """What measures the replicas of a pack, by the ``streams`` of each."""
    section = experiment.protocol
    own = experiment.stream.row.own_tests(experiment.stream.config)
    first, *others = (section.row.build(section.config, stream) for stream in (streams if own else streams[:1]))
    return Apart([first, *others]) if others else first


def _unsuited(network: Network, protocol: Protocol) -> str | None:
    """What to take in place of a ``network`` whose answers ``protocol`` cannot judge; None where it can."""
    if network.generates and protocol.by_label:
        return "one that answers with labels, or protocol.kind = log-likelihood"
    if not network.generates and not protocol.by_label and not protocol.of_actions:
        return "must be a network with latent variables (vae) to have a likelihood"
    # A pruned network would answer by statistics that are those of the whole one.
    if protocol.prunes and (network.normalised or network.running):
        return "one without running statistics: mlp, pooled-conv or strided-conv"
    return None


def _require_measured(metric: str, stream: Stream, learner: Learner) -> None:
    """Raise `SpecError` if a part that a search's metric names will not be there to compare points by."""
    name, _, part = metric.partition("/")
    if name == "sparsity":
        if not learner.capabilities.masks:
            raise SpecError("tune.metric", metric, "another one: not every point has masks")
    elif name == "accuracy" and part and part not in stream.domains:
        known = ", ".join(f"accuracy/{domain}" for domain in stream.domains)
        raise SpecError("tune.metric", metric, f"must be one of {known}")


def choose_device(wanted: str) -> torch.device:
    """The device ``wanted`` (``auto``: a GPU where there is one)."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device", wanted, "this machine has no usable GPU: set device=cpu or device=auto")
    return torch.device(wanted)
