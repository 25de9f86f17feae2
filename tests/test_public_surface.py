"""What ``import frisket`` offers, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import frisket
from frisket import errors

HEAVY = {"torch", "ray", "mlflow", "matplotlib", "numpy", "sklearn", "gymnasium", "metaworld", "stable_baselines3"}


def modules_after(code: str, checkout: Path) -> set[str]:
    """Top-level modules a fresh process has imported after ``code``."""
    report = f"{code}\nimport sys\nprint('MODULES', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", report], cwd=checkout, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())


def test_exported_names() -> None:
    assert frisket.__all__ == [
        "FrisketError", "MaskSet", "UserError", "__version__", "compare", "evaluate", "load_model", "plan", "reproduce",
        "run", "runs", "show", "tune",
    ]  # fmt: skip
    for name in frisket.__all__:
        assert getattr(frisket, name) is not None
    assert dir(frisket) == sorted(frisket.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        frisket.nonsense  # noqa: B018  # pyright: ignore


def test_verbs_take_what_the_command_line_takes() -> None:
    assert list(inspect.signature(frisket.run).parameters) == [
        "spec", "overrides", "seeds", "workers", "data", "data_dir", "runs_dir", "resume", "run_id", "register",
        "local", "uses", "render",
    ]  # fmt: skip
    assert list(inspect.signature(frisket.reproduce).parameters) == [
        "table", "rows", "columns", "seeds", "scale", "workers", "data", "data_dir", "runs_dir", "out", "resume",
        "reuse", "register", "local",
    ]  # fmt: skip
    of_run = dict(inspect.signature(frisket.run).parameters)
    del of_run["render"]  # of the one run that a search is not
    assert dict(inspect.signature(frisket.tune).parameters) == of_run
    assert list(inspect.signature(frisket.plan).parameters) == [
        "spec", "overrides", "seeds", "workers", "data", "data_dir", "runs_dir", "local", "uses"
    ]  # fmt: skip
    assert list(inspect.signature(frisket.runs).parameters) == ["spec", "state", "data", "since", "runs_dir"]
    assert list(inspect.signature(frisket.compare).parameters) == ["names", "runs_dir"]
    assert "uri" in inspect.signature(frisket.load_model).parameters


def test_errors_are_one_tree() -> None:
    kinds = [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, Exception)]
    assert all(issubclass(kind, frisket.FrisketError) for kind in kinds)
    assert issubclass(frisket.UserError, ValueError)


def test_import_is_cheap(checkout: Path) -> None:
    assert not modules_after("import frisket", checkout) & HEAVY


def test_help_imports_nothing_heavy(checkout: Path) -> None:
    code = "from frisket.platform.cli.main import main\nassert main(['--help']) == 0 and main(['run', '--help']) == 0"
    assert not modules_after(code, checkout) & HEAVY


@pytest.mark.parametrize("package", ["algos.kinds", "envs.kinds"])
def test_methods_and_streams_need_neither_ray_nor_mlflow(package: str, checkout: Path) -> None:
    assert not modules_after(f"import frisket.{package}", checkout) & {"ray", "mlflow", "typer"}
