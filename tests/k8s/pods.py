"""The pods that manifests ask for, and which of them the network policies let talk to each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kustomize import Manifest


@dataclass(frozen=True)
class Pod:
    """A pod template. Attributes: name: ``ray-head``, ``gpu``, ``mlflow``, ...; owner: the object it is part of."""

    name: str
    owner: Manifest
    labels: dict[str, str]
    spec: dict[str, Any]
    namespace: str

    @property
    def container(self) -> dict[str, Any]:
        """Its only container."""
        (only,) = self.spec["containers"]
        return only

    @property
    def ports(self) -> dict[str, int]:
        """Named ports of the container."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    """The objects of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """One object."""
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found


def pods(manifests: Sequence[Manifest]) -> Iterator[Pod]:
    """Every pod template."""
    for manifest in manifests:
        for name, template in _templates(manifest):
            metadata = template["metadata"]
            yield Pod(name, manifest, metadata["labels"], template["spec"], manifest["metadata"]["namespace"])


def _templates(manifest: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind in ("Deployment", "StatefulSet"):
        yield manifest["metadata"]["name"], spec["template"]
    elif kind == "RayCluster":
        yield "ray-head", spec["headGroupSpec"]["template"]
        for group in spec["workerGroupSpecs"]:
            yield group["groupName"], group["template"]
    elif kind == "CronJob":
        yield manifest["metadata"]["name"], spec["jobTemplate"]["spec"]["template"]
    elif kind == "RayJob":
        yield "ray-submitter", spec["submitterPodTemplate"]


def everything(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in ``tree``."""
    if isinstance(tree, dict):
        yield tree
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from everything(item)


def secrets(manifests: Sequence[Manifest]) -> set[tuple[str, str]]:
    """Names and keys of the Secrets that are referred to; the key of Ray's token is KubeRay's own."""
    found = {
        (m["secretKeyRef"]["name"], m["secretKeyRef"]["key"]) for m in everything(manifests) if "secretKeyRef" in m
    }
    return found | {(m["secretName"], "auth_token") for m in everything(manifests) if m.get("mode") == "token"}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector fits; the empty one fits everything."""
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"  # the only one in use
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def reaches_address(manifests: Sequence[Manifest], source: Pod, address: str, port: int) -> bool:
    """Whether the network policies let ``source`` open a TCP connection to ``port`` of what is no pod of ours."""
    return any(
        _port_matches(rule, port) and any(_is_in(address, peer) for peer in rule.get("to", [{}]))
        for rule in _rules(manifests, "egress", source)
    )


def reaches(manifests: Sequence[Manifest], source: Pod, target: Pod, port: int) -> bool:
    """Whether the network policies let ``source`` open a TCP connection to ``port`` of ``target``, both in their
    namespace: one rule must let it out, one must let it in."""
    return _open(manifests, "egress", source, target, port) and _open(manifests, "ingress", target, source, port)


def _open(manifests: Sequence[Manifest], way: str, mine: Pod, other: Pod, port: int) -> bool:
    return any(_matches(rule, way, other, port) for rule in _rules(manifests, way, mine))


def _rules(manifests: Sequence[Manifest], way: str, mine: Pod) -> list[dict[str, Any]]:
    """The rules that say what ``mine`` may; without any policy for it, the one that allows everything."""
    policies = [
        p["spec"] for p in of_kind(manifests, "NetworkPolicy") if selects(p["spec"]["podSelector"], mine.labels)
    ]
    policies = [policy for policy in policies if way.capitalize() in policy["policyTypes"]]
    return [rule for policy in policies for rule in policy.get(way, ())] if policies else [{}]


def _matches(rule: dict[str, Any], way: str, other: Pod, port: int) -> bool:
    peers = rule.get("to" if way == "egress" else "from")
    if not _port_matches(rule, port):
        return False
    # A peer with a namespaceSelector is in another namespace, one with an ipBlock is no pod: nothing of ours.
    return peers is None or any(
        "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], other.labels)
        for peer in peers
    )


def _port_matches(rule: dict[str, Any], port: int) -> bool:
    return "ports" not in rule or any(p["protocol"] == "TCP" and p["port"] == port for p in rule["ports"])


def _is_in(address: str, peer: dict[str, Any]) -> bool:
    """Whether a peer of a rule is a block with that address, or everything there is."""
    if not peer:
        return True
    return "ipBlock" in peer and ipaddress.ip_address(address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
