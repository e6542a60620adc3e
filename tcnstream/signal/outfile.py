"""Files that are written: never over what is read, and under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tcnstream.errors import SignalError

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def writable(path: Path, *read: Path) -> Path:
    """``path``, asked before the work, which would be lost at its end for want of a folder.

    Raises SignalError if no file can be written there, or if it is one of the files that are ``read``.
    """
    if path.is_dir():
        raise SignalError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise SignalError(f"there is no folder {path.parent} for {path.name}: make it, or name another")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SignalError(f"{path} cannot be written: change its permissions, or name another file")
    refuse_over(path, read)
    return path


def refuse_over(path: Path, read: Iterable[Path]) -> None:
    """Raises SignalError if ``path`` is one of the files that are ``read``, under whatever name."""
    if path.is_file() and any(source.is_file() and path.samefile(source) for source in read):
        raise SignalError(f"{path} is read here and would be written over: name another file")


class NewFile:
    """A file written beside its name, which it takes, in place of an older one, when it is kept.

    A device or a pipe, and a file in a folder where nothing may be made, is written as it stands.
    """

    def __init__(self, path: Path) -> None:
        self._final = path.resolve()
        folder = self._final.parent
        replaces = not self._final.exists() or self._final.is_file()
        self._beside: Path | None = None
        if replaces and os.access(folder, os.W_OK):
            self._beside = folder / f".{self._final.name}.{os.getpid()}.part"
        self.stream: BinaryIO = (self._beside or self._final).open("wb")

    def keep(self) -> None:
        """The content is whole."""
        try:
            self.stream.close()
        except OSError:
            self.discard()
            raise
        if self._beside is not None:
            if self._final.exists():
                self._beside.chmod(stat.S_IMODE(self._final.stat().st_mode))
            self._beside.replace(self._final)

    def discard(self) -> None:
        """The content is of no use; an older file stays as it is."""
        with suppress(OSError):
            self.stream.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a disk that takes no more names ``path``, as those of opening do by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _OF_DISKS:
            error.filename = str(path)
        raise


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A NewFile that is kept if nothing is raised."""
    with naming(path):
        file = NewFile(path)
        try:
            yield file.stream
        except BaseException:
            file.discard()
            raise
        file.keep()


def write_file(path: Path, content: bytes) -> None:
    """``content`` under ``path``, all of it or, where an OSError is raised, nothing."""
    with new_file(path) as stream:
        stream.write(content)
