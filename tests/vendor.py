"""What the live page takes from npm: ``make page`` renews it in ``tcnstream/live/page/vendor``.

``package.json`` there names the version, ``package-lock.json`` the SHA-512 of what npm published under it, which npm
itself compares. Another version: change package.json, run ``npm install --package-lock-only`` there, then
``make page``. Standard library only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "tcnstream" / "live" / "page" / "vendor"
FILES = {
    "uPlot.esm.js": "uplot/dist/uPlot.esm.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "LICENSE-uPlot.txt": "uplot/LICENSE",
}
"""Our name of each file, and where the package has it."""


def published(folder: Path) -> dict[str, bytes]:
    """The files as npm published them; ``folder`` is empty. Raises CalledProcessError where npm does not give them."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(VENDOR / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {name: (folder / "node_modules" / path).read_bytes() for name, path in FILES.items()}


def main() -> int:
    if shutil.which("npm") is None:
        sys.exit("make page needs npm (apt-get install npm)")
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = published(Path(folder))
        except subprocess.CalledProcessError as error:
            sys.exit(f"npm does not give it: {error.stderr}")
    for name, content in found.items():
        (VENDOR / name).write_bytes(content)
        print(VENDOR / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
