"""A learned model: every replica of an experiment with its whole state. Knows no MLflow.

The folder (data only: safetensors and JSON; loading it runs no code from it)::

    spec.json                              the experiment, complete
    provenance.json                        data, versions, results
    model.json                             format, inputs of every replica, sha256 of every file; itself sealed
    uses/NAME.py                           the user's own modules it was made with, to be read; never imported
    replicas/KEY/state.safetensors         the learner's whole State
    replicas/KEY/masks.safetensors         its MaskSet, one bit per weight; absent for a method without masks
    replicas/KEY/domains.safetensors       a mask for each domain of its stream, where it decides what adapts to a task
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.algos.learner import KeepsTasks, Learner
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.networks.network import Network
from frisket.algos.parts.acting import parts
from frisket.algos.parts.tree import map_tensors
from frisket.algos.state_file import load_state, save_state
from frisket.envs.data import read_pictures
from frisket.errors import FileError, ModelError, RunError, SpecError, UserError
from frisket.files import read_json, write_json, write_text
from frisket.platform.model.index import domains_file, state_file, verified, write_index
from frisket.platform.model.tasks import INFER, choose_task, keeping_tasks, known_task, task_number
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import Inputs, build_learner, build_network
from frisket.platform.specs.experiment import Experiment, Replica, from_dict
from frisket.platform.specs.uses import Use
from frisket.types import State, Task

_SPEC, _PROVENANCE = "spec.json", "provenance.json"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One replica of a model.

    Attributes:
        state: the learner's State at the end of its stream.
        inputs: what it takes and tells apart.
        domain_masks: of each of ``inputs.domains`` the weights that adapt to most of its tasks
            (`frisket.platform.protocols.decisions`); None for a method that does not decide it task by task.
    """

    state: State
    inputs: Inputs
    domain_masks: MaskStore | None = None


