"""Ray Train's trainer without what packs have no use for. Import it late: it imports Ray.

Packs do not talk, read no Ray Data sets, and are found again by their run folder. What Ray Train keeps ready for those
that do costs the cores it shares: an idle actor wakes a hundred times a second, and takes most of a hundredth of a core
and, at the start, more than a second of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer

_UNUSED = frozenset({
    "DatasetsCallback",  # its actor hands out shards of Ray Data sets, and is started even where there are none
    "PlacementGroupCleanerCallback",  # its actor frees the room if the controller dies, as does the driver's end
})  # fmt: skip


class Apart(Backend):
    """Workers that form no process group."""

    share_cuda_visible_devices = True  # as Ray Train's own backend for torch


class ApartConfig(TorchConfig):
    """Ray Train's configuration for torch, with `Apart` for its backend."""

    @property
    def backend_cls(self) -> Any:  # the parent says `_TorchBackend`, which is private
        return Apart


class PackTrainer(TorchTrainer):
    """Runs one function on a group of workers.

    Args:
        work: the function, which gets ``train_loop_config``.
        apart: whether the workers form no process group.
        run_id: by which Ray Train knows the run. A run that goes on after its driver was killed takes over, under the
            same name, the room that is reserved for it; under a new one it would wait until the old reservation
            expires, after three minutes.
        others: as for `ray.train.torch.TorchTrainer`.
    """

    def __init__(
        self, work: Callable[[dict[str, Any]], None], *, run_id: str, apart: bool = True, **others: Any
    ) -> None:
        super().__init__(work, torch_config=ApartConfig() if apart else TorchConfig(), **others)
        object.__setattr__(self.train_run_context, "run_id", run_id)  # frozen, and no argument of the trainer's

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in _UNUSED]
