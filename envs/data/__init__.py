"""Data sets: published ones, read from disk or downloaded, and embedded ones, made from files of installed packages."""

from __future__ import annotations

from frisket.envs.data.catalogue import load, resolve, verify
from frisket.envs.data.check import FileReport
from frisket.envs.data.embedded import EMBEDDED
from frisket.envs.data.fetch import fetch
from frisket.envs.data.folders import FOLDERS, FolderSource, PictureFolder, load_folder
from frisket.envs.data.imageset import ImageSet, Pictures, Provenance
from frisket.envs.data.sources import SOURCES, Source, SourceFile

__all__ = [
    "EMBEDDED",
    "FOLDERS",
    "SOURCES",
    "FileReport",
    "FolderSource",
    "ImageSet",
    "PictureFolder",
    "Pictures",
    "Provenance",
    "Source",
    "SourceFile",
    "fetch",
    "load",
    "load_folder",
    "resolve",
    "verify",
]
