"""What an engine has for each operation, by kind."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A table that the modules of a package fill: whoever defines a function for an operation enters it there.

    The modules are found by being there, when the table is first asked.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._entries: dict[str, T] = {}
        self._complete = False

    def enter(self, *kinds: str) -> Callable[[T], T]:
        """A decorator: what follows is for these operations. ValueError where one has an entry already."""

        def entered(entry: T) -> T:
            for kind in kinds:
                if kind in self._entries:
                    raise ValueError(f"{self._package} has two entries for {kind}")
                self._entries[kind] = entry
            return entry

        return entered

    def _found(self) -> dict[str, T]:
        if not self._complete:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
                importlib.import_module(f"{self._package}.{module.name}")
            self._complete = True
        return self._entries

    def __getitem__(self, kind: str) -> T:
        return self._found()[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())
