"""Where the workers of a run get their streams from: each makes its own, or a service makes them for all.

The service is started by the driver, for the length of the run, and found by its name. Either way the numbers are the
same, so `stream.source` is no part of what makes a result.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from frisket.envs.stream import Stream
from frisket.errors import SpecError
from frisket.platform.executors import Shares
from frisket.platform.run.engine import OpenStream
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import build_stream, load_data
from frisket.platform.specs.experiment import Experiment, Replica

_CONSUMERS_PER_SOURCE = 4
_FEWEST = 2  # while one is killed and comes back, the other serves


@contextlib.contextmanager
def stream_service(folder: RunFolder, shares: Shares) -> Iterator[str | None]:
    """Name of the service that serves the workers of ``folder`` inside the block; None if each makes its own streams.

    ``stream.source`` decides; ``auto`` is a service where the workers span nodes.
    """
    import ray

    from frisket.platform.streaming.transport import RayTransport

    source = folder.experiment.stream.source
    if source == "in-process" or (source == "auto" and not spans_nodes(shares, ray.nodes())):
        yield None
        return
    name = f"{folder.run_id}-{secrets.token_hex(2)}"  # a resumed run must not find what its dead driver leaves behind
    sources = max(_FEWEST, -(-shares.workers // _CONSUMERS_PER_SOURCE))
    service = RayTransport.start(name, sources=sources)
    try:
        yield name
    finally:
        service.stop()


def spans_nodes(shares: Shares, nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no single living node of `ray.nodes` has room for all workers: Ray packs them on one where it can."""
    living = [node["Resources"] for node in nodes if node["Alive"]]
    wanted = {name: amount * shares.workers for name, amount in shares.resources.items()}
    return not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in living)


def opener(folder: RunFolder, service: str | None, data_dir: str | None) -> OpenStream | None:
    """In a worker: how it opens the streams of ``folder`` from ``service``; None without one. Where the specification
    leaves it open (``auto``), a stream that a service cannot give whole is made in the worker after all.

    Raises:
        ServiceError: there is no such service.
    """
    if service is None:
        return None
    from frisket.platform.streaming.consumer import Service
    from frisket.platform.streaming.streams import StreamRecipe, open_stream
    from frisket.platform.streaming.transport import RayTransport

    transport = RayTransport.connect(service)

    def open_one(experiment: Experiment, replica: Replica) -> Stream:
        recipe = StreamRecipe(
            stream=experiment.stream.work(exact=True),
            data=folder.manifest["data_mode"],
            data_dir=data_dir,
            uses=experiment.uses,
            own=experiment.data or {},
        )
        try:
            return open_stream(Service(transport, replica.key), recipe, replica.seed)
        except SpecError as error:
            if error.field != "stream.source" or experiment.stream.source != "auto":
                raise
        return build_stream(experiment, load_data(experiment, recipe.data, data_dir), replica.seed)

    return open_one
