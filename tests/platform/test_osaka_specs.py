"""Every specification of tune_configs/osaka loads, and says what the method sheet's tables say."""

from __future__ import annotations

from typing import Any

import pytest

from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import spec_names

METHODS = (
    "sparse-cmaml", "sparse-relu-cmaml", "cmaml-fixed", "cmaml", "cmaml-s9", "cmaml-plain", "cmaml-um", "cmaml-pre",
    "cmaml-pre-um", "cmaml-pre-um-pap", "static-maml", "static-anil", "online-adam-pre", "online-adam", "bgd",
    "metabgd", "metacog",
)  # fmt: skip
NAMES = [f"osaka/p{p}-{method}" for p in (90, 98) for method in METHODS]
OFF = 1000.0

# Section 8, "Released best configurations": (patience, meta-batch) or None, beta, K, step size, first order, lambda,
# gamma; None where a column does not apply.
RELEASED: dict[str, tuple[Any, ...]] = {
    "p90-cmaml-plain": (None, 5e-4, 2, 1e-3, 0, OFF, OFF),
    "p98-cmaml-plain": (None, 1e-4, 1, 0.1, 0, OFF, OFF),
    "p90-cmaml-um": (None, 5e-4, 2, 0.1, 0, 2.0, 2.0),
    "p98-cmaml-um": (None, 5e-4, 4, 0.05, 0, OFF, 1.25),
    "p90-cmaml": (None, 1e-3, 16, 5e-4, 1, 1.0, 1.5),
    "p98-cmaml": (None, 5e-3, 16, 0.01, 1, OFF, 3.0),
    "p90-cmaml-pre": ((10, 4), 1e-3, 16, 0.01, 0, OFF, OFF),
    "p98-cmaml-pre": ((5, 2), 1e-4, 4, 5e-3, 0, OFF, OFF),
    "p90-cmaml-pre-um": ((5, 2), 5e-4, 2, 0.5, 0, 5.0, 1.0),
    "p98-cmaml-pre-um": ((20, 8), 1e-3, 2, 5e-4, 0, 0.5, 2.0),
    "p90-cmaml-pre-um-pap": ((10, 8), 5e-4, 16, 0.1, 1, 0.25, 2.0),
    "p98-cmaml-pre-um-pap": ((10, 4), 1e-4, 8, 0.1, 1, 0.25, 2.5),
    "p90-static-maml": ((5, 4), 1e-4, 16, 0.1, 1, None, None),
    "p98-static-maml": ((10, 8), 1e-3, 16, 0.1, 0, None, None),
    "p90-static-anil": ((20, 4), 5e-3, 16, 0.05, 0, None, None),
    "p98-static-anil": ((10, 1), 5e-3, 16, 0.5, 1, None, None),
    "p90-online-adam-pre": ((20, 4), 1e-3, 1, 0.05, 0, None, None),
    "p98-online-adam-pre": ((5, 2), 1e-3, 1, 0.05, 1, None, None),
    "p90-online-adam": (None, 1e-3, None, None, None, None, None),
    "p98-online-adam": (None, 5e-3, None, None, None, None, None),
    "p90-metabgd": (None, None, 16, 0.01, 1, None, None),
    "p98-metabgd": (None, None, 16, 0.05, 0, None, None),
    "p90-metacog": (None, None, 4, 5e-3, 0, None, None),
    "p98-metacog": (None, None, 1, 1e-3, 1, None, None),
}

# Section 7: beta, K, lambda, gamma, and what is the method's own.
SECTION_7: dict[str, dict[str, float]] = {
    "p90-sparse-cmaml": {
        "outer_lr": 0.001,
        "um_lambda": 1.0,
        "switch_threshold": 1.5,
        "alpha_0": 0.3,
        "gamma_m": 0.003,
    },
    "p98-sparse-cmaml": {"outer_lr": 0.005, "um_lambda": OFF, "switch_threshold": 3.0, "alpha_0": 0.3, "gamma_m": 0.01},
    "p90-sparse-relu-cmaml": {"outer_lr": 0.001, "um_lambda": 1.0, "switch_threshold": 1.5, "gamma_m": 0.01},
    "p98-sparse-relu-cmaml": {"outer_lr": 0.005, "um_lambda": OFF, "switch_threshold": 3.0, "gamma_m": 0.01},
    "p90-cmaml-fixed": {"outer_lr": 0.001, "um_lambda": 1.0, "switch_threshold": 1.5, "alpha_0": 0.3},
    "p98-cmaml-fixed": {"outer_lr": 0.005, "um_lambda": OFF, "switch_threshold": 3.0, "alpha_0": 0.1},
    "p90-cmaml-s9": {"outer_lr": 0.001, "um_lambda": 1.0, "switch_threshold": 1.5, "step_size": 0.1},
    "p98-cmaml-s9": {"outer_lr": 0.005, "um_lambda": OFF, "switch_threshold": 3.0, "step_size": 0.1},
    "p90-bgd": {"mean_lr": 10.0, "sigma_0": 0.01},
    "p98-bgd": {"mean_lr": 10.0, "sigma_0": 0.01},
    "p90-metabgd": {"mean_lr": 10.0, "as_released": True},
    "p98-metabgd": {"mean_lr": 10.0, "as_released": True},
    "p90-metacog": {"mean_lr": 10.0, "as_released": True, "masks_init": 0.4, "l1": 0.0},
    "p98-metacog": {"mean_lr": 10.0, "as_released": True, "masks_init": 0.5, "l1": 0.1},
}

