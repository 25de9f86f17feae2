"""Every stream of frisket's own, by name, as their files declare them; lists none itself."""

from __future__ import annotations

from collections.abc import Mapping

from frisket.declared import own
from frisket.envs.streams.kind import StreamKind

STREAMS: Mapping[str, StreamKind] = own("frisket.envs.streams", "STREAMS", StreamKind)
