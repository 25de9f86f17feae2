"""One import name from a bare checkout, an installation and a wheel; nothing shadows the standard library."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packages import packages

IMPORTS = (
    "import platform, frisket.errors, frisket.algos.masks.mask_set, frisket.envs.streams.osaka;"
    "import frisket.platform.specs.experiment, frisket.platform.cli.run;"
    "assert platform.system();"
    "print(frisket.platform.specs.experiment.__file__)"
)


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_bare_checkout_imports(where: str, checkout: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if where == "elsewhere":
        environment["PYTHONPATH"] = str(checkout)
    # -S -s would hide the dependencies too; an editable installation points to the same files.
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=checkout if where == "root" else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == checkout / "platform" / "specs" / "experiment.py"


def test_python_m_from_the_root_does_not_shadow_the_standard_library(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frisket", "--version"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    assert not (checkout / "platform" / "__init__.py").exists()
    shadows = [p.parent.name for p in checkout.glob("*/__init__.py") if p.parent.name in sys.stdlib_module_names]
    assert shadows == []


def test_declared_packages_are_those_on_disk(checkout: Path) -> None:
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("\npackages = ")[2]
    declared = ast.literal_eval(block[: block.index("]") + 1])
    data_only = {"frisket.tune_configs", "frisket.tune_configs.osaka"}  # YAML, and perhaps no module
    assert set(declared) - data_only == set(packages(checkout)) - data_only
    assert len(declared) == len(set(declared))


@pytest.mark.process
def test_wheel_holds_every_module_and_specification_and_works(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    expected = {
        f"{dotted.replace('.', '/')}/{file.name}"
        for dotted, folder in packages(checkout).items()
        for file in folder.glob("*.py")
    }
    specs = {f"frisket/{file.relative_to(checkout).as_posix()}" for file in (checkout / "tune_configs").rglob("*.yaml")}
    lists = {f"frisket/{file.relative_to(checkout).as_posix()}" for file in (checkout / "envs").rglob("*.yaml")}
    loops = {f"frisket/{file.relative_to(checkout).as_posix()}" for file in (checkout / "algos").rglob("*.cpp")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "installed")
    assert specs
    assert lists
    assert loops
    assert held == expected | specs | lists | loops | {"frisket/py.typed"}
    listing = subprocess.run(
        [sys.executable, "-c", "from frisket.platform.specs.text import spec_names; print(*spec_names(), sep='\\n')"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {f"frisket/tune_configs/{name}.yaml" for name in listing} == {
        name for name in specs if "/tables/" not in name
    }
