"""``python -m tcnstream.engines.native.layout [--check]``: write the generated headers, or say which are stale."""

from __future__ import annotations

import argparse
import sys

from tcnstream.engines.native.layout.headers import headers


def main() -> int:
    """Exit code 1 if a header is stale and was only to be checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tcnstream.engines.native.layout",
        description="Write core/codes.h and core/layout.h from the layout of the plan file.",
    )
    parser.add_argument("--check", action="store_true", help="only say which headers are stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in headers().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if not check:
            path.write_text(text)
        sys.stdout.write(f"{path} {'is stale' if check else 'was written'}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
