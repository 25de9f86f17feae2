"""Modules of a user's own, as a specification names them under ``uses``: methods, streams, networks, protocols,
data sets.

``uses: [my_method.py]`` is a file beside the specification. Its text is what counts: it is kept in the run's folder
with its sha256, and every process of the run (workers, resumed runs, submitted jobs) executes that text and no other.
A file stands alone: it may import whatever is installed, but not another file beside it. ``uses: [my_package]`` is a
module on the path, which must be installed wherever the run works; the sha256 of its source files is noted.

Nothing here is done for a model: what a model was made with is noted in it, and imported by nobody (`FrisketModel`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from frisket.algos.learner import Learner, Method
from frisket.algos.networks.kind import NetworkKind
from frisket.envs.data import DatasetKind
from frisket.errors import FrisketError, SpecError
from frisket.files import sha256
from frisket.findings import in_words
from frisket.platform.specs.kinds import Kinds, Row, known, rows_of

Given = str | Path | ModuleType | type[Learner] | Row
"""What ``uses=`` of a Python call takes: a file, a module's name, a module, a learner's class or a row of its own."""

_RECORD = {"name", "sha256", "version"}


@dataclass(frozen=True, kw_only=True)
class Use:
    """One module a specification uses.

    Attributes:
        name: the file's name (``my_method.py``), the module's (``my_package``), or that of a class given directly.
        sha256: of the file's text, or of a package's source files; None for a class whose source cannot be found.
        version: of the distribution a package was installed by; None for a file.
        path: where the text was read from.
        text: the file's; None for a package.
        given: rows handed over as objects, which exist in this process alone.
    """

    name: str
    sha256: str | None = None
    version: str | None = None
    path: Path | None = field(default=None, compare=False, repr=False)
    text: str | None = field(default=None, compare=False, repr=False)
    given: tuple[Row, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_file(self) -> bool:
        """Whether it is a file, and not a package or a class."""
        return self.name.endswith(".py")

    def as_dict(self) -> dict[str, str]:
        """What a run or a model notes of it, JSON-able."""
        return {k: v for k in ("name", "sha256", "version") if (v := getattr(self, k)) is not None}

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """What the module declares.

        Raises:
            SpecError: it cannot be imported, or declares nothing.
        """
        if self.given:
            return self.given
        found = rows_of(self._module())
        if not found:
            raise SpecError(
                "uses", self.name, "declares nothing: no METHODS, STREAMS, NETWORKS, PROTOCOLS or DATASETS in it"
            )
        return found

    def _module(self) -> ModuleType:
        try:
            if self.text is None:
                return importlib.import_module(self.name)
            assert self.sha256 is not None
            assert self.path is not None
            # The digest in the name lets two texts of one file live in one process, and names what was compiled of it.
            name = f"frisket_uses_{self.sha256[:16]}_{re.sub(r'[^0-9a-zA-Z]', '_', self.path.stem)}"
            return _executed(name, self.text, self.path)
        except SpecError:
            raise
        except (Exception, SystemExit) as error:
            at = f", line {line}" if (line := _line_of(error, self.path)) is not None else ""
            alone = "; a file stands alone: what it imports must be installed" if isinstance(error, ImportError) else ""
            fix = f"cannot be imported{at}: {type(error).__name__}: {error}{alone if self.is_file else ''}"
            raise SpecError("uses", self.name, fix) from error


def resolve(said: object, folder: Path | None, passed: Sequence[Use] = ()) -> tuple[Use, ...]:
    """What a specification's ``uses`` names, read and checked, nothing imported.

    Args:
        said: the section's value: names, or what `Use.as_dict` noted.
        folder: where files lie; None: what is noted stays a note (a model's).
        passed: what the caller hands over; a note of that name is answered by it.

    Raises:
        SpecError: no such file, another text than the one noted, or no list of names.
    """
    if not isinstance(said, (list, tuple)) or not all(_is_name(one) or _is_record(one) for one in said):
        raise SpecError("uses", said, "must be a list of files (my_method.py) and modules (my_package)")
    found = [_resolved(one, folder, passed) for one in said]
    names = {use.name for use in found}
    found += [use for use in passed if use.name not in names]
    twice = [use.name for i, use in enumerate(found) if use.name in {other.name for other in found[:i]}]
    if twice:
        raise SpecError("uses", twice[0], "is named twice; files of one name cannot be told apart")
    return tuple(found)


def taken(given: Iterable[Given] | Given) -> tuple[Use, ...]:
    """What a Python call hands over under ``uses=``, one thing or several.

    Raises:
        SpecError: something that is none of these, or a class of which no configuration can be told.
    """
    several: Any = given if isinstance(given, Iterable) and not isinstance(given, (str, type)) else (given,)
    return tuple(_taken(one) for one in several)


def kinds_with(uses: Sequence[Use]) -> Kinds:
    """All kinds there are with ``uses``; what is only noted brings none. Imports them.

    Raises:
        SpecError: one cannot be imported, or a name in it is taken.
    """
    return known().with_rows(row for use in uses if use.given or use.path is not None for row in use.rows)


@contextlib.contextmanager
def blamed(uses: Sequence[Use], what: str) -> Iterator[None]:
    """Say of an error inside the block, where a user's own modules are at work, what went wrong in which line of them.

    Args:
        uses: the specification's; without any, errors pass as they are.
        what: what is done in the block, for the message.

    Raises:
        SpecError: anything but frisket's own errors and a stop.
    """
    try:
        yield
    except FrisketError:
        raise
    except (Exception, SystemExit) as error:
        if not uses:
            raise
        files = [str(use.path) for use in uses]
        through = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        file = next((name for name in files if name in through), None)
        name = uses[0].name if file is None else Path(file).name
        tried = f"; `frisket check {name}` tries it, and once mended it is a new run" if name.endswith(".py") else ""
        raise SpecError("uses", name, f"{what}: {in_words(error, file)}{tried}") from error


def file_of(path: Path) -> Use:
    """The file ``path``. Raises `SpecError` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not UTF-8, or a name with NUL
        why = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise SpecError("uses", str(path), why) from None
    return Use(name=path.name, sha256=sha256(text.encode()), path=path.absolute(), text=text)


def package_of(name: str) -> Use:
    """The module ``name`` of the path, not imported. Raises `SpecError` where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SpecError("uses", name, f"no such module on the path; install it, set PYTHONPATH, or name {name}.py")
    if spec.origin is None:
        raise SpecError("uses", name, "is a folder without __init__.py; give it one, or name a file in it")
    if not spec.has_location:
        raise SpecError("uses", name, "is a part of Python itself and declares nothing")
    origin = Path(spec.origin)
    sources = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
    parts = ((p.relative_to(origin.parent).as_posix().encode(), p.read_bytes()) for p in sources)
    digest = sha256(b"\0".join(part for pair in parts for part in pair))
    owners = metadata.packages_distributions().get(name.partition(".")[0], [])
    return Use(name=name, sha256=digest, version=metadata.version(owners[0]) if owners else None, path=origin)


def _resolved(said: Any, folder: Path | None, passed: Sequence[Use]) -> Use:
    if isinstance(said, str):
        if not said.endswith(".py"):
            return package_of(said)
        beside = (Path() if folder is None else folder) / said
        return file_of(beside if beside.exists() or Path(said).is_absolute() else Path(said))
    note = Use(**said)
    handed = next((use for use in passed if use.name == note.name), None)
    if handed is not None and (folder is None or handed.sha256 == note.sha256):
        return dataclasses.replace(note, path=handed.path, text=handed.text, given=handed.given)
    if folder is None:
        return note
    if not note.is_file and note.version is None and not _is_module(note.name):
        fix = "was handed to frisket.run as a class and is in no file; hand it over again: uses=[...]"
        raise SpecError("uses", note.name, fix)
    here = file_of(folder / note.name) if note.is_file else package_of(note.name)
    if here.sha256 != note.sha256:
        fix = f"has changed: sha256 {here.sha256}, noted is {note.sha256}; put that text back, or begin anew"
        raise SpecError("uses", str(here.path), fix)
    return here


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_record(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and "name" in value
        and set(value) <= _RECORD
        and all(isinstance(v, str) for v in value.values())
    )


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _taken(one: Given) -> Use:
    if isinstance(one, (str, Path)):
        return file_of(Path(one)) if str(one).endswith(".py") else package_of(str(one))
    if isinstance(one, ModuleType):
        return _of_module(one)
    row = _row_of(one) if isinstance(one, type) and issubclass(one, Learner) else one
    if not isinstance(row, Row):
        raise SpecError("uses", one, "must be a file, a module, a learner's class, or a row such as Method(...)")
    if isinstance(row, DatasetKind):
        return Use(name=row.name, sha256=None, given=(row,))
    module = sys.modules.get(row.config.__module__)
    if module is not None and module.__name__ != "__main__" and row in rows_of(module):
        return _of_module(module)
    try:
        digest = sha256(inspect.getsource(row.make if isinstance(row, NetworkKind) else row.build).encode())
    except (OSError, TypeError):
        digest = None
    return Use(name=row.name, sha256=digest, given=(row,))


def _of_module(module: ModuleType) -> Use:
    if "." in module.__name__ or hasattr(module, "__path__") or getattr(module, "__file__", None) is None:
        return package_of(module.__name__)
    assert module.__file__ is not None
    return file_of(Path(module.__file__))


def _row_of(learner: type[Learner]) -> Method:
    """The row of a learner's class: the one its module declares, or one made from its constructor."""
    module = sys.modules.get(learner.__module__)
    declared = [row for row in getattr(module, "METHODS", ()) if getattr(row, "build", None) is learner]
    if declared:
        return declared[0]
    hints = typing.get_type_hints(learner.__init__)
    first = next(iter(hints.values()), None)
    if not (isinstance(first, type) and dataclasses.is_dataclass(first)):
        fix = "give its row: Method(name=..., config=its dataclass, build=the class, summary=...)"
        raise SpecError("uses", learner.__qualname__, fix)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", learner.__name__).lower()
    summary = (inspect.getdoc(learner) or name).partition("\n")[0]
    return Method(name=name, config=first, build=learner, summary=summary)


class _TextLoader(Loader):
    """Loads a module from a text that is in memory already."""

    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path = text, path

    def get_source(self, fullname: str) -> str:
        """For tracebacks and `inspect`."""
        return self.text

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def _executed(name: str, text: str, path: Path) -> ModuleType:
    """The module of ``text``, executed once in a process."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _TextLoader(text, path), origin=str(path))
    assert spec is not None
    assert spec.loader is not None
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it is executed: dataclasses look there for their own module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_of(error: BaseException, path: Path | None) -> int | None:
    """Where in the file ``path`` an exception came from."""
    if isinstance(error, SyntaxError):
        return error.lineno
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    return lines[-1] if lines else None
