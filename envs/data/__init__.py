"""Data sets: published ones, read from disk or downloaded, and embedded ones, made from files of installed packages."""

from __future__ import annotations

from frisket.envs.data.catalogue import load, resolve, verify
from frisket.envs.data.check import FileReport
from frisket.envs.data.embedded import EMBEDDED
from frisket.envs.data.fetch import fetch
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.data.sources import SOURCES, Source, SourceFile

__all__ = [
    "EMBEDDED",
    "SOURCES",
    "FileReport",
    "ImageSet",
    "Provenance",
    "Source",
    "SourceFile",
    "fetch",
    "load",
    "resolve",
    "verify",
]
