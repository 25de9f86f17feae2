"""The checkout's modules and packages, as they lie on disk."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBPACKAGES = ("platform", "envs", "algos", "tune_configs")


def packages(checkout: Path = ROOT) -> dict[str, Path]:
    """Dotted name to folder."""
    folders = [checkout / "frisket", *(checkout / name for name in SUBPACKAGES)]
    found = {}
    for top in folders:
        for folder in [top, *(f for f in top.rglob("*") if f.is_dir() and f.name != "__pycache__")]:
            if any(folder.glob("*.py")):
                dotted = ".".join(folder.relative_to(checkout).parts)
                found[dotted if top.name == "frisket" else f"frisket.{dotted}"] = folder
    return found


def modules(checkout: Path = ROOT) -> dict[str, Path]:
    """Dotted name to file; a package is the module of its ``__init__``."""
    found = {}
    for dotted, folder in packages(checkout).items():
        for file in folder.glob("*.py"):
            found[dotted if file.stem == "__init__" else f"{dotted}.{file.stem}"] = file
    return found
