"""Every method by name: its configuration and its learner. A new method is a file in ``learners/`` and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from frisket.algos.learner import Learner
from frisket.algos.learners import bgd, cmaml, cmaml_every_step, metabgd, metacog, online_adam, static_maml
from frisket.algos.networks import conv4
from frisket.algos.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class LearnerEntry:
    """Attributes: config: the configuration dataclass; build: ``(config, network) -> Learner``; summary: one line."""

    config: type[Any]
    build: Callable[[Any, Network], Learner]
    summary: str


def _entry(config: type[Any], build: Callable[[Any, Network], Learner], summary: str) -> LearnerEntry:
    return LearnerEntry(config=config, build=build, summary=summary)


LEARNERS: Mapping[str, LearnerEntry] = MappingProxyType(
    {
        "cmaml": _entry(cmaml.CMAMLConfig, cmaml.CMAML, "C-MAML + UM + PAP, one learned step size per tensor"),
        "cmaml-fixed": _entry(cmaml.CMAMLFixedConfig, cmaml.CMAML, "C-MAML + UM + PAP, constant step size"),
        "sparse-cmaml": _entry(cmaml.SparseCMAMLConfig, cmaml.CMAML, "C-MAML + UM + PAP, learned binary mask"),
        "sparse-relu-cmaml": _entry(
            cmaml.SparseReluCMAMLConfig, cmaml.CMAML, "C-MAML + UM + PAP, learned rate per weight, closed at 0"
        ),
        "cmaml-no-pap": _entry(
            cmaml_every_step.CMAMLEveryStepConfig,
            cmaml_every_step.CMAMLEveryStep,
            "C-MAML with or without UM, an outer step at every stream step",
        ),
        "online-adam": _entry(online_adam.OnlineAdamConfig, online_adam.OnlineAdam, "one Adam step per batch"),
        "fine-tuning": _entry(
            online_adam.OnlineAdamConfig, online_adam.OnlineAdam, "Online Adam from a pre-trained start"
        ),
        "maml": _entry(static_maml.MAMLConfig, static_maml.StaticMAML, "adapts a pre-trained start that stays"),
        "anil": _entry(static_maml.MAMLConfig, static_maml.anil, "as maml, adapting the output layer alone"),
        "bgd": _entry(bgd.BGDConfig, bgd.BGD, "Bayesian gradient descent, a Gaussian over the weights"),
        "metabgd": _entry(metabgd.MetaBGDConfig, metabgd.metabgd, "BGD over the start of an inner loop"),
        "metacog": _entry(metacog.MetaCOGConfig, metacog.metacog, "BGD over weights gated by an inner loop's logits"),
    }
)


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """Attributes: config: the configuration dataclass; build: ``(config, in_channels=, size=, ways=) -> Network``."""

    config: type[Any]
    build: Callable[..., Network]


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {"conv4": NetworkEntry(config=conv4.Conv4Config, build=conv4.Conv4)}
)
