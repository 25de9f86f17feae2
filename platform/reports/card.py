"""The model card: what a version is, in Markdown, for its page in the registry. Imports no MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from frisket.platform.reports.capacity import CAPACITY, headline_keeps_tasks
from frisket.platform.reports.figure import Picture
from frisket.platform.reports.figures import PICTURES
from frisket.platform.reports.masks import mask_pictures, masked
from frisket.platform.reports.search import SEARCHES
from frisket.platform.run.aggregate import interval_text, seeds_text, spread_of, spread_text
from frisket.platform.run.collapse import collapses
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.points import PointFolder
from frisket.platform.run.summary import summarise
from frisket.platform.specs.experiment import Experiment

LIMIT = 5000  # characters a registry's database keeps of a description
APART = "\u2007\u2007\u2060"
"""Two spaces as wide as a digit, at the end of a table's cell, where MLflow's page leaves no room; they break no line,
and behind the joiner, which has no width, they are not stripped as the end of a line would be."""
_WHICH_TASK = (
    "Every task has a mask of its own, and the model must be told which task x comes from, by its number or "
    '`"infer"`: the one that the whole of x seems to come from. `model.task(x)`, or `"return_task": True` in `params`, '
    "says which. "
)


_JUDGED = "x is float32 [N, C, H, W], judged as one batch. "
_ACTS = (
    "x are observations, float32 [N, D]; an answer is the action at the mean, numbers in [-1, 1]. The model must be "
    "told which task it acts in, by its number. "
)
_WHOSE_CODE = "The folder holds safetensors and JSON only, and `frisket.load_model` runs no code from it."
_PYFUNC = (
    " `mlflow.pyfunc.load_model` runs code by MLflow's own rules (what the file `MLmodel` names as `loader_module`, "
    "and a folder `code`): use it on folders that nobody else could have changed."
)


def card(folder: RunFolder, experiment_id: str, run_id: str, name: str, version: str) -> str:
    """The card of version ``version`` of model ``name``, made by the finished run ``folder``.

    Pictures and links are relative to the page, so they also work where MLflow lies behind a path prefix.

    Args:
        folder: the run.
        experiment_id, run_id: its experiment and parent run in MLflow.
        name, version: the version's own.
    """
    what, results, *rest = _body(folder, experiment_id, run_id)
    return _fit([what, results, _loading(folder, name, version), *rest])


def note(folder: RunFolder, experiment_id: str, run_id: str) -> str:
    """The same for the run's page: no version to load."""
    return _fit(_body(folder, experiment_id, run_id))


def _fit(sections: list[str]) -> str:
    """As many whole ``sections``, from the first, as a description can hold."""
    text = ""
    for section in sections:
        if len(text) + len(section) + 2 <= LIMIT:
            text += section + "\n\n"
    return text.strip()


def _body(folder: RunFolder, experiment_id: str, run_id: str) -> list[str]:
    """Sections on a run, or on the best point of a search."""
    summary = summarise(folder)
    return [
        _what(folder, summary) + _diverged(folder, summary) + _collapsed(folder),
        _results(folder.experiment, summary),
        _whole(experiment_id, run_id),
        *_search(folder, run_id),
        *_tasks(folder, run_id),
        *_masks(folder, experiment_id, run_id),
        *(_image(picture, run_id) for picture in PICTURES if picture is not CAPACITY and picture.applies(folder)),
        _data(folder),
        *_classes(folder),
        *(_sparsity(label, rows) for label, rows in _sparsities(folder).items()),
    ]


def _what(folder: RunFolder, summary: Mapping[str, Any]) -> str:
    """What was learned and how. The title is what MLflow's list of a model's versions shows, its first 32
    characters as they are: the headline's result, underlined, since a "#" would be shown too."""
    experiment, manifest = folder.experiment, folder.manifest
    result = _groups(experiment, summary)[0][1].get(experiment.metric)
    said = "" if result is None else f"{experiment.metric} {result['mean']:.3f}, "
    title = f"{said}{folder.learned_from}"
    stream = experiment.stream
    methods = "; ".join(
        f"{'**' if i == 0 else ''}{label or learner.kind}{'**' if i == 0 else ''}: {learner.row.summary}"
        for i, (label, learner) in enumerate((k, plan.learner) for k, plan in experiment.plans.items())
    )
    network = ", ".join(f"{k} = {v}" for k, v in experiment.network.as_dict().items() if k != "kind")
    warning = (
        "" if manifest["data_mode"] == "real"
        else " That is stand-in data: the numbers do not compare with published ones."
    )  # fmt: skip
    return (
        f"{title}\n{'=' * len(title)}\n\n"
        f"`{manifest['spec']}`: {methods}. Learned on the stream {stream.kind} ({stream.row.in_words(stream.config)}), "
        f"network {experiment.network.kind} ({network}), {seeds_text(experiment.seeds)}, "
        f"on **{folder.learned_from}**{f' ({names})' if (names := ', '.join(_names(folder))) else ''}.{warning}"
    )


