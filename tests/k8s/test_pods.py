"""How pods run: without rights they do not need, within bounds, watched by probes that need no token."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import check
import pytest
from kustomize import Manifest, render
from pods import Pod, named, pods

GIB = 2**30
UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}
NAMES = list(check.kustomizations())
RAY = ("ray-head", "cpu", "gpu")
ALL_PODS = [pytest.param(pod, id=f"{name}-{pod.name}") for name in NAMES for pod in pods(render(check.find(name)))]


def quantity(text: str) -> float:
    """CPUs or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)(\w*)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) * UNITS[unit]


def cluster_of(name: str) -> dict[str, Any]:
    return named(render(check.find(name)), "RayCluster", "frisket")["spec"]


@pytest.mark.parametrize("pod", ALL_PODS)
def test_pods_meet_the_restricted_standard(pod: Pod) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, `restricted`."""
    security, container = pod.spec["securityContext"], pod.container
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] >= 100
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    restricted(container["securityContext"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
    kinds = {"persistentVolumeClaim", "emptyDir", "projected", "configMap"}
    assert all(kinds & set(volume) for volume in pod.spec.get("volumes", ()))
    assert all("hostPort" not in port for port in container.get("ports", ()))


def restricted(security: dict[str, Any]) -> None:
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in security


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "dev"])
def test_the_namespace_refuses_other_pods_and_the_autoscaler_is_as_restricted(overlay: str) -> None:
    labels = named(render(check.find(overlay)), "Namespace", "frisket")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    restricted(cluster_of(overlay)["autoscalerOptions"]["securityContext"])


@pytest.mark.parametrize("pod", ALL_PODS)
def test_only_what_writes_all_over_its_root_may(pod: Pod) -> None:
    assert pod.container["securityContext"].get("readOnlyRootFilesystem", False) is (pod.name not in RAY)


@pytest.mark.parametrize("pod", ALL_PODS)
def test_only_the_autoscaler_may_ask_the_kubernetes_api(pod: Pod) -> None:
    """Kubernetes mounts the account's token into no container, and the head's pod has one for the autoscaler's."""
    assert pod.spec["automountServiceAccountToken"] is False
    tokens = {v["name"] for v in pod.spec.get("volumes", ()) if "projected" in v}
    assert tokens == ({"kubernetes-api"} if pod.name == "ray-head" else set())
    assert not tokens & {mount["name"] for mount in pod.container.get("volumeMounts", ())}
    if tokens:
        (mount,) = pod.owner["spec"]["autoscalerOptions"]["volumeMounts"]
        assert (mount["name"], mount["readOnly"]) == ("kubernetes-api", True)
        assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"  # where its client looks
    # Service links would set MLFLOW_PORT=tcp://..., which `mlflow server` takes for its --port.
    assert pod.spec["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", ALL_PODS)
