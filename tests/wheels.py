"""Building frisket's wheel from the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packages import SUBPACKAGES


def build_wheel(checkout: Path, folder: Path) -> Path:
    """A wheel of ``checkout``, made in ``folder``."""
    source = folder / "source"  # setuptools builds in the source folder
    source.mkdir()
    for name in ("frisket", *SUBPACKAGES):
        (source / name).symlink_to(checkout / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((checkout / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel
