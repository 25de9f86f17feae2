"""What every method and every network must hold to, for frisket's own as for anybody's.

`check` and `check_network` try a row as its module declares it, and tell what holds::

    for finding in check(METHODS[0]):
        assert finding.ok, f"{finding.asserts} {finding.seen}"

The checks themselves are functions of a `Trial` or a `NetworkTrial` (`frisket.findings` says of which form), so that a
test can run them one by one.
"""

from __future__ import annotations

from frisket.algos.contract.methods import METHOD_CHECKS, check
from frisket.algos.contract.networks import NETWORK_CHECKS, NetworkTrial, check_network
from frisket.algos.contract.trial import Trial

__all__ = ["METHOD_CHECKS", "NETWORK_CHECKS", "NetworkTrial", "Trial", "check", "check_network"]
