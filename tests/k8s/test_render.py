"""Every overlay renders, as kubectl does it, and every object is one that Kubernetes and KubeRay know."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import check
import pytest
import yaml
from kustomize import KustomizeError, Manifest, containers, render
from pods import named
from schema import problems

NAMES = list(check.kustomizations())
MINE = """
resources: [{base}]
namespace: elsewhere
images:
  - {{name: frisket, newName: example/team/frisket}}
  - {{name: redis, newTag: 7.4.6}}
  - {{name: postgres, digest: "sha256:{digest}"}}
patches:
  - target: {{kind: NetworkPolicy, name: kubernetes-api}}
    patch: |
      - {{op: replace, path: /spec/egress/0/to, value: [{{ipBlock: {{cidr: 172.18.0.2/32}}}}]}}
      - {{op: replace, path: /spec/egress/0/ports, value: [{{protocol: TCP, port: 6443}}]}}
  - target: {{kind: RayCluster, name: frisket}}
    patch: |
      - {{op: add, path: /spec/workerGroupSpecs/0/template/spec/nodeSelector, value: {{}}}}
      - {{op: add, path: /spec/workerGroupSpecs/0/template/spec/nodeSelector/example.com~1pool, value: cpu}}
      - {{op: replace, path: /spec/workerGroupSpecs/0/maxReplicas, value: 40}}
"""


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(m["kind"], m["metadata"]["name"]): m for m in manifests}


def kustomization(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def mine(tmp_path: Path, checkout: Path) -> Path:
    """An overlay of a user's own, in a copy of k8s/ (kubectl reads nothing outside the tree of what it is given)."""
    shutil.copytree(checkout / "k8s", tmp_path / "k8s")
    text = MINE.format(base="../gpu", digest="0" * 64)
    return kustomization(tmp_path / "k8s" / "overlays" / "mine", text)


def test_what_is_there() -> None:
    assert {"overlays/cpu", "overlays/gpu", "overlays/dev", "jobs/run"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_renders_into_valid_objects(name: str) -> None:
    manifests = render(check.find(name))
    assert manifests
    assert len(by_name(manifests)) == len(manifests)  # no object twice
    assert [f"{check.label(m)}: {problem}" for m in manifests for problem in problems(m)] == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", [*NAMES, "mine"])
def test_kubectl_renders_the_same(name: str, mine: Path) -> None:
    folder = mine if name == "mine" else check.find(name)
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60)
    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(render(folder))


def test_an_overlay_of_ones_own_is_valid_and_moves_every_image(mine: Path) -> None:
    manifests = render(mine)
    assert [problem for m in manifests for problem in problems(m)] == []
    images = {container["image"] for container in containers(manifests)}
    own = {image for image in images if "frisket" in image}
    shipped = {container["image"] for container in containers(render(check.find("gpu")))}
    assert own == {f"example/team/{image}" for image in shipped if image.startswith("frisket:")}
    assert len(own) == 2
    assert images - own == {"redis:7.4.6", f"postgres@sha256:{'0' * 64}"}
    assert named(manifests, "Namespace", "elsewhere")
    (rule,) = named(manifests, "NetworkPolicy", "kubernetes-api")["spec"]["egress"]
    assert rule == {"to": [{"ipBlock": {"cidr": "172.18.0.2/32"}}], "ports": [{"protocol": "TCP", "port": 6443}]}
    groups = named(manifests, "RayCluster", "frisket")["spec"]["workerGroupSpecs"]
    assert groups[0]["template"]["spec"]["nodeSelector"] == {"example.com/pool": "cpu"}
    assert "nodeSelector" not in groups[1]["template"]["spec"]


def test_a_patch_of_what_an_anchor_shares_changes_one_place(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: &l {a: b}, annotations: *l}}", encoding="utf-8"
    )
    patch = "[{op: add, path: /metadata/labels/c, value: d}, {op: remove, path: /metadata/labels/a}]"
    kustomization(tmp_path, f"resources: [pod.yaml]\npatches: [{{target: {{kind: Pod, name: p}}, patch: '{patch}'}}]")
    assert render(tmp_path)[0]["metadata"] == {"name": "p", "labels": {"c": "d"}, "annotations": {"a": "b"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resources: []\nnamePrefix: x-", "namePrefix"),
        ("resources: [nowhere.yaml]", "neither a file nor a folder"),
        ("resources: [pod.yaml]\nimages: [{name: a, tagSuffix: b}]", "tagSuffix"),
        ("resources: [pod.yaml]\npatches: [{target: {kind: Pod, name: q}, patch: '[]'}]", "no such object"),
        ("resources: [pod.yaml]\npatches: [{target: {kind: Pod}, patch: '[]'}]", "kind and name"),
        ("resources: [pod.yaml]\npatches: [{target: {kind: Pod, name: p}, patch: '{spec: {}}'}]", "JSON 6902"),
        *(
            (f"resources: [pod.yaml]\npatches: [{{target: {{kind: Pod, name: p}}, patch: '[{step}]'}}]", "does not fit")
            for step in (
                "{op: replace, path: /spec/hostNetwork, value: true}",
                "{op: remove, path: /spec/containers/1}",
                "{op: add, path: /status/phase, value: x}",
                "{op: test, path: /metadata/name, value: other}",
                "{op: move, path: /metadata/name, from: /kind}",
            )
        ),
    ],
)
def test_what_is_not_understood_is_refused(text: str, said: str, tmp_path: Path) -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: a}]}}"
    (tmp_path / "pod.yaml").write_text(pod, encoding="utf-8")
    with pytest.raises(KustomizeError, match=said):
        render(kustomization(tmp_path, text))


def test_check_says_what_is_wrong_and_ends_with_2_on_a_name_that_is_not_there(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["gpuu"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'gpu'?" in said
    assert "Traceback" not in said
    assert check.main(["cpu", "jobs/run", str(mine)]) == 0
    assert "cpu: 28 objects, no mistakes" in capsys.readouterr().out
    file = mine / "kustomization.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("nodeSelector", "nodeSelectr"), encoding="utf-8")
    assert check.main([str(mine)]) == 1
    assert re.search(r"RayCluster/frisket: spec\.workerGroupSpecs\.0\..*nodeSelectr", capsys.readouterr().out)
    file.write_text("resources: [nowhere]", encoding="utf-8")
    assert check.main([str(mine)]) == 2


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("redis:7.4.5", None),
        (f"redis@sha256:{'0' * 64}", None),
        (f"registry:5000/redis:7.4.5@sha256:{'0' * 64}", None),
        ("redis", "needs a tag"),
        ("redis:latest", "needs a tag"),
        ("registry:5000/redis", "needs a tag"),
        ("redis@sha256:123", "64 hexadecimal digits"),
    ],
)
def test_images_are_pinned(image: str, said: str | None) -> None:
    found = list(check.image_problems({"spec": {"initContainers": [{"image": image}]}}))
    assert [bool(said and said in one) for one in found] == ([] if said is None else [True])


def test_kuberays_definitions_are_unchanged(checkout: Path) -> None:
    folder = checkout / "tests" / "k8s" / "schemas"
    told = dict(re.findall(r"\| `(\S+\.yaml)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text(encoding="utf-8")))
    assert told == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.yaml")}
    assert len(told) == 2
