"""How requests reach sources: over Ray (`RayTransport`), or within this process (`LocalTransport`)."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from frisket.errors import ServiceError, SourceLost
from frisket.platform.streaming.metrics import Numbers, RayNumbers
from frisket.platform.streaming.source import Shelf, Source

NAMESPACE = "frisket-streams"
_FIND_SECONDS = 20.0
"""How long a service may take to show up: its sources may be starting, all of them anew after a kill."""


class Transport(ABC):
    """Attributes:
    service: its name, for messages.
    sources: how many there are.
    """

    service: str
    sources: int

    @abstractmethod
    def ask(self, source: int, method: str, *arguments: Any) -> Any:
        """Begin a request to a source's method; gives a ticket for `take`. Does not block. Raises `SourceLost`."""

    @abstractmethod
    def take(self, ticket: Any, timeout: float) -> Any:
        """The answer. Raises `SourceLost`, or what the source raised."""

    @abstractmethod
    def numbers(self, who: str) -> Numbers:
        """Where a consumer of that name counts."""


class LocalTransport(Transport):
    """Sources in this process, without Ray: for notebooks and tests. Requests are carried out when they are taken."""

    def __init__(self, sources: int = 1) -> None:
        self.service, self.sources = "local", sources
        self.shelves = [Shelf(Numbers()) for _ in range(sources)]

    def ask(self, source: int, method: str, *arguments: Any) -> Any:
        return source, method, arguments

    def take(self, ticket: Any, timeout: float) -> Any:
        source, method, arguments = ticket
        return getattr(self.shelves[source], method)(*arguments)

    def numbers(self, who: str) -> Numbers:
        return Numbers()


class RayTransport(Transport):
    """The sources of a named service in the Ray cluster this process is part of.

    A source is an actor named ``SERVICE/NUMBER`` in the namespace `NAMESPACE`, which Ray starts again whenever it dies.

    Args:
        service: its name.
        sources: how many there are.
        created: the handles that came with creating them.
    """

    def __init__(self, service: str, sources: int, created: Sequence[Any] = ()) -> None:
        self.service, self.sources = service, sources
        # Ray ends an actor for good, name and restarts and all, when its creator lets go of the handle it was given;
        # a handle found by name keeps nothing alive. So these are held, whatever happens to the source, until `stop`.
        self._created = list(created)
        self._handles: dict[int, Any] = dict(enumerate(created))

    @classmethod
    def start(cls, service: str, *, sources: int = 2, detached: bool = False, cpus: float = 0.0) -> RayTransport:
        """Start a service, or find the sources that already run under its name.

        Args:
            service: its name.
            sources: how many actors.
            detached: they live until `stop`; else until this process ends or lets go of them.
            cpus: what each takes of the cluster. 0: a run that fills a cluster must not wait for a slot its own
                sources hold.
        """
        import ray

        from frisket.platform.cluster.session import worker_environment

        options: dict[str, Any] = {
            "namespace": NAMESPACE,
            "get_if_exists": True,
            "lifetime": "detached" if detached else None,
            "num_cpus": cpus,
            "max_restarts": -1,
            "max_task_retries": 0,  # a consumer asks another source instead of waiting for this one
            "scheduling_strategy": "SPREAD",
            "runtime_env": {"env_vars": worker_environment()},
        }
        actor: Any = ray.remote(Source)
        handles = [
            actor.options(name=f"{service}/{i}", **options).remote(service, i) for i in range(sources)
        ]  # fmt: skip
        return cls(service, sources, handles)

    @classmethod
    def connect(cls, service: str, patience: float | None = None) -> RayTransport:
        """The service of that name.

        Args:
            service: its name.
            patience: seconds it may take to show up; None for 20.

        Raises:
            ServiceError: this process is not part of a cluster, or there is no such service in it.
        """
        import ray
        from ray.util import list_named_actors

        if not ray.is_initialized():
            raise ServiceError("service", service, "can be reached from inside a Ray cluster only: call ray.init first")
        deadline = time.monotonic() + (_FIND_SECONDS if patience is None else patience)
        while True:
            actors: Any = list_named_actors(all_namespaces=True)
            named = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
            numbers = [int(name.rpartition("/")[2]) for name in named if name.rpartition("/")[0] == service]
            if numbers:
                return cls(service, max(numbers) + 1)
            if time.monotonic() > deadline:
                there = ", ".join(sorted({name.rpartition("/")[0] for name in named})) or "none"
                raise ServiceError("service", service, f"no such service in this cluster; running: {there}")
            time.sleep(0.2)

    def ask(self, source: int, method: str, *arguments: Any) -> Any:
        from ray.exceptions import RayError

        try:
            return source, getattr(self._handle(source), method).remote(*arguments)
        except RayError as error:
            raise self._lost(source, error) from error

    def take(self, ticket: Any, timeout: float) -> Any:
        import ray
        from ray.exceptions import RayError, RayTaskError

        source, reference = ticket
        try:
            return ray.get(reference, timeout=timeout)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise self._lost(source, error) from error

    def numbers(self, who: str) -> Numbers:
        return RayNumbers(self.service, who)

    def stop(self) -> None:
        """End every source for good."""
        import ray

        for source in range(self.sources):
            try:
                ray.kill(self._handle(source), no_restart=True)
            except SourceLost:  # as it should be
                continue
        self._handles.clear()
        self._created.clear()

    def _handle(self, source: int) -> Any:
        import ray

        if source not in self._handles:
            try:
                self._handles[source] = ray.get_actor(f"{self.service}/{source}", NAMESPACE)
            except ValueError as error:
                raise SourceLost(f"source {self.service}/{source} is not there") from error
        return self._handles[source]

    def _lost(self, source: int, error: Exception) -> SourceLost:
        """What to raise for an error of Ray's; the source is looked up again by its name the next time."""
        self._handles.pop(source, None)
        lines = str(error).strip().splitlines()
        return SourceLost(f"source {self.service}/{source}: {type(error).__name__}: {lines[0] if lines else ''}")
