"""One-shot pruning on CIFAR-10: the recipe, and a curve on the embedded stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from frisket.algos.networks.pooled_conv import PooledConv, PooledConvConfig
from frisket.errors import SpecError
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import load_spec
from frisket.platform.verbs.run import prepare

SPEC = "pruning/cifar10-one-shot"
SMALL = [
    "stream.batch=40", "stream.samples=400", "stream.epochs=4", "stream.augment=none", "network.filters=[4, 4, 8]",
    "network.hidden=16", "learner.lr=0.05", "learner.cosine=40", "protocol.kept=[0.05, 0.3, 1.0]", "log_every=20",
]  # fmt: skip


def test_recipe() -> None:
    """The cosine ends with the stream; every alpha differs in alpha alone."""
    spec = load_spec(SPEC)
    stream, learner = spec.stream.config, spec.learner.config
    assert (stream.batch, stream.epochs, learner.optimiser, learner.momentum) == (128, 100, "momentum", 0.9)
    assert learner.cosine == stream.epochs * (50_000 // stream.batch)
    assert learner.rate(0) == 0.1
    assert {v["network"]["powerprop_alpha"] for v in spec.variants.values()} == {1.0, 2.0, 3.0, 4.0}


def test_network_by_hand() -> None:
    """Three convolutions of 64, 192 and 256 filters, then 4,096 features to 512 to 10."""
    net = PooledConv(PooledConvConfig(), in_channels=3, size=32, ways=10)
    params = net.init(torch.Generator().manual_seed(0))
    assert {k: tuple(v.shape) for k, v in params.items() if v.dim() > 1} == {
        "conv1.weight": (64, 3, 5, 5), "conv2.weight": (192, 64, 3, 3), "conv3.weight": (256, 192, 3, 3),
        "fc1.weight": (512, 4096), "fc2.weight": (10, 512),
    }  # fmt: skip
    assert net.head == ("fc2.weight", "fc2.bias")
    assert net(params, torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_curve_on_the_stand_in(tmp_path: Path) -> None:
    folder = prepare(SPEC, SMALL, seeds=1, data="embedded", runs_dir=tmp_path, register=False)
    metrics = metrics_of(folder)
    assert metrics["accuracy"] == metrics["accuracy/kept-1.0000"] > 0.3  # chance is 0.1
    assert metrics["nll/kept-0.0500"] > metrics["nll/kept-1.0000"]
    assert metrics["overlap/kept-1.0000"] == 1 > metrics["overlap/kept-0.0500"]


def metrics_of(folder: RunFolder) -> dict[str, float]:
    """Those of the first variant, run now."""
    replica = folder.experiment.replicas()[0]
    run_replica(folder, replica)
    result = folder.replica(replica).result
    assert result is not None
    return result["metrics"]


def test_masks_and_running_statistics_are_refused(tmp_path: Path) -> None:
    def prepared(*overrides: str) -> RunFolder:
        return prepare(SPEC, overrides, seeds=1, data="embedded", runs_dir=tmp_path, register=False)

    with pytest.raises(SpecError, match="static-sparse with kept = 1"):
        metrics_of(prepared(*SMALL, "learner.kept=0.5"))
    others = [text for text in SMALL if not text.startswith("network.")]
    with pytest.raises(SpecError, match="without running statistics"):
        prepared(*others, "network.kind=resnet", "network.depth=18", "network.width=2", "variants={}")


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"filters": (4, 4)}, "filters"), ({"filters": (4, 0, 4)}, "filters"), ({"hidden": 0}, "hidden")],
)
def test_sizes_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        PooledConvConfig(**fields)
    assert caught.value.field == field
