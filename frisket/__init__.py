"""frisket: learning where to learn.

Meta- and continual-learning methods that decide, weight by weight, what may change; run on Ray, tracked in MLflow,
every model kept with its masks. The same verbs as on the command line are importable::

    import frisket
    result = frisket.run("demo")
    model = frisket.load_model("models:/demo/1")

Nothing heavy is imported here: ``import frisket`` costs milliseconds, each verb imports what it needs when called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from frisket.folders import checkout

__version__ = "0.1.0"
__all__ = [
    "FrisketError",
    "MaskSet",
    "UserError",
    "__version__",
    "compare",
    "evaluate",
    "load_model",
    "plan",
    "reproduce",
    "run",
    "runs",
    "show",
    "tune",
]

# In a checkout the sub-packages are top-level folders (platform/, envs/, algos/, tune_configs/) beside this one; in a
# wheel they lie inside it. Appending the root makes `frisket.platform` resolve from a bare checkout with nothing
# installed, and never touches `sys.path`, where a folder named `platform` would meet the standard library's.
if (_root := checkout()) is not None:
    __path__.append(str(_root))

if TYPE_CHECKING:
    from frisket.algos.masks.mask_set import MaskSet
    from frisket.errors import FrisketError, UserError
    from frisket.platform.api import compare, evaluate, load_model, plan, reproduce, run, runs, show, tune

_HOME = {
    "FrisketError": "frisket.errors",
    "UserError": "frisket.errors",
    "MaskSet": "frisket.algos.masks.mask_set",
    "compare": "frisket.platform.api",
    "evaluate": "frisket.platform.api",
    "load_model": "frisket.platform.api",
    "plan": "frisket.platform.api",
    "reproduce": "frisket.platform.api",
    "run": "frisket.platform.api",
    "runs": "frisket.platform.api",
    "show": "frisket.platform.api",
    "tune": "frisket.platform.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'frisket' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
