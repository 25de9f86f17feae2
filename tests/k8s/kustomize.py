"""What `kubectl kustomize` makes of a folder, for machines without kubectl.

Exactly the features that k8s/ and its documentation use: ``resources`` (files and folders), ``namespace``, ``images``
(newName, newTag, digest) and ``patches`` in JSON 6902 form (add, replace, remove, test) with a target of kind and name.
Anything else is refused, so that nothing is silently left out. A test holds it to kubectl's own output, wherever there
is a kubectl.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from frisket.errors import UserError

Manifest = dict[str, Any]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one, where PyYAML has it, is ten times as fast

_FIELDS = frozenset({"apiVersion", "kind", "resources", "namespace", "images", "patches"})


class KustomizeError(UserError):
    """A kustomization that cannot be rendered."""


def render(folder: Path) -> list[Manifest]:
    """The objects of the kustomization in ``folder``, resources in the order they are named.

    Raises:
        KustomizeError: something is missing, not understood, or a patch does not fit.
    """
    file = folder / "kustomization.yaml"
    if not file.is_file():
        raise KustomizeError("kustomization", str(file), "there is no such file")
    plan = yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)
    unknown = sorted(set(plan) - _FIELDS)
    if unknown:
        raise KustomizeError(f"{file}: {unknown[0]}", plan[unknown[0]], f"not understood; known: {sorted(_FIELDS)}")
    manifests = [manifest for name in plan.get("resources", ()) for manifest in _resource(folder / name)]
    for patch in plan.get("patches", ()):
        _patch(folder, patch, manifests)
    if "namespace" in plan:
        for manifest in manifests:
            # kustomize renames the Namespace object with the rest; it is the only kind here that is in no namespace.
            manifest["metadata"]["name" if manifest["kind"] == "Namespace" else "namespace"] = plan["namespace"]
    for rule in plan.get("images", ()):
        for container in containers(manifests):
            container["image"] = _renamed(container["image"], rule)
    return manifests


def containers(tree: object) -> Iterator[Manifest]:
    """Every container and init container anywhere in ``tree``, custom resources included."""
    if isinstance(tree, list):
        for item in tree:
            yield from containers(item)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("containers", "initContainers"):
                yield from value
            yield from containers(value)


def _resource(path: Path) -> list[Manifest]:
    if path.is_dir():
        return render(path)
    if not path.is_file():
        raise KustomizeError("resources", str(path), "is neither a file nor a folder")
    # Anchors make several places share one object; a patch means one place.
    return [_unshared(one) for one in yaml.load_all(path.read_text(encoding="utf-8"), Loader=LOADER) if one]


def _unshared(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _unshared(value) for key, value in tree.items()}
    return [_unshared(item) for item in tree] if isinstance(tree, list) else tree


def _renamed(image: str, rule: Manifest) -> str:
    unknown = set(rule) - {"name", "newName", "newTag", "digest"}
    if unknown:
        raise KustomizeError("images", rule, f"{sorted(unknown)[0]} is not understood")
    name, _, tag = image.partition("@")[0].partition(":")
    if name != rule["name"]:
        return image
    name = rule.get("newName", name)
    if "digest" in rule:
        return f"{name}@{rule['digest']}"
    return f"{name}:{rule.get('newTag', tag)}"


def _patch(folder: Path, patch: Manifest, manifests: Sequence[Manifest]) -> None:
    unknown = set(patch) - {"path", "patch", "target", "options"}
    target = patch.get("target", {})
    if unknown or set(target) != {"kind", "name"} or ("path" in patch) == ("patch" in patch):
        raise KustomizeError("patches", patch, "give a target of kind and name, and one of path and patch")
    text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text(encoding="utf-8")
    steps = yaml.load(text, Loader=LOADER)
    if not isinstance(steps, list):
        raise KustomizeError("patches", patch, "only JSON 6902 patches are understood: a list of op, path and value")
    meant = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (target["kind"], target["name"])]
    if not meant:
        raise KustomizeError("patches", target, "no such object among the resources")
    for manifest in meant:
        for step in steps:
            _step(manifest, step)


def _step(manifest: Manifest, step: Manifest) -> None:
    keys = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
    place: Any = manifest
    try:
        for key in keys[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        _OPERATIONS[step["op"]](place, keys[-1], step)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        where = posixpath.join(manifest["kind"], manifest["metadata"]["name"])
        raise KustomizeError(f"patch of {where}", step, f"does not fit ({error!r})") from None


def _add(place: Any, key: str, step: Manifest) -> None:
    value = copy.deepcopy(step["value"])
    if isinstance(place, list):
        place.insert(len(place) if key == "-" else int(key), value)
    else:
        place[key] = value


def _replace(place: Any, key: str, step: Manifest) -> None:
    _remove(place, key, step)
    _add(place, key, step)


def _remove(place: Any, key: str, step: Manifest) -> None:
    del place[int(key) if isinstance(place, list) else key]


def _test(place: Any, key: str, step: Manifest) -> None:
    found = place[int(key) if isinstance(place, list) else key]
    if found != step["value"]:
        raise ValueError(f"found {found!r}")


_OPERATIONS: dict[str, Callable[[Any, str, Manifest], None]] = {
    "add": _add, "replace": _replace, "remove": _remove, "test": _test,
}  # fmt: skip