def test_requests_and_limits_are_set_and_fit(pod: Pod) -> None:
    resources = pod.container["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"]) == set(resources["limits"])
    for name, asked in resources["requests"].items():
        assert 0 < quantity(asked) <= quantity(resources["limits"][name])
    if pod.name in RAY:  # Ray plans with the limit, so it must be there
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_the_gpu_group_asks_for_gpus_and_bears_their_taint() -> None:
    (pod,) = (pod for pod in pods(render(check.find("gpu"))) if pod.name == "gpu")
    resources = pod.container["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "1"
    assert [toleration["key"] for toleration in pod.spec["tolerations"]] == ["nvidia.com/gpu"]
    others = [pod for name in NAMES for pod in pods(render(check.find(name))) if pod.name != "gpu"]
    assert not any("nvidia.com/gpu" in pod.container["resources"]["limits"] for pod in others)


def test_dev_fits_on_a_small_machine() -> None:
    """All of it at its largest, the autoscaler and a job's submitter included, in 4 CPUs and 12 GiB."""
    manifests = [*render(check.find("dev")), *render(check.find("run"))]
    spec = named(manifests, "RayCluster", "frisket")["spec"]
    most = {group["groupName"]: group["maxReplicas"] for group in spec["workerGroupSpecs"]}
    requests = [(most.get(pod.name, 1), pod.container["resources"]["requests"]) for pod in pods(manifests)]
    requests.append((1, spec["autoscalerOptions"]["resources"]["requests"]))
    assert sum(n * quantity(r["cpu"]) for n, r in requests) <= 4
    assert sum(n * quantity(r["memory"]) for n, r in requests) <= 12 * GIB


@pytest.mark.parametrize("pod", [p for p in ALL_PODS if not str(p.id).endswith(("ray-submitter", "postgres-backup"))])
def test_probes_ask_what_answers_without_a_token(pod: Pod) -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    for which in ("readinessProbe", "livenessProbe"):
        probe = pod.container[which]
        if pod.name in RAY:
            assert probe["httpGet"]["path"] in PUBLIC_EXACT_PATHS
            assert probe["httpGet"]["port"] == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
        elif pod.name == "mlflow":
            from mlflow.server.security_utils import HEALTH_ENDPOINTS

            assert probe["httpGet"]["path"] in HEALTH_ENDPOINTS
            assert probe["httpGet"]["port"] in pod.ports
        else:
            assert "exec" in probe or probe["tcpSocket"]["port"] in pod.ports
    if "startupProbe" in pod.container:  # until it has passed, the others wait
        start = pod.container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 300


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "dev"])
def test_the_ray_cluster_scales_and_outlives_its_head(overlay: str) -> None:
    spec = cluster_of(overlay)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["gcsFaultToleranceOptions"]["backend"] == "redis"
    for group in spec["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] == group["replicas"] < group["maxReplicas"]
        # Autoscaler v2 allows no restart policy but Never, which KubeRay sets.
        assert "restartPolicy" not in group["template"]["spec"]
    assert "restartPolicy" not in spec["headGroupSpec"]["template"]["spec"]
    # What is behind a feature gate that is off by default in KubeRay v1.7.0 makes the operator refuse the cluster.
    assert not {"networkPolicy", "tlsOptions", "historyServerOptions"} & set(spec)


@pytest.fixture(scope="module")
def server() -> list[str]:
    """Arguments of `mlflow server` in the manifest."""
    (pod,) = (pod for pod in pods(render(check.find("cpu"))) if pod.name == "mlflow")
    assert pod.container["command"] == ["python", "-m", "mlflow", "server"]
    return pod.container["args"]


def test_mlflow_knows_its_arguments_and_writes_to_its_volume(server: list[str]) -> None:
    from mlflow.cli import server as command

    given = command.make_context("server", list(server)).params  # an unknown option ends it
    assert (given["host"], given["port"]) == ("0.0.0.0", 5000)
    (pod,) = (pod for pod in pods(render(check.find("cpu"))) if pod.name == "mlflow")
    places = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
    assert places[given["artifacts_destination"]] == "artifacts"


def test_mlflow_asks_for_a_login_which_ray_pods_have(server: list[str]) -> None:
    from mlflow.cli import server as command

    assert command.make_context("server", list(server)).params["app_name"] == "basic-auth"
    there = {pod.name: pod for pod in pods(render(check.find("gpu")))}
    said = {one["name"]: one for one in there["mlflow"].container["env"]}
    assert {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"} <= set(said)
    for name in RAY:
        given = {one["name"]: one for one in there[name].container["env"]}
        assert given["MLFLOW_TRACKING_USERNAME"]["value"] == said["MLFLOW_AUTH_ADMIN_USERNAME"]["value"]
        assert given["MLFLOW_TRACKING_PASSWORD"]["valueFrom"] == said["MLFLOW_AUTH_ADMIN_PASSWORD"]["valueFrom"]
    places = {mount["mountPath"]: mount["name"] for mount in there["mlflow"].container["volumeMounts"]}
    file = Path(said["MLFLOW_AUTH_CONFIG_PATH"]["value"])
    settings = configparser.ConfigParser()
    settings.read_string(named(render(check.find("cpu")), "ConfigMap", "mlflow-login")["data"][file.name])
    users = Path(settings["mlflow"]["database_uri"].removeprefix("sqlite:///"))
    assert (places[str(file.parent)], places[str(users.parent)]) == ("login", "artifacts")
    assert "password" not in str(dict(settings["mlflow"]))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mlflow:5000", True),
        ("mlflow.frisket.svc:5000", True),
        ("mlflow.frisket.svc.cluster.local:5000", True),
        ("localhost:5000", True),
        ("evil.example", False),
        ("mlflow.other.svc:5000", False),
    ],
)
def test_mlflow_answers_its_own_names_alone(host: str, allowed: bool, server: list[str]) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    (hosts,) = (argument.partition("=")[2].split(",") for argument in server if argument.startswith("--allowed-hosts="))
    assert is_allowed_host_header(hosts, host) is allowed
    settings: Manifest = named(render(check.find("cpu")), "ConfigMap", "frisket-settings")
    assert is_allowed_host_header(hosts, urlsplit(settings["data"]["MLFLOW_TRACKING_URI"]).netloc)


def test_the_image_runs_as_the_pods_user_and_is_pinned(checkout: Path) -> None:
    recipe = (checkout / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):(\d+)$", recipe, re.M)
    security = cluster_of("cpu")["headGroupSpec"]["template"]["spec"]["securityContext"]
    assert user == (str(security["runAsUser"]), str(security["runAsGroup"]))
    assert recipe.index("USER ") > recipe.rindex("RUN ")
    hashed, *installs = re.findall(r"pip install (?:\\\n|[^&;\n])+", recipe)
    assert "--no-deps --require-hashes" in hashed
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in command for command in installs)
    extra = (checkout / "k8s" / "requirements.txt").read_text(encoding="utf-8")
    assert all("==" in line for line in extra.splitlines() if line and not line.startswith("#"))
    kept = re.findall(r"^!(.+)$", (checkout / ".dockerignore").read_text(encoding="utf-8"), re.M)
    assert all(any(checkout.glob(name)) for name in kept)
    assert {"constraints.txt", "pyproject.toml", "frisket", "platform", "envs", "algos", "tune_configs"} <= set(kept)
