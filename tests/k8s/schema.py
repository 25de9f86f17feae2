"""Whether Kubernetes and KubeRay v1.7.0 would know every field of a manifest. Offline.

Core kinds: the strict schemas of Kubernetes 1.37 inside the package `kubernetes-validate`. RayCluster and RayJob: the
custom resource definitions in schemas/. An API server drops fields these do not name without a word; here every object
with named properties is closed, so such a field is an error. Not covered: rules in CEL, admission webhooks, and what
KubeRay's operator refuses by itself.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from kustomize import LOADER, Manifest

KUBERNETES = "1.37"
_SCHEMAS = Path(__file__).parent / "schemas"


def problems(manifest: Manifest) -> list[str]:
    """What is wrong with ``manifest``, each as ``place: message``; empty if nothing is."""
    if "apiVersion" not in manifest or "kind" not in manifest:
        return ["apiVersion and kind are required"]
    if manifest["apiVersion"] == "ray.io/v1":
        return _ray_problems(manifest) + _core_problems(_carrier(manifest.get("metadata")))
    return _core_problems(manifest)


def _core_problems(manifest: Manifest) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return [f"Kubernetes {KUBERNETES} has no {manifest['kind']} in {manifest['apiVersion']}"]
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    return []


def _carrier(metadata: object) -> Manifest:
    """A core object with ``metadata``, of which a custom resource definition says nothing."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def _ray_problems(manifest: Manifest) -> list[str]:
    file = _SCHEMAS / f"kuberay-v1.7.0-ray.io_{manifest['kind'].lower()}s.yaml"
    if not file.is_file():
        return [f"KubeRay's definition of {manifest['kind']} is not in {_SCHEMAS.name}/"]
    errors = _validator(file).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in errors]


@functools.cache
def _validator(definition: Path) -> Draft202012Validator:
    crd = yaml.load(definition.read_text(encoding="utf-8"), Loader=LOADER)
    (version,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return Draft202012Validator(closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """``schema`` (OpenAPI v3, as in a custom resource definition) as a JSON schema that refuses unnamed fields."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        if "pattern" in result:  # of the string form
            result["anyOf"] = [{"type": "integer"}, {"type": "string", "pattern": result.pop("pattern")}]
    return result
