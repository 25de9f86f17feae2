"""Every method and network of frisket's own, by name, as their files declare them; lists none itself."""

from __future__ import annotations

from collections.abc import Mapping

from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.declared import own

LEARNERS: Mapping[str, Method] = own("frisket.algos.learners", "METHODS", Method)

NETWORKS: Mapping[str, NetworkKind] = own("frisket.algos.networks", "NETWORKS", NetworkKind)
