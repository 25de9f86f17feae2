"""EfficientPackNet: every task keeps the fewest weights that still do its work, older ones among them (PP21,
Algorithm 1; powerprop sheet, section 7).

Training, protection and retraining are those of `frisket.algos.learners.tasks.protecting`. When task t has been
trained on, its validation samples are scored with all weights, P, and with the largest weights alone, chosen among
*all* weights:

    F(s) = top-k of abs(phi) over all weights, k = floor(s M)
    F_t  = F(s) of the smallest s whose score P_s passes      P_s >= P - (1 - gamma) abs(P)

For scores above 0 that is ``P_s >= gamma P``; for negative ones (log-likelihoods) it still allows a loss and demands no
gain. Three searches for s:

* ``grid``: the fractions S from the largest to the smallest, until one fails; the last that passed. Where even the
  largest fails, its mask is taken and the metric ``violated`` is 1.
* ``binary``: halving [0, 1], ``evaluations`` times; all weights, and ``violated``, where none passes.
* ``taylor``: ``grid`` with P_s estimated to second order (`frisket.algos.learners.tasks.taylor`) in place of a
  validation run for each s, so only with ``score: log_likelihood``; accuracy has no derivative. The mask that is kept
  is scored in truth: ``sparse_score`` and ``violated`` are measured, ``estimated_score`` is what it was chosen by.

The paper's listing is followed in its intention: it ranks phi instead of abs(phi), and as printed keeps the last mask
that was *tested*, one too sparse; ``keep_last_tested`` does that too.

Symbols and arguments: gamma ``gamma``, S ``grid``. Scores of the validation samples, by ``score``:

* ``accuracy`` of their labels;
* ``log_likelihood``, minus the training loss: of a classifier the mean log-likelihood of the labels, of a network with
  latent variables the bound with one sample;
* ``importance``, of a network with latent variables the importance-sampled log-likelihood of the images, from
  ``score_samples`` samples (powerprop sheet, section 9).

What is random in a score is drawn once for a task and is the same for all masks.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task, TaskEnd
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = EfficientPackNet(EfficientPackNetConfig(gamma=0.0, grid=(0.25, 0.5)), network)
>>> x, y, task = torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), Task("first", (0, 1), start=0)
>>> end = TaskEnd(1, lambda i: Batch(x, y, i, task), lambda: (x, y))
>>> state, metrics = learner.observe(learner.init(seed=0), Batch(x, y, position=0, task=task, end=end))
>>> metrics["kept"], metrics["capacity_free"]
(0.25, 0.75)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.tasks.protecting import ProtectingConfig, ProtectingLearner
from frisket.algos.learners.tasks.taylor import expand
from frisket.algos.masks.ranking import Ranking
from frisket.algos.masks.search import Chosen, Room, Search
from frisket.algos.networks.latent import LatentNetwork
from frisket.algos.networks.network import Network, own_logits
from frisket.algos.networks.powerprop import masked
from frisket.errors import SpecError, require
from frisket.rng import torch_generator
from frisket.types import Params, State, TaskEnd

_AT_ONCE = 1000
"""Validation samples scored together."""


@dataclass(frozen=True, kw_only=True)
class EfficientPackNetConfig(Search, ProtectingConfig):
    """EfficientPackNet; further fields are those of `Search` and `ProtectingConfig`.

    Attributes:
        search: ``grid``, ``binary`` or ``taylor``.
        score: ``accuracy``, ``log_likelihood`` or ``importance``.
        score_samples: K of ``importance``.
    """

    search: Literal["grid", "binary", "taylor"] = "grid"  # pyright: ignore[reportIncompatibleVariableOverride]
    score: Literal["accuracy", "log_likelihood", "importance"] = "accuracy"
    score_samples: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_searchable()
        smooth = self.search != "taylor" or self.score == "log_likelihood"
        require(smooth, "score", self.score, "log_likelihood with search = taylor: accuracy has no derivative")
        require(self.score_samples >= 1, "score_samples", self.score_samples, "at least 1")


class EfficientPackNet(ProtectingLearner):
    """EfficientPackNet. State: that of `ProtectingLearner`."""

    config: EfficientPackNetConfig
    capabilities = Capabilities(needs_task=True, masks=True, ends_tasks=True, validates=True, generates=True)

    def __init__(self, config: EfficientPackNetConfig, network: Network) -> None:
        super().__init__(config, network)
        fits = config.score == "log_likelihood" or (config.score == "importance") == network.generates
        allowed = "importance or log_likelihood" if network.generates else "accuracy or log_likelihood"
        require(fits, "score", config.score, f"{allowed} with this network")
        labelled = config.search != "taylor" or not network.generates
        require(labelled, "search", config.search, "grid or binary with this network: the estimate is of labels")

    def choose(self, state: State, end: TaskEnd) -> Chosen:
        device = state["step"].device
        x, y = (t.to(device) for t in end.validation())
        if not len(y):
            raise SpecError("stream.validation", 0, "must keep samples back: masks are judged on them")
        theta = self.network.effective(state["theta"]).theta
        task = len(state["starts"])

        def score(weights: Params) -> float:
            return self.score(weights, x, y, seed=int(state["seed"]), task=task)

        dense = score(theta)
        ranking = Ranking({k: state["theta"][k] for k in self.maskable}, self.config.scope, self.network.head)

        expansion = None
        if self.config.search == "taylor":
            generator = torch_generator(int(state["seed"]), "taylor", task)
            expansion = expand(self.network.network, theta, self.maskable, x, y, generator)

        def masked_score(masks: Params) -> float:
            return dense - expansion.cost(masks) if expansion is not None else score(masked(theta, masks))

        kept, tried = self.config.fewest(ranking, dense, masked_score)
        found = {"dense_score": dense, "evaluations": float(tried)}
        if expansion is not None:
            found |= {"estimated_score": kept.score, "evaluations": 1.0}
            kept = self.config.judged(kept.masks, score(masked(theta, kept.masks)), dense)
        return Chosen(kept.masks, {**found, "sparse_score": kept.score, "violated": float(not kept.passes)})

    def score(self, theta: Params, x: Tensor, y: Tensor, *, seed: int = 0, task: int = 0) -> float:
        """The score of effective weights ``theta`` on ``x`` [n, C, H, W], ``y`` [n]; what is random in it comes from
        (``seed``, ``task``)."""
        network, total = self.network.network, 0.0
        for i, (some, labels) in enumerate(zip(x.split(_AT_ONCE), y.split(_AT_ONCE), strict=True)):
            if self.config.score == "accuracy":
                logits = own_logits(network(theta, some), labels, network.own)
                total += float((logits.argmax(-1) == labels).sum())
            elif self.config.score == "importance":
                assert isinstance(network, LatentNetwork)
                key = ("score", task, i)
                total += float(
                    network.log_likelihood(
                        theta, some, samples=self.config.score_samples, seed=seed, key=key
                    ).sum()
                )  # fmt: skip
            else:
                target = network.target(some, labels, seed, "score", task, i)
                total -= float(network.loss(theta, some, target)) * len(some)
        return total / len(y)

    def room(self, state: State) -> Room:
        return self.config.room()


METHODS = (
    Method(
        name="efficient-packnet",
        config=EfficientPackNetConfig,
        build=EfficientPackNet,
        summary="every task keeps the fewest weights that do its work, older ones among them",
        page="efficient-packnet",
        logged={
            "loss_before": "mean cross-entropy of the batch before learning from it",
            "dense_score": "at a task's end: P, with all weights",
            "sparse_score": "at a task's end: P_s of the mask that was kept",
            "estimated_score": "at a task's end, with `search: taylor`: the P_s by which the mask was chosen",
            "evaluations": "at a task's end: masks that were scored",
            "violated": "at a task's end: 1 where the mask that was kept does not pass, because none did",
            "kept": "at a task's end: fraction of the weights its mask keeps",
            "reused": "at a task's end: fraction of those that older tasks use too",
            "capacity_free": "at a task's end: fraction of the weights that no task uses",
        },
        quick={"lr": 0.01},
    ),
)