def _whole(experiment_id: str, run_id: str) -> str:
    """A page cuts off what is wider than itself, and lets nobody say how wide a picture is to be."""
    return f"[The pictures, for a narrow window](#/experiments/{experiment_id}/runs/{run_id}/artifacts/figures)"


def _search(folder: RunFolder, run_id: str) -> list[str]:
    """Which point of which search a `PointFolder` is, and the picture of the search; nothing on any other run."""
    if not isinstance(folder, PointFolder):
        return []
    search, experiment = folder.search.experiment.tune, folder.search.experiment
    assert search is not None
    values = ", ".join(f"`{axis}` = {value}" for axis, value in folder.point.values.items())
    text = (
        f"## Search\n\nBest by {experiment.metric} ({search.mode}) of the {len(experiment.variants)} points of a "
        f"{search.search} search: {values}. All points are in the run's `summary.json`."
    )
    return [text, *(_image(picture, run_id) for picture in SEARCHES if picture.applies(folder.search))]


def _groups(experiment: Experiment, summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The metrics of every variant, the headline's first."""
    return list((summary.get("variants") or {experiment.learner.kind: summary["summary"]}).items())


def _results(experiment: Experiment, summary: Mapping[str, Any]) -> str:
    """Every metric; a published number beside it, in a column that is there only where one is."""
    groups, published = _groups(experiment, summary), experiment.published
    against = published.metrics if published else {}
    beside = any(metric in against for metric in groups[0][1])
    between = any("low" in row for _, rows in groups for row in rows.values())
    head = ["variant", "metric", "mean", "std", *["90 % interval"] * between, "n", *["published"] * beside]
    lines = []
    for i, (label, rows) in enumerate(groups):
        lines += [["&nbsp;", *[""] * (len(head) - 1)]] if i else []  # a line between two variants
        for metric, row in rows.items():
            spread = spread_of(row["std"], row["n"])
            std = "" if spread is None else f"{spread:.4f}"
            said = [_said(against.get(metric) if i == 0 else None, published.n if published else None)] * beside
            interval = [interval_text(row, form=".4f")] * between
            lines.append([label, metric, f"{row['mean']:.4f}", std, *interval, str(row["n"]), *said])
    several = any(row["n"] > 1 for _, rows in groups for row in rows.values())
    notes = ["std is the population standard deviation over the n seeds." if several else "One seed: no spread."]
    if published:
        seeds = f" ({published.n} seeds)" if published.n else ""
        notes.append(f"Published: {published.source}{seeds}, real data, full scale.")
        if published.searched:
            notes.append(f"Not its settings, but searched: {', '.join(published.searched)}.")
    return f"## Results\n\n{_table(head, lines, numbers=2)}\n\n{' '.join(notes)}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> str:
    """``rows`` below ``head``; the columns from ``numbers`` on are aligned to the right."""
    rule = "|" + "".join("---|" if i < numbers else "---:|" for i in range(len(head)))
    first, *others = (f"| {f'{APART} | '.join(line)} |" for line in (head, *rows))
    return "\n".join([first, rule, *others])


def _diverged(folder: RunFolder, summary: Mapping[str, Any]) -> str:
    """How many replicas have diverged; empty where none has."""
    lost: Mapping[str, int] = summary.get("diverged", {})
    if not lost:
        return ""
    every = isinstance(folder, PointFolder) and len(lost) == len(folder.replicas())
    why = " So did every finished point of the search." if every else ""
    return (
        f"\n\n**{len(lost)} of {len(folder.replicas())} replicas diverged**: from some step on their loss "
        f"or their answers are no finite numbers and say nothing of the method.{why}"
    )


def _collapsed(folder: RunFolder) -> str:
    """Of how many replicas the masks have collapsed, and the numbers of the one that is furthest from it; empty where
    none have."""
    found = collapses(folder.results())
    if not found:
        return ""
    key, furthest = max(found.items(), key=lambda one: one[1].apart)
    of_all = f"**Mask collapsed in {len(found)} of {len(folder.replicas())} replicas**"
    return f"\n\n{of_all}: all domains are adapted to alike. {key}: {furthest.text()}."


def _said(published: Mapping[str, float] | None, n: int | None) -> str:
    if published is None:
        return ""
    return spread_text(published["mean"], published.get("std"), n)


def _loading(folder: RunFolder, name: str, version: str) -> str:
    label = folder.experiment.headline_label
    variant = "" if label is None else f', variant="{label}"'
    tasks = headline_keeps_tasks(folder)
    acts = any(result["input"].get("actions") for result in folder.results())
    named = "names = [model.classes()[i] for i in probabilities.argmax(1)]\n" if _classes(folder) else ""
    task, params = (", task=0", '"seed": 0, "task": 0') if tasks else ("", '"seed": 0')
    uses = [use.name for use in folder.experiment.uses]
    passed = f", uses={uses!r}" if uses else ""
    served = (
        f'import mlflow\n\nmlflow.pyfunc.load_model("models:/{name}/{version}").predict(x, params={{{params}}})\n'
        if not uses
        else f"# It was made with {', '.join(uses)}, which is in data/uses to be read; nothing imports it unasked.\n"
    )
    return (
        "## Load it\n\n```python\n"
        "import frisket\n\n"
        f'model = frisket.load_model("models:/{name}/{version}"{passed})\n'
        f"{'actions' if acts else 'probabilities'} = model.predict(x, seed=0{variant}{task})\n"
        f"{named}{_masks_line(folder)}\n{served}```\n\n"
        f"{_ACTS if acts else (_WHICH_TASK if tasks else '') + _JUDGED}"
        f"{_WHOSE_CODE}{'' if uses else _PYFUNC}"
    )


def _masks_line(folder: RunFolder) -> str:
    """The masks of the first variant that has any: the headline's, where it has; nothing where none has."""
    labels = list(masked(folder))
    if not labels:
        return ""
    variant = f', variant="{labels[0]}"' if folder.experiment.variants else ""
    return f"masks = model.masks(seed=0{variant})\n"


def _tasks(folder: RunFolder, run_id: str) -> list[str]:
    """What the tasks' masks take; nothing for methods without them."""
    if not CAPACITY.applies(folder):
        return []
    return [f"## Tasks\n\n{_image(CAPACITY, run_id)}\n\nIn numbers: `figures/capacity.json` of the run."]


def _masks(folder: RunFolder, experiment_id: str, run_id: str) -> list[str]:
    sections = []
    for picture in mask_pictures(folder):
        if picture.applies(folder):
            page = quote(picture.name.replace(".png", ".html"))
            link = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/figures/{page}"
            report = f"[Mask report, tensor by tensor]({link})"
            sections.append(f"## {picture.shows.capitalize()}\n\n{_image(picture, run_id)}\n\n{report}")
    return sections


def _sparsity(label: str, rows: Mapping[str, list[float]]) -> str:
    lines = [[name, f"{sum(values) / len(values):.1%}"] for name, values in rows.items()]
    closed = "closed (mean over seeds)" if any(len(values) > 1 for values in rows.values()) else "closed"
    return f"## Sparsity of {label}\n\n{_table(['tensor', closed], lines, numbers=1)}"


def _sparsities(folder: RunFolder) -> dict[str, dict[str, list[float]]]:
    """Variant with masks to tensor (or ``overall``) to its sparsity per seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for label, files in folder.by_variant().items():
        for result in (f.result for f in files):
            for name, value in (result or {}).get("sparsity", {}).items():
                found.setdefault(label, {}).setdefault(name, []).append(value)
    return found


def _data(folder: RunFolder) -> str:
    manifest = folder.manifest
    rows = [
        [name, _cell(row.get("source")), _cell(row.get("licence"))]
        for name, row in zip(_names(folder), manifest["data"].values(), strict=True)
    ]
    made = f"frisket {manifest['frisket']}, git {manifest['git'] or 'unknown'}, run `{folder.run_id}`."
    return f"## Data\n\n{_table(['data set', 'source', 'licence'], rows, numbers=3)}\n\n{made}"


def _classes(folder: RunFolder) -> list[str]:
    """The labels by name, in the order of a model's outputs; nothing where labels have none that lasts."""
    orders = [result.get("input", {}).get("names", []) for result in folder.results()]
    if not orders or not orders[0]:
        return []
    same = all(order == orders[0] for order in orders)
    said = "" if same else " of the first replica; `model.classes(seed, variant)` tells the others'"
    return [f"## Classes\n\nIn the order of the outputs{said}: {', '.join(map(_cell, orders[0]))}."]


def _names(folder: RunFolder) -> list[str]:
    return [row.get("name", domain) for domain, row in folder.manifest["data"].items()]


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "/").split())


def _image(picture: Picture[Any], run_id: str) -> str:
    return f"![{picture.shows}]({_artifact(f'figures/{picture.name}', run_id)})"


def _artifact(path: str, run_id: str) -> str:
    return f"get-artifact?path={quote(path, safe='')}&run_uuid={run_id}"
