"""The command ``firmware-bridge``: one module a command, and the only place of the bridge that prints.

Exit code 0: what was asked for was done, and a comparison held; 1: a comparison did not hold; 2: it could not be
made, with one sentence on standard error that says why and the way out; 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from tcnstream.cli import descriptors, interrupts
from tcnstream.errors import TcnStreamError


def main() -> None:
    """Entry point of the command line."""
    with interrupts.starting("firmware-bridge"):
        if closed := descriptors.hold():
            _stop(closed)
        from firmware_bridge.cli.app import app

    try:
        app(prog_name="firmware-bridge")
    except TcnStreamError as error:
        _stop(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}; check the path, its permissions and the space left")
    except KeyboardInterrupt:
        interrupts.stop("firmware-bridge")
    except Exception as error:  # a person at a terminal has no use for a traceback
        if os.environ.get("TCNSTREAM_TRACEBACK"):
            raise
        _stop(
            f"unexpected {type(error).__name__}: {error}; this is a bug: run it again with TCNSTREAM_TRACEBACK=1 and"
            " report what that shows"
        )


def _stop(sentence: str) -> NoReturn:
    print(f"firmware-bridge: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
