"""What a module declares of a network: `NetworkKind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop
from frisket.errors import SpecError

SIDE = "image size"
"""What a network calls the side of its inputs where it refuses one."""


@dataclass(frozen=True, kw_only=True)
class NetworkKind:
    """A row of ``NETWORKS``.

    Attributes:
        name: what specifications call it.
        config: the configuration dataclass.
        make: ``(config, in_channels=, size=, ways=, own=None) -> Network``.
        summary: one line.
        quick: fields under which it is small; the contract (`frisket.algos.contract`) tries it with these.
        tried_at: channels and size of the inputs it is tried with.
    """

    name: str
    config: type[Any]
    make: Callable[..., Network]
    summary: str
    quick: Mapping[str, Any] = field(default_factory=dict)
    tried_at: tuple[int, int] = (1, 16)

    def build(self, config: Any, *, in_channels: int, size: int, ways: int, own: int | None = None) -> Network:
        """The network, reparametrised where its configuration has a ``powerprop_alpha`` other than 1.

        Args:
            config: of this kind.
            in_channels, size: C and H (= W) of an input.
            ways: number of labels.
            own: size of the blocks of labels that are judged among themselves; None for one head over all.

        Raises:
            SpecError: inputs of this side are not for this network.
        """
        try:
            plain = self.make(config, in_channels=in_channels, size=size, ways=ways, own=own)
        except SpecError as error:
            if error.field != SIDE:
                raise
            fix = f"needs inputs of another side: {error.fix}, and the stream's are {in_channels} x {size} x {size}"
            raise SpecError("network.kind", self.name, fix) from error
        alpha = getattr(config, "powerprop_alpha", 1)
        return plain if alpha == 1 else Powerprop(plain, alpha)
