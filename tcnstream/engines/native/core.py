"""The compiled core: where it is, and why it does not load where it does not."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from tcnstream.engines.native.layout.headers import fingerprint
from tcnstream.errors import EngineError

_MODULE = "tcnstream._native"
_NEWEST = "crc32"
"""What came into the binding last, under an unchanged layout."""

_OTHER_ENGINES = 'or use engine="interpreter" or engine="reference"'
_MISSING_SYMBOL = re.compile(
    r"undefined symbol: (?P<elf>\w+)"  # glibc
    r"|(?P<musl>\w+): symbol not found"
    r"|[Ss]ymbol not found[^'_]*'?_?(?P<macos>\w+)"
    r"|does not define module export function \((?P<entry>\w+)\)"
)


def load_core() -> ModuleType:
    """The compiled core.

    EngineError where there is none, where it is another machine's, where it is not whole, or where it is older or
    newer than this package.
    """
    try:
        core = importlib.import_module(_MODULE)
    except ImportError as e:
        raise EngineError(f"{_reason(e)}, {_OTHER_ENGINES}") from e
    if getattr(core, "LAYOUT", None) != fingerprint():
        raise EngineError(
            f"the native core {core.__file__} was compiled for another layout of the plan file than this package"
            f" writes; remove the file and install tcnstream again, {_OTHER_ENGINES}"
        )
    if not hasattr(core, _NEWEST):
        raise EngineError(
            f"the native core {core.__file__} is older than this package: it has no `{_NEWEST}`; remove the file and"
            f" install tcnstream again, {_OTHER_ENGINES}"
        )
    return core


def _reason(error: ImportError) -> str:
    spec = importlib.util.find_spec(_MODULE)
    found = spec.origin if spec is not None else _of_another_python()
    if found is None:
        return f"the native core is not built here ({error}); install tcnstream again with a C compiler"
    if symbol := _MISSING_SYMBOL.search(str(error)):
        name = next(filter(None, symbol.groups()))
        return (
            f"the native core {found} is not whole: it lacks the symbol `{name}` ({error}); remove the file and install"
            " tcnstream again"
        )
    return (
        f"the native core {found} is damaged, or was built for another processor, system or Python ({error}); remove"
        " the file and install tcnstream again"
    )


def _of_another_python() -> str | None:
    """A core in the package that this Python does not look at."""
    files = sorted(Path(__file__).parents[2].glob("_native.*"))
    return next((str(path) for path in files if path.suffix in (".so", ".pyd")), None)
