"""Every method by name: its configuration and its learner. A new method is a file in ``learners/`` and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from frisket.algos.learner import Learner
from frisket.algos.learners.look_ahead import la_er, la_maml, replay_cmaml, replay_metabgd, sparse_la_maml, sync_la_maml
from frisket.algos.learners.online import bgd, cmaml, cmaml_every_step, metabgd, metacog, online_adam, static_maml
from frisket.algos.learners.replay import er, ewc, gem, icarl, independent, mer
from frisket.algos.learners.sparse import iterative_magnitude, rigl, top_kast
from frisket.algos.learners.tasks import efficient_packnet, ewc_fisher, online_laplace, packnet, sequential, si, vcl
from frisket.algos.networks import conv4, mlp, pooled_conv, resnet, strided_conv, vae
from frisket.algos.networks.network import Network, NetworkConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts.posterior import PosteriorConfig


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
        "bgd": _entry(PosteriorConfig, bgd.BGD, "Bayesian gradient descent, a Gaussian over the weights"),
        "metabgd": _entry(metabgd.MetaBGDConfig, metabgd.metabgd, "BGD over the start of an inner loop"),
        "metacog": _entry(metacog.MetaCOGConfig, metacog.metacog, "BGD over weights gated by an inner loop's logits"),
        "la-maml": _entry(la_maml.LaMAMLConfig, la_maml.LaMAML, "looks ahead with replay, one learned rate per weight"),
        "sync-la-maml": _entry(
            sync_la_maml.SyncLaMAMLConfig, sync_la_maml.SyncLaMAML, "La-MAML whose weights move at one scalar rate"
        ),
        "replay-cmaml": _entry(
            replay_cmaml.ReplayCMAMLConfig, replay_cmaml.ReplayCMAML, "looks ahead with replay at constant rates"
        ),
        "replay-metabgd": _entry(
            replay_metabgd.ReplayMetaBGDConfig,
            replay_metabgd.ReplayMetaBGD,
            "replay-cmaml with a Gaussian over the weights, moved by BGD",
        ),
        "la-er": _entry(la_er.LaERConfig, la_er.LaER, "La-MAML's learned rates under experience replay"),
        "sparse-la-maml": _entry(
            sparse_la_maml.SparseLaMAMLConfig,
            sparse_la_maml.SparseLaMAML,
            "looks ahead with replay, learned binary mask",
        ),
        "sparse-relu-la-maml": _entry(
            sparse_la_maml.SparseReluLaMAMLConfig,
            sparse_la_maml.SparseLaMAML,
            "looks ahead with replay, learned rate per weight which may come back from 0",
        ),
        "online-sgd": _entry(er.OnlineSGDConfig, er.OnlineSGD, "one SGD step per sample, no memory"),
        "er": _entry(er.ERConfig, er.ER, "experience replay: SGD on new and remembered samples"),
        "mer": _entry(mer.MERConfig, mer.MER, "meta-experience replay: Reptile over replayed samples"),
        "ewc": _entry(ewc.EWCConfig, ewc.EWC, "elastic weight consolidation: weights held near earlier tasks' ends"),
        "gem": _entry(gem.GEMConfig, gem.GEM, "gradients projected to hurt no earlier task's memory"),
        "a-gem": _entry(gem.AGEMConfig, gem.AGEM, "as gem, against one gradient for all earlier tasks"),
        "icarl": _entry(icarl.ICaRLConfig, icarl.ICaRL, "nearest class mean of chosen exemplars, old logits distilled"),
        "independent": _entry(
            independent.IndependentConfig, independent.Independent, "a small network of its own for every task"
        ),
        "packnet": _entry(
            packnet.PackNetConfig, packnet.PackNet, "every task owns a share of the weights and uses all older ones"
        ),
        "efficient-packnet": _entry(
            efficient_packnet.EfficientPackNetConfig,
            efficient_packnet.EfficientPackNet,
            "every task keeps the fewest weights that do its work, older ones among them",
        ),
        "sequential": _entry(
            sequential.SequentialConfig, sequential.Sequential, "one step of any optimiser per batch, no protection"
        ),
        "ewc-fisher": _entry(
            ewc_fisher.EWCFisherConfig,
            ewc_fisher.ewc_fisher,
            "EWC with the mean of squared gradients, as its paper has it",
        ),
        "online-laplace": _entry(
            online_laplace.OnlineLaplaceConfig,
            online_laplace.online_laplace,
            "as ewc-fisher, about the latest weights alone",
        ),
        "si": _entry(si.SIConfig, si.si, "synaptic intelligence: weights are held as much as they lowered the loss"),
        "vcl": _entry(
            vcl.VCLConfig, vcl.VCL, "a Gaussian over the weights, each task's posterior the next one's prior"
        ),
        "iterative-magnitude": _entry(
            iterative_magnitude.IterativeMagnitudeConfig,
            iterative_magnitude.IterativeMagnitude,
            "the smallest weights are taken out while the network trains",
        ),
        "top-kast": _entry(top_kast.TopKASTConfig, top_kast.TopKAST, "the largest weights are used, more are learned"),
        "rigl": _entry(rigl.RigLConfig, rigl.RigL, "a sparse mask that exchanges small weights for steep ones"),
        "static-sparse": _entry(rigl.StaticSparseConfig, rigl.StaticSparse, "a random sparse mask that stays"),
    }
)


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """Attributes:
    config: the configuration dataclass.
    build: ``(config, in_channels=, size=, ways=, own=None) -> Network``.
    summary: one line.
    """

    config: type[Any]
    build: Callable[..., Network]
    summary: str


def _network(config: type[NetworkConfig], build: Callable[..., Network], summary: str) -> NetworkEntry:
    def built(config: NetworkConfig, **inputs: Any) -> Network:
        plain, alpha = build(config, **inputs), config.powerprop_alpha
        return plain if alpha == 1 else Powerprop(plain, alpha)

    return NetworkEntry(config=config, build=built, summary=summary)


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        "conv4": _network(
            conv4.Conv4Config, conv4.Conv4, "four 3 x 3 convolutions with batch norm, the few-shot network"
        ),
        "mlp": _network(mlp.MLPConfig, mlp.MLP, "fully connected, on flattened images"),
        "pooled-conv": _network(
            pooled_conv.PooledConvConfig, pooled_conv.PooledConv, "a small AlexNet for pictures of 32 pixels"
        ),
        "resnet": _network(resnet.ResNetConfig, resnet.ResNet, "a residual network of 18 or 50 layers"),
        "strided-conv": _network(
            strided_conv.StridedConvConfig,
            strided_conv.StridedConv,
            "strided convolutions and linear layers, of the replay papers",
        ),
        "vae": _network(
            vae.VAEConfig, vae.VAE, "a variational autoencoder with a decoder head per task, of the generative tasks"
        ),
    }
)