class FrisketModel:
    """All replicas of one experiment, ready to predict and to go on learning.

    Args:
        experiment: the specification.
        members: every replica of it.
        provenance: which data and versions made it, and its results.

    >>> model = frisket.load_model("models:/demo/1")                    # doctest: +SKIP
    >>> probabilities = model.predict(x)                                # doctest: +SKIP
    >>> state, metrics = model.learner.observe(model.state(), batch)    # doctest: +SKIP
    """

    def __init__(
        self, experiment: Experiment, members: Mapping[Replica, Member], provenance: Mapping[str, Any]
    ) -> None:
        self.experiment, self.provenance = experiment, dict(provenance)
        self._members = dict(members)

    @classmethod
    def load(cls, path: str | Path, *, uses: Sequence[Use] = ()) -> FrisketModel:
        """The model in the data folder ``path``.

        Args:
            path: what `write_model` wrote.
            uses: the modules its kinds come from, where they are not frisket's or an installed package's. A model never
                makes frisket import anything by itself.

        Raises:
            ModelError: it is missing, damaged or foreign, or made with a module that was not passed.
        """
        path = Path(path)
        with _damage(path):
            index = verified(path, [_SPEC, _PROVENANCE])
            experiment = _experiment(read_json(path / _SPEC), uses)
            members = {}
            for replica in experiment.replicas():
                state, domains = load_state(path / state_file(replica.key))[0], domains_file(replica.key)
                masks = MaskStore.load(path / domains) if domains in index.files else None
                members[replica] = Member(state=state, inputs=index.inputs[replica.key], domain_masks=masks)
            return cls(experiment, members, read_json(path / _PROVENANCE))

    @classmethod
    def of_run(cls, folder: RunFolder) -> FrisketModel:
        """The model a finished run made. Raises `ModelError` while the run is unfinished."""
        _require_done(folder)
        with _damage(folder.path):
            members = {r: _member(folder, r) for r in folder.experiment.replicas()}
            return cls(folder.experiment, members, provenance(folder))

    @property
    def seeds(self) -> list[int]:
        """Seeds there are."""
        return list(range(self.experiment.seeds))

    @property
    def variants(self) -> list[str]:
        """Labels of the variants, the headline first; empty for a plain experiment."""
        return list(self.experiment.variants)

    @cached_property
    def learner(self) -> Learner:
        """The headline's learner (its method and network; the weights are in `state`)."""
        return self.learner_of()

    def learner_of(self, variant: str | None = None) -> Learner:
        """The learner of ``variant``; None for the headline."""
        member = self.member(variant=variant)
        return build_learner(self.experiment.variant(variant), member.inputs)

    def member(self, seed: int | None = None, variant: str | None = None) -> Member:
        """One replica; by default the first seed of the headline. Raises `ModelError` for one there is not."""
        if variant is not None and variant not in self.variants:
            raise ModelError("variant", variant, f"one of: {', '.join(self.variants) or '(this model has none)'}")
        if seed is not None and seed not in self.seeds:
            raise ModelError("seed", seed, f"one of: {', '.join(map(str, self.seeds))}")
        return self._members[Replica(variant=variant or self.experiment.headline_label, seed=seed or 0)]

    def state(self, seed: int | None = None, variant: str | None = None) -> State:
        """A copy of a replica's State, the caller's to go on with."""
        return map_tensors(torch.clone, self.member(seed, variant).state)

    def classes(self, seed: int | None = None, variant: str | None = None) -> tuple[str, ...]:
        """Name of each label, in the order of `predict`'s columns; empty where a label means another class in another
        task.

        >>> [model.classes()[i] for i in model.predict(x).argmax(1)]        # doctest: +SKIP
        ['rose', 'tulip']
        """
        return self.member(seed, variant).inputs.names

    def read(self, paths: Sequence[str | Path], seed: int | None = None, variant: str | None = None) -> Tensor:
        """Picture files as `predict` takes them, read as those of an own folder are (`frisket.envs.data.own_pictures`):
        ``[N, C, size, size]`` in [0, 1], of the size and colours the replica learned from.

        Raises:
            ModelError: the replica learned from no pictures, grey or RGB.
            DataError: a file that is no picture.
        """
        if isinstance(paths, (str, Path)):
            raise ModelError("paths", str(paths), "must be a list, of one file or more")
        channels, size, _ = shape = self.member(seed, variant).inputs.shape
        if size == 1 or channels not in (1, 3):
            raise ModelError("model", self.experiment.name, f"takes inputs of shape {shape}, which are no pictures")
        return torch.from_numpy(read_pictures(paths, size, "rgb" if channels == 3 else "grey")).float().div_(255)

    @property
    def outputs(self) -> int:
        """Numbers that `predict` gives for one input: labels, the pixels of a generative model, or an action's."""
        inputs = self.member().inputs
        return math.prod(inputs.shape) if self._network().generates else inputs.actions or inputs.ways

    def _network(self, variant: str | None = None) -> Network:
        return build_network(self.experiment.variant(variant), self.member(variant=variant).inputs)

    def masks(
        self, seed: int | None = None, variant: str | None = None, task: int | None = None, domain: str | None = None
    ) -> MaskSet:
        """A replica's masks, empty for a method without masks; or those task number ``task`` answers with; or, of a
        method that decides task by task what adapts, those that most tasks of ``domain`` are adapted with.

        Raises:
            ModelError: no such replica, task or domain.
        """
        if domain is not None:
            if task is not None:
                raise ModelError("task", task, "leave it out where a domain's masks are asked for")
            return self._domain_masks(self.member(seed, variant), domain)
        if task is None:
            return self.learner_of(variant).masks(self.member(seed, variant).state)
        store = keeping_tasks(self.learner_of(variant)).tasks(self.member(seed, variant).state).store
        return store[task_number(task, len(store), None)]

    def _domain_masks(self, member: Member, domain: str) -> MaskSet:
        store, domains = member.domain_masks, member.inputs.domains
        if store is None:
            fix = "has no masks of domains; leave the domain out, or take a model of bmp or mmsup"
            raise ModelError("model", self.experiment.name, fix)
        if domain not in domains or len(domains) != len(store):
            raise ModelError("domain", domain, f"must be one of: {', '.join(domains)}")
        return store[domains.index(domain)]

    @property
    def has_tasks(self) -> bool:
        """Whether the method, or that of a variant, keeps a mask for each task."""
        return any(isinstance(self.learner_of(label), KeepsTasks) for label in self.experiment.plans)

    def store(self, seed: int | None = None, variant: str | None = None) -> MaskStore | None:
        """The masks of a replica's tasks; None for a method that keeps none for each task.

        Raises:
            MaskError: they are of another network's shape.
        """
        learner = self.learner_of(variant)
        return learner.tasks(self.member(seed, variant).state).store if isinstance(learner, KeepsTasks) else None

    def task(
        self, x: np.ndarray | Tensor, task: int | str | Task | None = INFER, seed: int | None = None,
        variant: str | None = None, form: str = "exhaustive",
    ) -> int:  # fmt: skip
        """The number of the task that `predict` answers ``x`` as; arguments and errors are its own.

        >>> model.task(x)                                                   # doctest: +SKIP
        3
        """
        state = self.member(seed, variant).state
        return choose_task(keeping_tasks(self.learner_of(variant)), state, self._inputs(x, seed, variant), task, form)

    def predict(
        self, x: np.ndarray | Tensor, seed: int | None = None, variant: str | None = None,
        task: int | str | Task | None = None, form: str = "exhaustive",
    ) -> np.ndarray:  # fmt: skip
        """Class probabilities of ``x``; of a generative model, its reconstruction; of one that acts, the action.

        Args:
            x: inputs ``[N, C, H, W]``, scaled as the stream scales them; D features also as ``[N, D]``. They are
                judged together: where a network uses the batch's own statistics, a picture's answer depends on its
                neighbours.
            seed: which seed; None for the first.
            variant: which variant; None for the headline.
            task: for a method that keeps a mask for each task, its number, 0 .. T - 1, or ``infer``: the one that the
                whole of ``x`` seems to come from (`task` tells which). None will do if there is only one. Other methods
                that must be told the task take a `Task`.
            form: how a task is inferred: ``one_shot``, ``binary`` or ``exhaustive``
                (`frisket.algos.parts.inference`).

        Returns:
            ``[N, ways]`` float32: the softmax, averaged over Monte-Carlo samples where the method draws them. Of a
            generative model ``[N, C H W]``, the means of the pixels. Of one that acts ``[N, A]``, the action at the
            mean, in [-1, 1].

        Raises:
            ModelError: ``x`` has another shape, there is no such replica, task or form, the task must be named, or the
                model has never learned.
        """
        learner, state = self.learner_of(variant), self.member(seed, variant).state
        inputs = self._inputs(x, seed, variant)
        with torch.no_grad():
            if isinstance(learner, KeepsTasks):
                logits = learner.tasks(state).answer(choose_task(learner, state, inputs, task, form), inputs)
            elif task is None or isinstance(task, Task):
                logits = learner.predict(state, inputs, task)
            elif learner.capabilities.acts:
                ways = self.member(seed, variant).inputs.ways
                logits = learner.predict(state, inputs, known_task(learner, state, task, ways))
            else:
                raise ModelError("task", task, f"{self.experiment.name} keeps no mask for each task; leave it out")
        if logits is None:
            raise ModelError("model", self.experiment.name, "has not learned from a single batch yet")
        if learner.capabilities.acts:
            return parts(logits)[0].tanh().numpy()
        probabilities = self._network(variant).probabilities(logits)
        return (probabilities.mean(0) if probabilities.dim() == 3 else probabilities).numpy()

    def _inputs(self, x: np.ndarray | Tensor, seed: int | None, variant: str | None) -> Tensor:
        """``x`` as the networks take it."""
        shape = self.member(seed, variant).inputs.shape
        wanted = f"must have shape (N, {', '.join(map(str, shape))})"
        try:
            inputs = torch.as_tensor(x, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:  # text, or lists that are no array
            raise ModelError("x", type(x).__name__, f"{wanted}, of numbers") from error
        if inputs.dim() == 2 and shape[1:] == (1, 1):
            inputs = inputs[:, :, None, None]
        if inputs.dim() != 4 or tuple(inputs.shape[1:]) != shape:
            raise ModelError("x", tuple(inputs.shape), wanted)
        return inputs


def write_model(folder: RunFolder, path: Path) -> None:
    """Write the finished run ``folder`` as a model's data folder ``path``."""
    _require_done(folder)
    replicas = {}
    for replica in folder.experiment.replicas():
        member, source, target = _member(folder, replica), folder.replica(replica), path / "replicas" / replica.key
        target.mkdir(parents=True)
        save_state(path / state_file(replica.key), member.state, {})
        if (masks := source.mask_set) is not None:
            masks.save(target / source.masks.name)
        if (by_domain := member.domain_masks) is not None:
            by_domain.save(path / domains_file(replica.key))
        replicas[replica.key] = member.inputs.as_dict()
    for use in folder.experiment.uses:
        if use.text is not None:  # to be read by people; loading a model imports nothing
            (path / "uses").mkdir(exist_ok=True)
            write_text(path / "uses" / use.name, use.text)
    write_json(path / _SPEC, folder.experiment.as_dict())
    write_json(path / _PROVENANCE, provenance(folder))
    write_index(path, replicas)


def require_passed(notes: object, uses: Sequence[Use]) -> None:
    """Raise `ModelError` unless ``uses`` has every module that ``notes``, a model's or a run's, were made with."""
    passed = {use.name for use in uses}
    for note in notes if isinstance(notes, list) else []:
        name, digest = (note.get("name"), note.get("sha256")) if isinstance(note, dict) else (note, None)
        if name not in passed:
            fix = f"what it was made with is not imported unasked; pass it: --uses {name}, in Python uses=[{name!r}]"
            if digest is None or not str(name).endswith(".py"):
                fix += ", or the class itself if it is in no file"
            raise ModelError("uses", name, fix if digest is None else f"{fix} (sha256 {digest})")


def _experiment(raw: dict[str, Any], uses: Sequence[Use]) -> Experiment:
    """A model's specification; only what is passed is imported."""
    notes = raw.get("uses", [])
    if not isinstance(notes, list) or not all(isinstance(note, dict) for note in notes):
        raise ModelError("uses", notes, "is not what frisket notes of a model's modules; the model is damaged")
    try:
        experiment = from_dict(raw, passed=uses)
    except SpecError as error:
        if error.field.endswith(".kind"):
            require_passed(notes, uses)
        raise
    known = {note["name"]: note.get("sha256") for note in notes}
    for use in uses:
        if use.name in known and use.sha256 != known[use.name]:
            said = f"{use.name} is not the text this model was made with (sha256 {known[use.name]})"
            warnings.warn(f"{said}; it may answer otherwise", stacklevel=4)
    return experiment


def provenance(folder: RunFolder) -> dict[str, Any]:
    """Which data and versions made the run, and its results."""
    kept = ("run_id", "spec", "data_mode", "data", "frisket", "git", "created", "point")
    return {**{k: folder.manifest[k] for k in kept if k in folder.manifest}, "results": folder.results()}


def _member(folder: RunFolder, replica: Replica) -> Member:
    files = folder.replica(replica)
    result = files.result
    if result is None:
        raise ModelError("run", folder.run_id, f"replica {replica.key} has no result")
    return Member(state=files.state, inputs=Inputs.from_dict(result["input"]), domain_masks=files.domain_masks)


def _require_done(folder: RunFolder) -> None:
    if not folder.done:
        raise ModelError(
            "run", folder.run_id, f"is not finished; finish it with `frisket {folder.verb} --resume {folder.run_id}`"
        )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign folder provokes into a `ModelError`."""
    from safetensors import SafetensorError

    try:
        yield
    except ModelError:
        raise
    except RunError as error:  # of a file of a run's, which it names
        raise ModelError("model", str(path), f"cannot be made of this run: {error}") from error
    except FileError as error:
        raise ModelError("model", str(path), f"{Path(str(error.value)).name} {error.fix}; fetch it again") from error
    except UserError as error:
        raise ModelError("model", str(path), f"its specification does not fit this frisket: {error}") from error
    except FileNotFoundError as error:
        raise ModelError(
            "model", str(path), f"not a complete frisket model: {error.filename or error} is missing"
        ) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("model", str(path), f"damaged ({type(error).__name__}: {error}); fetch it again") from error
