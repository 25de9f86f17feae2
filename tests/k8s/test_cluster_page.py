"""docs/cluster.md names commands, folders, images, secrets and sizes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import check
import pytest
from kustomize import containers, render
from pods import named, secrets

from frisket.platform.cli.main import app


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_commands_and_options_exist(page: str) -> None:
    import typer.main

    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    lines = re.findall(r"(?:^|`|-m |\S=\S+ )frisket ([a-z]+)([^`#\n]*)", page, re.M)
    assert len(lines) >= 8
    for verb, rest in lines:
        assert verb in commands, verb
        known = {option for parameter in commands[verb].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (verb, rest)


def test_folders_and_files_exist(page: str, checkout: Path) -> None:
    assert {f"k8s/{name}" for name in check.kustomizations()} | {"k8s/base"} <= set(re.findall(r"`(k8s/[\w/]+)`", page))
    for name in re.findall(r"(?:tests/)?\bk8s/[\w/]+(?:\.(?:py|yaml))?", page):
        assert (checkout / name).exists() or name.startswith(("k8s/overlays/mine", "k8s/hashes"))  # the reader's own


def test_images_secrets_and_versions(page: str) -> None:
    manifests = [m for name in ("gpu", "run") for m in render(check.find(name))]
    images = {c["image"] for c in containers(manifests) if c["image"].startswith("frisket:")}
    assert set(re.findall(r"frisket:\d[\w.-]+", page)) == images
    commands = re.findall(r"create secret generic (\S+)(.*)", page.replace("\\\n", ""))
    made = [(name, key) for name, rest in commands for key in re.findall(r"--from-file=(\w+)=", rest)]
    assert set(made) == secrets(manifests)
    assert len(made) == 5
    assert re.search(r"helm install \S+ kuberay/kuberay-operator --version 1\.7\.0 .*--namespace kuberay-system", page)
    (peer,) = named(manifests, "NetworkPolicy", "ray-head")["spec"]["ingress"][0]["from"][1:]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kuberay-system"}


def test_sizes_in_the_table(page: str) -> None:
    groups = {
        g["groupName"]: g for g in named(render(check.find("gpu")), "RayCluster", "frisket")["spec"]["workerGroupSpecs"]
    }
    cpu, gpu = groups["cpu"], groups["gpu"]
    cpus = cpu["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    assert f"CPU workers, {cpu['minReplicas']} to {cpu['maxReplicas']} of {cpus} CPUs" in page
    assert f"GPU workers, {gpu['minReplicas']} to {gpu['maxReplicas']} of one NVIDIA GPU" in page
