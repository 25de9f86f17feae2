"""Render and check the manifests without a cluster: ``.venv/bin/python tests/k8s/check.py [NAME|FOLDER ...]``.

Without arguments everything in k8s/overlays and k8s/jobs. A FOLDER is any kustomization, your own overlay for example.
Exit codes: 0 every object is valid, 1 one is not, 2 a name that does not exist or a kustomization that does not render.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kustomize import KustomizeError, Manifest, containers, render
from schema import problems

from frisket.errors import UserError, nearest

K8S = Path(__file__).resolve().parents[2] / "k8s"


def kustomizations() -> dict[str, Path]:
    """What is meant to be applied: name, as in ``overlays/gpu``, to folder."""
    found = sorted(file.parent for part in ("overlays", "jobs") for file in (K8S / part).glob("*/kustomization.yaml"))
    return {f.relative_to(K8S).as_posix(): f for f in found if f.name != "base"}


def find(name: str) -> Path:
    """The folder of a kustomization: ``gpu``, ``overlays/gpu`` or a path.

    Raises:
        KustomizeError: there is none.
    """
    known = kustomizations()
    for key, folder in known.items():
        if name in (key, folder.name):
            return folder
    if (Path(name) / "kustomization.yaml").is_file():
        return Path(name)
    names = [folder.name for folder in known.values()]
    raise KustomizeError("overlay", name, f"{nearest(name, names)}; or the folder of a kustomization")


def image_problems(manifest: Manifest) -> Iterator[str]:
    """Images that may be another one tomorrow: each must have a tag that is not moved, or the digest of what it is."""
    for container in containers(manifest):
        name, at, digest = container["image"].partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if at and re.fullmatch("sha256:[0-9a-f]{64}", digest) is None:
            yield f"image {container['image']}: the digest must be sha256: and 64 hexadecimal digits"
        elif not at and tag in ("", "latest"):
            yield f"image {container['image']}: needs a tag other than latest, or a digest (images: in a kustomization)"


def label(manifest: Manifest) -> str:
    """``Kind/name``."""
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def main(arguments: Sequence[str]) -> int:
    """Check the kustomizations named in ``arguments`` and return the exit code."""
    try:
        folders = {name: find(name) for name in arguments} or kustomizations()
        rendered = {name: render(folder) for name, folder in folders.items()}
    except UserError as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    wrong = 0
    for name, manifests in rendered.items():
        complaints = [f"  {label(m)}: {problem}" for m in manifests for problem in (*problems(m), *image_problems(m))]
        print(f"{name}: {len(manifests)} objects, {len(complaints) or 'no'} mistakes", *complaints, sep="\n")
        wrong += len(complaints)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
