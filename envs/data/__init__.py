"""Data sets: published ones, read from disk or downloaded; embedded ones, made from files of installed packages; and
the user's own: folders, arrays and map-style datasets."""

from __future__ import annotations

from frisket.envs.data.catalogue import DataMode, load, resolve, verify
from frisket.envs.data.check import FileReport
from frisket.envs.data.class_folders import CLASS_FOLDERS, ClassFolders, has_class_folders, load_class_folders
from frisket.envs.data.divisions import Division, read_division
from frisket.envs.data.embedded import EMBEDDED
from frisket.envs.data.fetch import fetch
from frisket.envs.data.folders import FOLDERS, FolderSource, PictureFolder, load_folder
from frisket.envs.data.imageset import ImageSet, Pictures, Provenance
from frisket.envs.data.own import OwnData
from frisket.envs.data.own_arrays import OwnArrays
from frisket.envs.data.own_dataset import DatasetKind, OwnDataset
from frisket.envs.data.own_folder import OwnFolder
from frisket.envs.data.own_pictures import read_pictures
from frisket.envs.data.reading import Reading, in_memory
from frisket.envs.data.sources import SOURCES, Source, SourceFile

__all__ = [
    "CLASS_FOLDERS",
    "EMBEDDED",
    "FOLDERS",
    "ClassFolders",
    "DataMode",
    "DatasetKind",
    "Division",
    "SOURCES",
    "FileReport",
    "FolderSource",
    "ImageSet",
    "OwnArrays",
    "OwnData",
    "OwnDataset",
    "OwnFolder",
    "PictureFolder",
    "Pictures",
    "Provenance",
    "Reading",
    "Source",
    "SourceFile",
    "fetch",
    "has_class_folders",
    "in_memory",
    "load",
    "load_class_folders",
    "load_folder",
    "read_division",
    "read_pictures",
    "resolve",
    "verify",
]
