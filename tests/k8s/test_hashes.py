"""The image's requirements with hashes: their form, and that they are what constraints.txt says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from frisket.platform.doctor import pins

LINE = re.compile(r"([\w.-]+)==([\w.]+) --hash=sha256:[0-9a-f]{64}")


def package(name: str, version: str, url: str = "https://files.example/x.whl", **origin: Any) -> dict[str, Any]:
    found = origin or {"archive_info": {"hashes": {"sha256": "0" * 64}}}
    return {"metadata": {"name": name, "version": version}, "download_info": {"url": url, **found}}


def made(checkout: Path, *packages: dict[str, Any]) -> list[str]:
    return runpy.run_path(str(checkout / "k8s" / "hashes.py"))["requirements"]({"install": packages})


def test_every_package_but_frisket_is_named_with_its_hash(checkout: Path) -> None:
    ours = package("frisket", "0.1.0", "file:///src", dir_info={})
    lines = made(checkout, package("torch", "2.13.0"), ours, package("aiohttp", "3.14.5"))
    assert lines == [f"aiohttp==3.14.5 --hash=sha256:{'0' * 64}", f"torch==2.13.0 --hash=sha256:{'0' * 64}"]


@pytest.mark.parametrize(
    "stranger",
    [
        package("torch", "2.13.0", archive_info={}),
        package("torch", "2.13.0", archive_info={"hashes": {"sha256": "123"}}),
        package("torch", "2.13.0+cpu"),
        package("torch", "2.13.0", "file:///wheels/torch.whl"),
        package("torch", "2.13.0", "git+https://example/torch", vcs_info={}),
    ],
)
def test_what_no_index_has_is_refused(checkout: Path, stranger: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no published file with a sha256"):
        made(checkout, stranger)


def test_the_file_of_hashes_is_what_the_constraints_say(checkout: Path) -> None:
    file = checkout / "k8s" / "hashes.txt"
    if not file.exists():
        pytest.skip("k8s/hashes.txt is not made: `make hashes`")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = [said.groups() for line in lines if (said := LINE.fullmatch(line)) is not None]
    assert len(found) == len(lines)
    known = {re.sub(r"[-_.]+", "-", str(name)).lower(): version for name, version in found}
    tested = pins()
    assert {name: version for name, version in known.items() if name in tested} == {
        name: version for name, version in tested.items() if name in known
    }
    assert {"torch", "ray", "mlflow", "psycopg2-binary", "flask-wtf"} <= set(known)