# Table 6 (cmaml-fixed: Table S9), as printed, in percent.
ACCURACY: dict[str, tuple[float, float]] = {
    "p98-online-adam": (73.9, 2.2), "p90-online-adam": (23.8, 1.2),
    "p98-online-adam-pre": (72.7, 1.7), "p90-online-adam-pre": (22.1, 1.1),
    "p98-static-maml": (84.5, 1.7), "p90-static-maml": (75.5, 0.7),
    "p98-static-anil": (75.3, 2.0), "p90-static-anil": (69.1, 0.8),
    "p98-bgd": (87.8, 1.3), "p90-bgd": (63.4, 0.9),
    "p98-metacog": (88.0, 1.0), "p90-metacog": (63.6, 0.9),
    "p98-metabgd": (91.1, 2.6), "p90-metabgd": (74.8, 1.1),
    "p98-cmaml": (92.8, 0.6), "p90-cmaml": (83.3, 0.4),
    "p98-cmaml-s9": (92.8, 0.6), "p90-cmaml-s9": (83.3, 0.4),
    "p98-sparse-cmaml": (94.2, 0.4), "p90-sparse-cmaml": (86.3, 0.4),
    "p98-sparse-relu-cmaml": (93.5, 0.5), "p90-sparse-relu-cmaml": (86.1, 0.2),
    "p98-cmaml-fixed": (92.0, 0.1), "p90-cmaml-fixed": (85.3, 0.5),
}  # fmt: skip


def test_every_method_at_both_p_and_no_other_number_that_is_published() -> None:
    found = {n for n in spec_names() if n.startswith("osaka/")}
    assert set(NAMES) <= found
    assert [n for n in found - set(NAMES) if load_spec(n).published is not None] == []


@pytest.mark.parametrize("name", NAMES)
def test_is_the_main_benchmark_at_full_size(name: str) -> None:
    spec = load_spec(name)
    stream = spec.stream.config
    assert stream.p == int(name[7:9]) / 100
    assert (stream.ways, stream.shots, stream.steps) == (10, 5, 10_000)
    assert stream.domains == {"omniglot": 0.5, "mnist": 0.25, "fashion_mnist": 0.25}
    assert spec.network.config.channels == 64
    assert spec.seeds == 5
    network = NETWORKS[spec.network.kind].build(spec.network.config, in_channels=1, size=28, ways=10)
    learner = LEARNERS[spec.learner.kind].build(spec.learner.config, network)
    assert learner.capabilities.needs_task is False


@pytest.mark.parametrize("name", list(RELEASED))
def test_released_configuration(name: str) -> None:
    patience_and_batch, beta, steps, step_size, first_order, lam, gamma = RELEASED[name]
    spec = load_spec(f"osaka/{name}")
    assert (spec.pretrain is not None) == (patience_and_batch is not None)
    parts = [spec.learner.config] if spec.pretrain is None else [spec.learner.config, spec.pretrain]
    if spec.pretrain is not None:
        assert (spec.pretrain.epochs, spec.pretrain.patience, spec.pretrain.meta_batch) == (1000, *patience_and_batch)
        assert spec.pretrain.learn_step_sizes == spec.learner.kind.startswith("cmaml")
        assert spec.pretrain.adapt == ("head" if spec.learner.kind == "static-anil" else "all")
    expected = {
        "outer_lr": beta,
        "inner_steps": steps,
        "step_size": step_size,
        "order": None if first_order is None else 2 - first_order,
        "um_lambda": lam,
        "switch_threshold": gamma,
    }
    for field, value in expected.items():
        found = [getattr(part, field) for part in parts if hasattr(part, field)]
        assert found == [value] * len(found)
        assert bool(found) == (value is not None)


@pytest.mark.parametrize("name", list(SECTION_7))
def test_own_fields(name: str) -> None:
    config = load_spec(f"osaka/{name}").learner.config
    assert {field: getattr(config, field) for field in SECTION_7[name]} == SECTION_7[name]
    if "gamma_m" in SECTION_7[name] or "alpha_0" in SECTION_7[name]:
        assert (config.inner_steps, config.order, config.restart, config.keep_detect_batch) == (
            16,
            1,
            "next_step",
            False,
        )


@pytest.mark.parametrize("name", NAMES)
def test_published_number(name: str) -> None:
    published = load_spec(name).published
    assert published is not None
    short = name.removeprefix("osaka/")
    if short not in ACCURACY:
        assert published.metrics == {}
        return
    mean, std = ACCURACY[short]
    assert published.metrics["accuracy"] == pytest.approx({"mean": mean / 100, "std": std / 100})
    domains = {k: v["mean"] for k, v in published.metrics.items() if k != "accuracy"}
    assert set(domains) <= {f"accuracy/{d}" for d in ("omniglot", "mnist", "fashion_mnist")}
    if len(domains) == 3:  # the mixture identity; its tolerance is that of the printed digits and the shares' chance
        mixture = 0.5 * domains["accuracy/omniglot"] + 0.25 * (
            domains["accuracy/mnist"] + domains["accuracy/fashion_mnist"]
        )
        assert mixture == pytest.approx(mean / 100, abs=0.01)
