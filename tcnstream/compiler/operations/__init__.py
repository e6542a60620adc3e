"""What the compiler knows of each operation, a file per family.

A module of this folder has a tuple ``OPERATIONS`` of ``Operation`` records; it is found by being there.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcnstream.compiler.operation import Operation


@functools.cache
def operations() -> Mapping[str, Operation]:
    """All records by kind: operations of the file format, and those that the compiler makes itself."""
    found: dict[str, Operation] = {}
    for module in pkgutil.iter_modules(__path__):
        for record in importlib.import_module(f"{__name__}.{module.name}").OPERATIONS:
            if record.kind in found:
                raise ValueError(f"there are two records of {record.kind}, one in {module.name}.py")
            found[record.kind] = record
    return MappingProxyType(found)


def operation(kind: str) -> Operation:
    """The record of a node of a plan."""
    return operations()[kind]
