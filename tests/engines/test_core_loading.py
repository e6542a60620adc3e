"""Why a compiled core does not load: not there, not for this machine, not whole, or not of this package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tcnstream

NAME = "_native.abi3.so"
_NO_EDITABLE_INSTALL = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in str(f)]"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package without its core."""
    made = tmp_path / "tcnstream"
    left_out = shutil.ignore_patterns("_native.*", "*.c", "*.h", "zoo", "models", "__pycache__")
    shutil.copytree(Path(tcnstream.__file__).parent, made, ignore=left_out)
    return made


def said(package: Path, code: str) -> str:
    """What a process says that runs ``code`` with this package."""
    process = subprocess.run(
        [sys.executable, "-c", f"{_NO_EDITABLE_INSTALL}\n{code}"],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    return process.stdout + process.stderr


def reason(package: Path) -> str:
    """The error of a core that does not load."""
    text = said(package, "from tcnstream.engines.native.core import load_core; load_core()")
    sentence = text.strip().splitlines()[-1]
    assert sentence.startswith("tcnstream.errors.EngineError: the native core ")
    assert sentence.endswith('or use engine="interpreter" or engine="reference"')
    return sentence


def real_core() -> bytes:
    spec = importlib.util.find_spec("tcnstream._native")
    if spec is None or spec.origin is None:
        pytest.skip("the core was not built")
    return Path(spec.origin).read_bytes()


def compiled(package: Path, source: str) -> None:
    (package / "core.c").write_text(source)
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", package / NAME, package / "core.c"], check=True)


def test_one_that_was_not_built(package: Path) -> None:
    assert "is not built here" in reason(package) and "install tcnstream again with a C compiler" in reason(package)


def test_one_of_another_python(package: Path) -> None:
    core = package / "_native.cpython-27m-other.so"
    core.write_bytes(b"\x7fELF")
    assert f"{core} is damaged, or was built for another processor, system or Python" in reason(package)


def test_the_begin_of_one(package: Path) -> None:
    for size in (0, 100):
        (package / NAME).write_bytes(real_core()[:size])
        assert f"{package / NAME} is damaged, or was built for another processor, system or Python" in reason(package)


def test_one_of_another_processor(package: Path) -> None:
    content = bytearray(real_core())
    content[18] ^= 0x40  # the ELF header's machine
    (package / NAME).write_bytes(content)
    assert f"{package / NAME} is damaged, or was built for another processor, system or Python" in reason(package)


def test_one_that_lacks_a_function(package: Path) -> None:
    compiled(package, "void tcn_forgotten(void);\nvoid *PyInit__native(void) { tcn_forgotten(); return 0; }\n")
    assert "is not whole: it lacks the symbol `tcn_forgotten`" in reason(package)


def test_one_that_was_compiled_for_another_layout(package: Path) -> None:
    (package / NAME).write_bytes(real_core())
    layout = package / "engines" / "native" / "layout" / "file.py"
    text = layout.read_text()
    layout.write_text(text.replace("\nVERSION = ", "\nVERSION = 9"))
    assert layout.read_text() != text
    assert f"{package / NAME} was compiled for another layout of the plan file" in reason(package)


def test_one_that_is_older_than_the_package_under_the_same_layout(package: Path) -> None:
    (package / NAME).write_bytes(real_core().replace(b"\0crc32\0", b"\0crc33\0"))
    assert f"{package / NAME} is older than this package: it has no `crc32`" in reason(package)


def test_one_that_is_no_python_module(package: Path) -> None:
    compiled(package, "int nothing;\n")
    assert "is not whole: it lacks the symbol `PyInit__native`" in reason(package)


def test_the_automatic_choice_says_it_and_goes_on(package: Path) -> None:
    model = Path(__file__).parents[1] / "data" / "models" / "nse_lg.f32.tflite"
    text = said(package, f"import tcnstream; print(tcnstream.load({str(model)!r}).stream().engine)")
    assert "is not built here" in text and "a slower engine takes over" in text
    assert text.splitlines()[0] in ("interpreter", "reference")
