"""Where is kept what a kill must not take and a card need not bear: memory that outlives this process, no power cut."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

_SHARED = Path("/dev/shm")


def kept_folder(state: Path) -> Path:
    """A folder in shared memory for the daemon with this state; ``state`` itself where there is no such memory.

    It is one that nobody else can read or could have put there.
    """
    if not _SHARED.is_dir():
        return state
    ours = _SHARED / f"tcnstream-{os.getuid()}"
    folder = ours / hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]
    try:
        with suppress(FileExistsError):
            ours.mkdir(mode=0o700)
        facts = ours.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            return state
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return state
    return folder


def let_go(folder: Path, state: Path) -> None:
    """The folder goes if nothing is kept in it."""
    if folder != state:
        with suppress(OSError):
            folder.rmdir()
