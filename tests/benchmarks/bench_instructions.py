"""Instructions per frame of three models, beside the recorded ones.

``cd tests && python -m benchmarks.bench_instructions [--record]``

Counted by ``valgrind --tool=callgrind`` in the core alone, so that a slower kernel shows on a busy machine as well. The
kernels are the plain C ones and those of AVX2; valgrind knows no AVX-512. Those of aarch64, NEON on a Cortex-A53 and
sdot, are counted by a plugin in QEMU's user mode. Counts hold for one compiler: with
another one than the recorded a difference may be the compiler's. Exit code 1 if a count has grown by more than 3 %.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from helpers.paths import DATA, MODELS, TESTS

import tcnstream

CORE = Path(tcnstream.__file__).parent / "core"
RECORD = DATA / "native_instructions.json"
NAMES = ("nse_lg.f32", "nse_lg.i8", "wavenet.f32")
ISAS = {"plain": 1, "avx2": 3, "neon": 2, "neon-dot": 6}
PROCESSORS = {"neon": "cortex-a53", "neon-dot": "max"}
"""Kernels of aarch64: the processor that QEMU emulates."""
CHUNKS = (1, 64)
SLOWER = 1.03


def program(folder: Path, compiler: str = "gcc", *more: str) -> Path:
    """The core's test driver, compiled as the package is."""
    made = folder / f"stream-{compiler}"
    sources = [p for folder in ("", "operations", "kernels") for p in (CORE / folder).glob("*.c")]
    flags = ["-std=gnu99", "-O3", "-ffp-contract=off", f"-I{CORE}", *more]
    subprocess.run([compiler, *flags, TESTS / "core" / "stream.c", *sorted(sources), "-o", made], check=True)
    return made


def counters(folder: Path) -> dict[str, list[str | Path]]:
    """Kernels -> the command in front of the driver's arguments; what it says ends in the number of instructions."""
    here = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program(folder)]
    plugin = folder / "count.so"
    source = TESTS / "benchmarks" / "count_instructions.c"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", plugin], check=True)
    there = program(folder, "aarch64-linux-gnu-gcc", "-static")
    emulated = {k: ["qemu-aarch64", "-cpu", cpu, "-plugin", plugin, there] for k, cpu in PROCESSORS.items()}
    return {"plain": here, "avx2": here, **emulated}


def instructions_per_frame(counter: list[str | Path], name: str, chunk: int, isa: int, folder: Path) -> float:
    """The difference between one and three runs over the model's own signal, so that start-up counts nothing."""
    model = tcnstream.load(MODELS / f"{name}.tflite")
    plan, signal = folder / "plan", folder / "signal"
    with np.load(MODELS / f"{name}.npz") as arrays:
        x = np.ascontiguousarray(arrays["x"].reshape(-1, *model.inputs[0].shape))
    plan.write_bytes(model.plan_file())
    signal.write_bytes(x.tobytes())
    counted = []
    for repeat in (1, 3):
        command = [*counter, plan, signal, folder / "out", str(chunk), str(isa), str(repeat)]
        run = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
        (refs,) = re.findall(r"(?:refs|instructions):\s+([\d,]+)", run.stderr)
        counted.append(int(refs.replace(",", "")))
    return (counted[1] - counted[0]) / (2 * len(x))


def main() -> int:
    options = argparse.ArgumentParser(description="Instructions per frame beside the recorded ones.")
    options.add_argument("--record", action="store_true", help="make these counts the recorded ones")
    chosen = options.parse_args()
    compiler = subprocess.run(["gcc", "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {"compiler": "none", "counts": {}}
    counts, grown = {}, False
    print(f"gcc {compiler}, recorded with gcc {before['compiler']}\n")
    print("| model | kernels | frames a push | instructions per frame | recorded | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counted = counters(folder)
        for model in NAMES:
            for kernels, isa in ISAS.items():
                for chunk in CHUNKS:
                    key = f"{model}/{kernels}/{chunk}"
                    counts[key] = round(instructions_per_frame(counted[kernels], model, chunk, isa, folder), 1)
                    old = before["counts"].get(key)
                    ratio = "" if old is None else f"{counts[key] / old:.3f}"
                    print(
                        f"| {model} | {kernels} | {chunk} | {counts[key]:,.0f} | {old or 0:,.0f} | {ratio} |",
                        flush=True,
                    )
                    grown |= old is not None and counts[key] > SLOWER * old
    if chosen.record:
        RECORD.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=2) + "\n")
        return 0
    return int(grown)


if __name__ == "__main__":
    raise SystemExit(main())
