"""A field that is misspelt, misplaced or of the wrong type is noticed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import check
import pytest
from kustomize import Manifest, render
from pods import named
from schema import problems

MANIFESTS = [*render(check.find("gpu")), *render(check.find("run"))]
FREE = frozenset({"labels", "matchLabels", "data", "rayStartParams", "requests", "limits", "clusterSelector"})

Way = tuple[str | int, ...]


def free(key: str, value: Any) -> bool:
    """Whether it is a map whose keys are ours to choose; a Service's selector is one, a Deployment's is not."""
    return key in FREE or (key == "selector" and all(isinstance(item, str) for item in value.values()))


def named_fields(tree: Any, path: Way = ()) -> Iterator[Way]:
    """Where in ``tree`` a key is one of the schema's names."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*path, key)
            if not free(key, value):
                yield from named_fields(value, (*path, key))
    elif isinstance(tree, list):
        for place, item in enumerate(tree):
            yield from named_fields(item, (*path, place))


def misspelt(manifest: Manifest, path: Way) -> Manifest:
    wrong = copy.deepcopy(manifest)
    place: Any = wrong
    for key in path[:-1]:
        place = place[key]
    place[f"{path[-1]}x"] = place.pop(path[-1])
    return wrong


def one_of_each_place() -> Iterator[tuple[Manifest, Way]]:
    """Fields of all manifests, those at the same place in lists or in objects of one kind only once."""
    seen = set()
    for manifest in MANIFESTS:
        for path in named_fields(manifest):
            place = (manifest["kind"], *(key for key in path if isinstance(key, str)))
            if place not in seen:
                seen.add(place)
                yield manifest, path


@pytest.mark.parametrize("kind", sorted({manifest["kind"] for manifest in MANIFESTS}))
def test_no_field_can_be_misspelt_unnoticed(kind: str) -> None:
    places = [(manifest, path) for manifest, path in one_of_each_place() if manifest["kind"] == kind]
    assert len(places) >= 5
    assert [path for manifest, path in places if not problems(misspelt(manifest, path))] == []


def head(manifest: Manifest) -> Any:
    return manifest["spec"]["headGroupSpec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("kind", "name", "change", "said"),
    [
        ("RayCluster", "frisket", lambda m: m["spec"].update(rayVersion=2.60), "rayVersion"),
        ("RayCluster", "frisket", lambda m: m["spec"]["authOptions"].update(mode="tokens"), "authOptions.mode"),
        ("RayCluster", "frisket", lambda m: m["spec"]["autoscalerOptions"].update(version="v3"), "version"),
        ("RayCluster", "frisket", lambda m: m["spec"]["workerGroupSpecs"][0].pop("groupName"), "groupName"),
        ("RayCluster", "frisket", lambda m: head(m).update(runAsNonRoot=True), "runAsNonRoot"),
        (
            "RayCluster", "frisket",
            lambda m: head(m)["containers"][0]["resources"]["limits"].update(memory="8 GB"), "limits.memory",
        ),
        ("RayCluster", "frisket", lambda m: m["spec"]["headGroupSpec"]["rayStartParams"].update(a=1), "rayStartParams"),
        ("RayCluster", "frisket", lambda m: m["metadata"].update(label={}), "label"),
        ("RayJob", "frisket-run", lambda m: m["spec"].update(backoffLimit="0"), "backoffLimit"),
        ("Service", "mlflow", lambda m: m["spec"]["ports"][0].update(port="5000"), "spec.ports.0.port"),
        ("Deployment", "mlflow", lambda m: m.update(apiVersion="apps/v2"), "apps/v2"),
        ("Deployment", "mlflow", lambda m: m.pop("kind"), "required"),
        ("RayJob", "frisket-run", lambda m: m.update(kind="RayService"), "RayService"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(kind: str, name: str, change: Callable[[Manifest], object], said: str) -> None:
    wrong = copy.deepcopy(named(MANIFESTS, kind, name))
    change(wrong)
    found = problems(wrong)
    assert len(found) >= 1
    assert said in " ".join(found)
