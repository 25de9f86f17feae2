"""What one object says of another is true: names, ports, labels, volumes, secrets, versions, addresses."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import check
import pytest
from kustomize import Manifest, render
from pods import Pod, everything, named, of_kind, pods, reaches, reaches_address, secrets, selects

import frisket
from frisket.platform.doctor import pins

OVERLAYS = ("cpu", "gpu", "dev")
JOBS = [name.removeprefix("jobs/") for name in check.kustomizations() if name.startswith("jobs/")]
PORTS = {"ray-head": 8265, "cpu": 10002, "gpu": 10002, "mlflow": 5000, "postgres": 5432, "redis": 6379}


@pytest.fixture(params=OVERLAYS)
def world(request: pytest.FixtureRequest) -> list[Manifest]:
    """An overlay and every job, as they are together in a cluster."""
    return [m for name in (request.param, *JOBS) for m in render(check.find(name))]


@pytest.fixture
def there(world: list[Manifest]) -> dict[str, Pod]:
    return {pod.name: pod for pod in pods(world)}


def test_pods_of_each_overlay() -> None:
    found = {name: {pod.name for pod in pods(render(check.find(name)))} for name in OVERLAYS}
    common = {"ray-head", "cpu", "mlflow", "postgres", "postgres-backup", "redis"}
    assert found == {"cpu": common, "dev": common, "gpu": common | {"gpu"}}


def test_everything_is_in_the_one_namespace(world: list[Manifest]) -> None:
    (namespace,) = of_kind(world, "Namespace")
    others = {m["metadata"].get("namespace") for m in world if m is not namespace}
    assert others == {namespace["metadata"]["name"]} == {"frisket"}


def test_secrets_are_referred_to_and_never_written(world: list[Manifest]) -> None:
    assert of_kind(world, "Secret") == []
    assert all("secretGenerator" not in m for m in world)
    assert secrets(world) == {
        ("frisket-ray-token", "auth_token"),
        ("frisket-postgres", "password"),
        ("frisket-mlflow", "password"),
        ("frisket-mlflow", "key"),
        ("frisket-redis", "password"),
    }
    for variable in (m for m in everything(world) if {"name", "value"} <= set(m)):
        assert not re.search("PASSWORD|TOKEN|SECRET|KEY", variable["name"]), variable
        user = urlsplit(variable["value"]).password
        assert user is None or re.fullmatch(r"\$\(\w+\)", user)


def test_variables_in_values_are_set_before_they_are_used(there: dict[str, Pod]) -> None:
    used = 0
    for pod in there.values():
        known: set[str] = set()
        for variable in pod.container.get("env", ()):
            names = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
            assert names <= known
            used += len(names)
            known.add(variable["name"])
    assert used == 1  # the password in MLflow's store


def test_configuration_maps_and_claims_exist(world: list[Manifest], there: dict[str, Pod]) -> None:
    settings = {m["metadata"]["name"] for m in of_kind(world, "ConfigMap")}
    claims = {m["metadata"]["name"] for m in of_kind(world, "PersistentVolumeClaim")}
    asked_settings = {m["configMapRef"]["name"] for m in everything(world) if "configMapRef" in m}
    asked_settings |= {m["configMap"]["name"] for m in everything(world) if "configMap" in m}
    asked_settings -= {"kube-root-ca.crt"}  # which Kubernetes makes in every namespace
    asked_claims = {m["persistentVolumeClaim"]["claimName"] for m in everything(world) if "persistentVolumeClaim" in m}
    assert asked_settings == settings
    assert asked_claims == claims
    for pod in there.values():
        templates = pod.owner["spec"].get("volumeClaimTemplates", ())
        volumes = {v["name"] for v in pod.spec.get("volumes", ())} | {t["metadata"]["name"] for t in templates}
        mounts = pod.container.get("volumeMounts", [])
        if pod.name == "ray-head":  # whose autoscaler, which KubeRay adds, has mounts of its own
            mounts = mounts + pod.owner["spec"]["autoscalerOptions"]["volumeMounts"]
        assert {mount["name"] for mount in mounts} == volumes, pod.name


def test_ray_pods_share_their_settings_and_the_folder_of_runs(world: list[Manifest], there: dict[str, Pod]) -> None:
    ray = [pod for pod in there.values() if pod.owner["kind"] == "RayCluster"]
    settings = named(world, "ConfigMap", "frisket-settings")["data"]
    for pod in ray:
        assert pod.container["envFrom"] == [{"configMapRef": {"name": "frisket-settings"}}]
        (mount,) = pod.container["volumeMounts"]
        (volume,) = [volume for volume in pod.spec["volumes"] if volume["name"] == mount["name"]]
        assert volume["persistentVolumeClaim"] == {"claimName": "frisket-runs"}
        for folder in ("FRISKET_RUNS", "FRISKET_CACHE"):
            assert Path(mount["mountPath"]) in Path(settings[folder]).parents
    modes = named(world, "PersistentVolumeClaim", "frisket-runs")["spec"]["accessModes"]
    assert modes == (["ReadWriteOnce"] if limit_of(world, "cpu") == 2 else ["ReadWriteMany"])


def limit_of(world: list[Manifest], group: str) -> int:
    groups = named(world, "RayCluster", "frisket")["spec"]["workerGroupSpecs"]
    return next(g["maxReplicas"] for g in groups if g["groupName"] == group)


def test_services_lead_to_ports_of_pods(world: list[Manifest], there: dict[str, Pod]) -> None:
    services = of_kind(world, "Service")
    assert {service["metadata"]["name"] for service in services} == {"mlflow", "postgres", "redis"}
    for service in services:
        (pod,) = [p for p in there.values() if selects({"matchLabels": service["spec"]["selector"]}, p.labels)]
        (port,) = service["spec"]["ports"]
        assert pod.name == service["metadata"]["name"]
        assert pod.ports[port["targetPort"]] == port["port"] == PORTS[pod.name]
    for kind in ("Deployment", "StatefulSet"):
        for owner in of_kind(world, kind):
            assert selects(owner["spec"]["selector"], owner["spec"]["template"]["metadata"]["labels"])
    for owner in of_kind(world, "StatefulSet"):
        assert named(services, "Service", owner["spec"]["serviceName"])


def test_addresses_name_services(world: list[Manifest], there: dict[str, Pod], checkout: Path) -> None:
    store = {v["name"]: v.get("value", "") for v in there["mlflow"].container["env"]}["MLFLOW_BACKEND_STORE_URI"]
    addresses = [
        urlsplit(named(world, "ConfigMap", "frisket-settings")["data"]["MLFLOW_TRACKING_URI"]),
        urlsplit(store.replace("$(POSTGRES_PASSWORD)", "x")),
        urlsplit("//" + named(world, "RayCluster", "frisket")["spec"]["gcsFaultToleranceOptions"]["redisAddress"]),
    ]
    assert [address.hostname for address in addresses] == ["mlflow", "postgres", "redis"]
    for address in addresses:
        assert named(world, "Service", str(address.hostname))["spec"]["ports"][0]["port"] == address.port
    # SQLAlchemy takes another driver than the image's unless the address says which.
    extra = (checkout / "k8s" / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(rf"^{addresses[1].scheme.partition('+')[2]}-binary==", extra, re.M)
    given = {v["name"]: v.get("value") for v in there["postgres"].container["env"]}
    assert (addresses[1].username, addresses[1].path) == (given["POSTGRES_USER"], f"/{given['POSTGRES_DB']}")


def test_versions_are_those_of_the_package(world: list[Manifest], there: dict[str, Pod], checkout: Path) -> None:
    ray = pins()["ray"]
    assert named(world, "RayCluster", "frisket")["spec"]["rayVersion"] == ray
    for pod in there.values():
        image = pod.container["image"]
        if pod.name in ("postgres", "postgres-backup", "redis"):
            assert re.fullmatch(rf"{pod.name.partition('-')[0]}:\d+\.\d+(\.\d+)?", image)
        else:
            device = "cuda" if pod.name == "gpu" else "cpu"
            assert image == f"frisket:{frisket.__version__}-ray{ray}-{device}", pod.name
    recipe = (checkout / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"-t (\S+)", recipe)) == {
        f"frisket:{frisket.__version__}-ray{ray}-{d}" for d in ("cpu", "cuda")
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *((ray, other) for ray in ("ray-head", "cpu", "gpu") for other in ("ray-head", "cpu", "gpu", "mlflow")),
        ("ray-head", "redis"),
        ("ray-submitter", "ray-head"),
        ("mlflow", "postgres"),
        ("postgres-backup", "postgres"),
    ],
)
def test_the_network_lets_through_what_is_needed(source: str, target: str) -> None:
    world = [m for name in ("gpu", *JOBS) for m in render(check.find(name))]
    there = {pod.name: pod for pod in pods(world)}
    assert reaches(world, there[source], there[target], PORTS[target])
    if target in ("mlflow", "postgres", "redis"):
        assert not reaches(world, there[source], there[target], PORTS[target] + 1)


def test_the_network_lets_nothing_else_through(world: list[Manifest], there: dict[str, Pod]) -> None:
    ray = {"ray-head", "cpu", "gpu"}
    wanted = {(a, b) for a in ray for b in ray | {"mlflow"}}
    wanted |= {
        ("ray-head", "redis"),
        ("ray-submitter", "ray-head"),
        ("mlflow", "postgres"),
        ("postgres-backup", "postgres"),
    }
    found = {
        (source.name, target.name)
        for source in there.values()
        for target in there.values()
        if target.name in PORTS and reaches(world, source, target, PORTS[target.name])
    }
    assert found == {(a, b) for a, b in wanted if {a, b} <= set(there)}


def test_every_policy_chooses_pods_and_every_port_is_one_of_theirs(
    world: list[Manifest], there: dict[str, Pod]
) -> None:
    for policy in of_kind(world, "NetworkPolicy"):
        spec = policy["spec"]
        chosen = [pod for pod in there.values() if selects(spec["podSelector"], pod.labels)]
        assert chosen, policy["metadata"]["name"]
        rules = [(chosen, rule) for rule in spec.get("ingress", ())]
        for rule in spec.get("egress", ()):
            assert rule.get("to"), policy["metadata"]["name"]  # else it would be the whole world
            peers = [peer for peer in rule["to"] if "podSelector" in peer]
            rules += [([p for p in there.values() if selects(peer["podSelector"], p.labels)], rule) for peer in peers]
        for targets, rule in rules:
            assert targets
            for port in rule.get("ports", ()):
                assert all(port["port"] in pod.ports.values() for pod in targets)


@pytest.mark.parametrize("port", [443, 6443, 8443, 16443])
@pytest.mark.parametrize(
    ("address", "inside"), [("10.96.0.1", True), ("172.18.0.2", True), ("192.168.49.2", True), ("140.82.121.3", False)]
)
def test_the_head_alone_reaches_the_kubernetes_api_and_nobody_the_internet(
    there: dict[str, Pod], world: list[Manifest], address: str, inside: bool, port: int
) -> None:
    found = {name for name, pod in there.items() if reaches_address(world, pod, address, port)}
    assert found == ({"ray-head"} if inside else set())


def test_every_pod_reaches_a_resolver_of_names(there: dict[str, Pod], world: list[Manifest]) -> None:
    for pod in there.values():
        assert reaches_address(world, pod, "169.254.20.10", 53)
        assert not reaches_address(world, pod, "8.8.8.8", 53)
    rules = named(world, "NetworkPolicy", "dns")["spec"]["egress"]
    asked = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["protocol"], port["port"])
        for rule in rules for peer in rule["to"] if "namespaceSelector" in peer for port in rule["ports"]
    }  # fmt: skip
    assert asked == {
        (namespace, protocol, port)
        for namespace, port in (("kube-system", 53), ("openshift-dns", 5353))
        for protocol in ("UDP", "TCP")
    }


def test_what_there_is_one_of_is_not_drained_unasked(world: list[Manifest], there: dict[str, Pod]) -> None:
    chosen = set[str]()
    for budget in of_kind(world, "PodDisruptionBudget"):
        assert budget["spec"]["minAvailable"] == 1
        chosen |= {name for name, pod in there.items() if selects(budget["spec"]["selector"], pod.labels)}
    assert chosen == {"ray-head", "redis", "postgres", "mlflow"}


@pytest.mark.parametrize("job", JOBS)
def test_jobs_choose_the_cluster_and_name_commands_that_exist(job: str) -> None:
    import typer.main

    from frisket.platform.cli.main import app
    from frisket.platform.specs.experiment import load_spec

    (manifest,) = render(check.find(job))
    cluster = named(render(check.find("cpu")), "RayCluster", "frisket")["metadata"]["name"]
    spec = manifest["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": cluster}
    # What KubeRay's operator refuses on a cluster that is not the job's own.
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"], "ttlSecondsAfterFinished" in spec) == (
        0,
        False,
        False,
    )
    words = spec["entrypoint"].split()
    assert words[:3] == ["python", "-m", "frisket"]
    commands = typer.main.get_command(app)
    verb = commands.get_command(commands.make_context("frisket", words[3:]), words[3])  # pyright: ignore[reportAttributeAccessIssue]
    context = verb.make_context(words[3], words[4:])  # refuses unknown options
    assert load_spec(context.params["spec"], context.params["overrides"] or ())
    assert context.params["workers"] <= limit_of(render(check.find("cpu")), "cpu") * 4
