"""Measures on the machines of a Ray cluster: of every kind of node one. Import it late: it imports Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from frisket.errors import FrisketError, UserError, as_data, rebuilt
from frisket.platform.planning.figures import Figures
from frisket.platform.planning.here import measured_here
from frisket.platform.specs.experiment import Experiment
from frisket.types import DataMode

_GIB = 2**30


class NodeKind(NamedTuple):
    """Nodes that are alike. Attributes: name: what they have, in words; nodes: their ids; resources: of one of them."""

    name: str
    nodes: tuple[str, ...]
    resources: Mapping[str, float]


def node_kinds(nodes: Sequence[Mapping[str, Any]]) -> list[NodeKind]:
    """The kinds of those of ``nodes``, as `ray.nodes` gives them, that can work: with CPUs, and alive."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes:
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1:
            found.setdefault(", ".join(_words(node["Resources"])), []).append(node)
    return [
        NodeKind(name, tuple(node["NodeID"] for node in alike), alike[0]["Resources"]) for name, alike in found.items()
    ]


def resources() -> Mapping[str, float]:
    """What the cluster has in all."""
    return ray.cluster_resources()


def measured_on_nodes(
    experiment: Experiment, *, data: DataMode, data_dir: str | None, overrides: Sequence[str]
) -> list[tuple[NodeKind, Figures]]:
    """The figures of ``experiment`` on a node of every kind of the cluster that this process is connected to, at the
    same time; the arguments are those of `measured_here`.

    Raises:
        UserError, FrisketError: as there; or no node has a CPU.
    """
    kinds = node_kinds(ray.nodes())
    if not kinds:
        raise FrisketError("this cluster has no node with a CPU yet, so there is nothing to measure on")
    work = ray.remote(_measured)
    asked = list[tuple[NodeKind, Any]]()
    for kind in kinds:
        gpus = 0.01 if kind.resources.get("GPU") and experiment.device != "cpu" else 0
        where = NodeAffinitySchedulingStrategy(kind.nodes[0], soft=False)
        options = {"num_cpus": min(experiment.threads, kind.resources["CPU"]), "num_gpus": gpus, "max_retries": 0}
        promise = work.options(scheduling_strategy=where, **options).remote(experiment, data, data_dir, overrides)
        asked.append((kind, promise))
    return [(kind, _figures(kind, promise)) for kind, promise in asked]


def _figures(kind: NodeKind, promise: Any) -> Figures:
    try:
        said: Any = ray.get(promise)
    except RayTaskError as error:
        raise FrisketError(f"measuring on a node with {kind.name} failed: {str(error).splitlines()[-1]}") from error
    if "fix" in said:
        raise rebuilt(**said)
    return Figures.from_dict(said)


def _measured(experiment: Experiment, data: DataMode, data_dir: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """In a worker: the figures, or the user's mistake, as data."""
    try:
        return measured_here(experiment, data=data, data_dir=data_dir, overrides=overrides).as_dict()
    except UserError as error:
        return as_data(error)


def _words(resources: Mapping[str, float]) -> Iterator[str]:
    yield f"{resources['CPU']:g} CPUs"
    if resources.get("GPU"):
        types = [name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")]
        yield f"{resources['GPU']:g} GPUs ({', '.join(types) or 'of no known type'})"
    yield f"{resources.get('memory', 0) / _GIB:.0f} GiB"
