"""SECURITY.md names tests, folders, secrets and ports that exist, and what listens is bound as it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from frisket.platform.cli.ui import server_command, ui
from frisket.platform.cluster.head import DEFAULT_ADDRESS


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "SECURITY.md").read_text(encoding="utf-8")


def objects(checkout: Path) -> list[dict[str, object]]:
    files = sorted((checkout / "k8s" / "base").glob("*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]


def test_it_is_linked_and_its_tests_exist(page: str, checkout: Path) -> None:
    assert "](SECURITY.md)" in (checkout / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\S+\.py)`", page)
    assert len(set(named)) >= 6
    assert [name for name in named if not (checkout / name).is_file()] == []


def test_ports_and_addresses(page: str, checkout: Path) -> None:
    assert DEFAULT_ADDRESS == "http://127.0.0.1:8265"
    assert "dashboard on 127.0.0.1:8265" in page
    command = server_command("sqlite:///x.db", 5000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert inspect.signature(ui).parameters["port"].default == 5000
    text = (checkout / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert re.search(r"ray start --head .*--dashboard-host=127\.0\.0\.1", text)
    open_to_all = re.findall(r"^mlflow server .*--host 0\.0\.0\.0", text, re.M)
    assert open_to_all
    assert all("--app-name basic-auth" in one for one in open_to_all)
    services = {str(one["metadata"]["name"]): one for one in objects(checkout) if one["kind"] == "Service"}  # pyright: ignore[reportIndexIssue]
    said = dict(re.findall(r"(MLflow|PostgreSQL|Redis) (\d+)", page))
    for title, name in (("MLflow", "mlflow"), ("PostgreSQL", "postgres"), ("Redis", "redis")):
        assert services[name]["spec"]["ports"][0]["port"] == int(said[title])  # pyright: ignore[reportIndexIssue]


def test_secrets_are_those_of_the_manifests(page: str, checkout: Path) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in (checkout / "k8s" / "base").glob("*.yaml"))
    there = set(re.findall(r"secretKeyRef:\s+name: (\S+)", text)) | set(re.findall(r"secretName: (\S+)", text))
    (line,) = [line for line in page.splitlines() if line.startswith("| the secrets")]
    assert set(re.findall(r"`(frisket-[\w-]+)`", line)) == there


def test_pyfunc_is_recommended_nowhere_without_what_it_runs(checkout: Path) -> None:
    pages = [checkout / "README.md", checkout / "SECURITY.md", *(checkout / "docs").rglob("*.md")]
    recommending = [p for p in pages if "pyfunc.load_model" in p.read_text(encoding="utf-8")]
    assert recommending
    for path in recommending:
        assert "loader_module" in path.read_text(encoding="utf-8"), path
