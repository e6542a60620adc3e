"""The C core by itself: sanitizers, a fuzzed loader, canaries, other processors, nothing asked of a C library.

``TCNSTREAM_REQUIRE_ALL=1`` makes a missing compiler or emulator a failure instead of a skip.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.many_operations import many_operations
from helpers.many_operations import signal as noise
from helpers.networks import build, layer
from helpers.paths import DATA, MODELS, TESTS
from helpers.singleop import assert_same

import tcnstream
from tcnstream.engines.native.layout.file import FrameRecord, Header, NodeRecord, sections
from tcnstream.engines.native.only import only_header
from tcnstream.engines.native.planfile.c_array import c_header
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.errors import EngineError
from tcnstream.filters.plan import filter_plan
from tcnstream.filters.polyphase import align
from tcnstream.signal.card import find_model

# One environment is enough: no Python is in what is tested here.
pytestmark = pytest.mark.slow

CORE = Path(tcnstream.__file__).parent / "core"
CORPUS = DATA / "plan_corpus"
DIGESTS = DATA / "native_sha256.json"
SOURCES = sorted(p for folder in ("", "operations", "kernels") for p in (CORE / folder).glob("*.c"))
STRICT = ("-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
LIBRARY_CALLS = {"memcpy", "memmove", "memset", "memcmp"}
NOISY_CHUNKS = "0"
"""The driver's word for chunks of random size, with snapshots between them."""


@dataclass(frozen=True)
class Target:
    """A processor: its compiler, what runs its programs here, and the kernels to try (0 is the best)."""

    name: str
    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    isas: tuple[int, ...] = (0,)


HOST = Target("host", "gcc", ("-O2",), isas=(0, 1, 2, 3, 4, 5))
# Lines are all that a report needs; where variables are (-g) takes gcc three times as long to work out as the code.
SANITIZED = Target(
    "sanitized", "gcc", ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"), isas=(0, 1)
)
TARGETS = (
    HOST,
    SANITIZED,
    Target("aarch64", "aarch64-linux-gnu-gcc", ("-O2", "-static"), ("qemu-aarch64", "-cpu", "max"), isas=(0, 1, 2, 6)),
    Target(
        "aarch64-a53", "aarch64-linux-gnu-gcc", ("-O2", "-static"), ("qemu-aarch64", "-cpu", "cortex-a53"), isas=(0,)
    ),
    Target("armv7", "arm-linux-gnueabihf-gcc", ("-O2", "-static"), ("qemu-arm", "-cpu", "cortex-a7"), isas=(0, 1, 2)),
)
CORTEX_M = {
    "m4f": (("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"), 72 * 1024),
    "m55": (("-mcpu=cortex-m55",), 80 * 1024),
}
"""A Cortex-M: what the compiler is told, and the most bytes of code that the whole core may take."""


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("TCNSTREAM_REQUIRE_ALL") == "1":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path


def objects(target: Target, folder: Path) -> list[Path]:
    """The core's object files for a target, compiled once for all processes of a test run."""
    kept = folder.parent / f"core-{target.name}"
    command = [tool(target.compiler), "-std=gnu99", *STRICT, *target.flags, f"-I{CORE}", "-c"]
    made = [kept / f"{source.parent.name}-{source.stem}.o" for source in SOURCES]
    kept.mkdir(exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "complete").exists():
            with ThreadPoolExecutor(2) as two:
                build = functools.partial(subprocess.run, check=True)
                list(two.map(build, ([*command, s, "-o", o] for s, o in zip(SOURCES, made, strict=True))))
            (kept / "complete").touch()
    return made


def program(target: Target, source: str, folder: Path) -> Path:
    """A test program with the core, for a target."""
    made = folder / f"{source}-{target.name}"
    if not made.exists():
        command = [tool(target.compiler), "-std=gnu99", *STRICT, *target.flags, f"-I{CORE}"]
        parts = [TESTS / "core" / f"{source}.c", *objects(target, folder)]
        subprocess.run([*command, *parts, "-o", made, "-lm"], check=True)
    return made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this process inside of one that all processes of the run share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = shared / f"core-{os.getpid()}"
    made.mkdir()
    return made


def written(name: str, folder: Path) -> tuple[Path, Path]:
    """A model's plan file and its signal, raw; of "resampler" the plan file alone."""
    plan, signal = folder / f"{name}.plan", folder / f"{name}.in"
    if not plan.exists() and name == "resampler":
        alignment = align(15, corr=False, strides_down=5, strides_up=3, padding="same_reflect", extra_pad_end=True)
        plan.write_bytes(write_plan(filter_plan(alignment, np.ones((15, 2, 3), np.float32), None, separable=True)))
    elif not plan.exists():
        model = tcnstream.load(MODELS / f"{name}.tflite")
        with np.load(MODELS / f"{name}.npz") as arrays:
            x = np.ascontiguousarray(arrays["x"].reshape(-1, *model.inputs[0].shape))
        signal.write_bytes(x.tobytes())
        plan.write_bytes(write_plan(model.plan))
    return plan, signal


def integer_models() -> list[str]:
    """Models of integers alone that stream exactly and that the core has."""
    return sorted(json.loads(DIGESTS.read_text()))


def streamed(target: Target, name: str, folder: Path, isa: int, chunk: str = NOISY_CHUNKS) -> bytes | None:
    """What the core makes of a model's own signal; None if the processor lacks the instructions."""
    plan, signal = written(name, folder)
    return run_stream(target, plan, signal, folder, isa, chunk)


def run_stream(
    target: Target, plan: Path, signal: Path, folder: Path, isa: int, chunk: str = NOISY_CHUNKS
) -> bytes | None:
    """What the core makes of a plan and a signal; None if the processor lacks the instructions."""
    made = folder / f"{plan.stem}.{target.name}.out"
    emulator = [tool(target.emulator[0]), *target.emulator[1:]] if target.emulator else []
    run = [*emulator, str(program(target, "stream", folder))]
    answer = subprocess.run(
        [*run, plan, signal, made, chunk, str(isa)],
        capture_output=True,
        text=True,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    if "prepare: error 15" in answer.stderr:
        return None
    assert answer.returncode == 0, answer.stderr
    return made.read_bytes()


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_integer_models_give_the_same_bits_on_every_target(target: Target, folder: Path) -> None:
    recorded = json.loads(DIGESTS.read_text())
    for name in integer_models():
        for isa in target.isas:
            made = streamed(target, name, folder, isa)
            if made is not None:
                assert hashlib.sha256(made).hexdigest() == recorded[name], (target.name, name, isa)


@pytest.mark.parametrize("name", ["nse_lg.f32", "causal.f32", "sig_valid.f32"])
def test_a_mistake_of_the_caller_gets_its_code_and_changes_nothing(name: str, folder: Path) -> None:
    plan, _ = written(name, folder)
    answer = subprocess.run(
        [program(SANITIZED, "misuse", folder), plan],
        capture_output=True,
        text=True,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["nse_lg.f32", "unet_max.f32", "sig_reflect.f32", "wavenet.f32"])
def test_float_models_stay_near_the_oracle_on_every_target(name: str, target: Target, folder: Path) -> None:
    with np.load(MODELS / f"{name}.npz") as arrays:
        expected = arrays["y"].reshape(-1)
    for isa in target.isas:
        for chunk in (NOISY_CHUNKS, "1"):
            made = streamed(target, name, folder, isa, chunk)
            if made is not None:
                got = np.frombuffer(made, np.float32)
                assert got.shape == expected.shape
                assert np.all(np.abs(got - expected) <= 1e-5 * np.maximum(1, np.abs(expected)))


@pytest.mark.parametrize(("name", "step"), [("strided.i8", 16), ("spectro.i8", 1), ("sig_decim2.f32", 2)])
def test_pushes_of_one_step_are_the_same_bits(name: str, step: int, folder: Path) -> None:
    """Where tensors have several rates, the steady state goes by steps of whole frames of each."""
    plan, _ = written(name, folder)
    answer = subprocess.run([program(HOST, "steady", folder), plan], capture_output=True, text=True, check=True)
    assert int(answer.stdout.split()[0]) == step
    whole = streamed(HOST, name, folder, 0, "100000")
    assert streamed(HOST, name, folder, 0, str(step)) == streamed(HOST, name, folder, 0, str(2 * step)) == whole


@pytest.mark.parametrize(("name", "step"), [("ecg", 1), ("speech", 160)])
def test_a_stream_is_steady_before_its_field_is_full(name: str, step: int, folder: Path) -> None:
    """Padding stands in front of each layer: an inner frame that no padding reaches is as any later one."""
    model = tcnstream.load(find_model(name)[0])
    plan = folder / f"{name}.plan"
    plan.write_bytes(model.plan_file())
    answer = subprocess.run([program(HOST, "steady", folder), plan], capture_output=True, text=True, check=True)
    told, steady_from = map(int, answer.stdout.split())
    assert told == step and steady_from % step == 0
    assert model.receptive_field is not None and 0 < steady_from <= model.receptive_field


def test_a_ring_remembers_its_newest_frames(folder: Path) -> None:
    """``ring.h`` beside the whole history, under sanitizers."""
    answer = subprocess.run([program(SANITIZED, "ring", folder)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_kernels_give_the_plain_ones_bits(target: Target, folder: Path) -> None:
    """int8 shapes, weights and scales drawn at random, with many of the least values; functions of floats."""
    for isa in target.isas:
        command = [*target.emulator, program(target, "kernels", folder), str(isa), "300", "3"]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode != 77:
            assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int8 is settled on x86-64 alone")
def test_settled_rescaling_gives_the_reference_kernels_bits(folder: Path) -> None:
    """Accumulator by accumulator, of random multipliers, shifts, zero points and limits."""
    answer = subprocess.run([program(HOST, "settled", folder), "60", "5"], capture_output=True, text=True)
    if answer.returncode == 77:
        pytest.skip("this processor has no AVX2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    settled, with_a_late_step = map(int, answer.stdout.split())
    assert settled > 30 and with_a_late_step > 0


def test_the_example_of_the_manual_compiles_without_casts_and_streams(folder: Path) -> None:
    """``tcn.h`` begins with a program: it is taken from there as it stands, for a model of one value a frame."""
    manual = (CORE / "tcn.h").read_text()
    begin = manual.index('#include "my_plan.h"')
    example = manual[begin : manual.index("\n *     }\n", begin)].replace("\n * ", "\n").replace("\n *", "\n") + "\n}\n"
    model = tcnstream.load(MODELS / "causal.f32.tflite")
    with np.load(MODELS / "causal.f32.npz") as arrays:
        x, expected = arrays["x"].reshape(-1), arrays["y"].reshape(-1)
    assert x.dtype == np.float32 and model.inputs[0].shape == (1,)
    (folder / "my_plan.h").write_text(c_header(model.plan_file(), "my_plan"))
    (folder / "example.c").write_text(
        f"""#include <stdio.h>
#include <stdlib.h>
#include "tcn.h"
{example}
int main(void)
{{
    const void *plan = my_plan;
    static float x[{len(x)}], y[{len(expected)}];
    size_t n = fread(x, sizeof *x, {len(x)}, stdin);
    int error = run(malloc(tcn_state_size(plan)), aligned_alloc(64, tcn_scratch_size(plan, 64, 1)), x, (int64_t)n, y,
                    {len(expected)});
    fwrite(y, sizeof *y, {len(expected)}, stdout);
    return error;
}}
"""
    )
    made = folder / "example"
    command = [tool("gcc"), "-std=gnu11", "-O1", *STRICT, f"-I{CORE}", f"-I{folder}", folder / "example.c"]
    subprocess.run([*command, *objects(HOST, folder), "-o", made, "-lm"], check=True)
    answer = subprocess.run([made], input=x.tobytes(), capture_output=True, check=True).stdout
    assert_same([np.frombuffer(answer, np.float32)], [expected])


def test_the_recorded_answers_are_the_oracle_s() -> None:
    recorded = json.loads(DIGESTS.read_text())
    for name in integer_models():
        with np.load(MODELS / f"{name}.npz") as arrays:
            assert hashlib.sha256(np.ascontiguousarray(arrays["y"]).tobytes()).hexdigest() == recorded[name]
    expected = set()
    for path in MODELS.glob("*.i*.tflite"):
        with np.load(path.with_suffix(".npz")) as arrays:
            if json.loads(str(arrays["meta"]))["streamable"] == "exact" and arrays["y"].dtype.kind == "i":
                expected.add(path.stem)
    assert expected == set(recorded)


@pytest.mark.parametrize(
    "name", ["nse_lg.i8", "causal.i16", "strided.f32", "unet_max.f32", "sig_reflect.f32", "resampler"]
)
def test_a_damaged_plan_is_refused_or_harmless(name: str, folder: Path) -> None:
    """A hundred and fifty plans with changed bytes and a right checksum, through the loader and a stream."""
    survives_damage(written(name, folder)[0], 150, folder)


def survives_damage(plan: Path, times: int, folder: Path) -> None:
    """So many plans with changed bytes and a right checksum, through the loader and a stream."""
    answer = subprocess.run(
        [program(SANITIZED, "fuzz_plan", folder), plan, str(times)],
        capture_output=True,
        text=True,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert answer.returncode == 0, answer.stderr[:3000]


def test_a_push_that_outgrows_what_a_plan_says_is_refused(folder: Path) -> None:
    """Seven frames that are halved and doubled again may make eight; a plan that says seven does no harm."""
    inner = [layer("convolution", kernel=3, channels=40)]
    network = build([layer("hourglass", inner=inner, ratio=2, join_kind="CONCATENATION")], 40, channels=40)
    content = bytearray(tcnstream.load(network.content).plan_file())
    head = Header.read(content)
    for i in range(head.n_frames):
        at = sections(head).frames_at + i * FrameRecord.size + FrameRecord.offset("extra")
        content[at : at + 4] = bytes(4)
    plan = folder / "outgrown.plan"
    plan.write_bytes(content)
    survives_damage(plan, 0, folder)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
def test_many_operations_are_the_same_on_every_target(dtype: str, target: Target, folder: Path) -> None:
    model = tcnstream.load(many_operations(dtype))
    x = noise(dtype, 200)
    reference = model.stream(engine="reference")
    expected = np.concatenate([reference.push(x), reference.flush()])
    plan, given = folder / f"many-{dtype}.plan", folder / f"many-{dtype}.in"
    plan.write_bytes(model.plan_file())
    given.write_bytes(x.tobytes())
    for isa in target.isas:
        for chunk in (NOISY_CHUNKS, "1"):
            made = run_stream(target, plan, given, folder, isa, chunk)
            if made is not None:
                assert_same([np.frombuffer(made, x.dtype).reshape(expected.shape)], [expected])


@pytest.mark.parametrize("dtype", ["float32", "int8", "int16"])
def test_a_damaged_plan_of_many_operations_is_refused_or_harmless(dtype: str, folder: Path) -> None:
    plan = folder / f"damaged-{dtype}.plan"
    plan.write_bytes(tcnstream.load(many_operations(dtype)).plan_file())
    survives_damage(plan, 300, folder)


def test_what_the_fuzzer_kept_is_refused_or_harmless(folder: Path) -> None:
    """Plans, most of them damaged, that together reach what the fuzzer reached."""
    fuzz = program(SANITIZED, "fuzz_plan", folder)
    kept = sorted(CORPUS.iterdir())
    assert kept
    for path in kept:
        answer = subprocess.run(
            [fuzz, path], capture_output=True, text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        )
        assert answer.returncode == 0, (path.name, answer.stderr[:3000])


def test_libfuzzer_finds_nothing_in_a_minute(folder: Path) -> None:
    clang = tool("clang")
    fuzz = folder / "libfuzzer"
    flags = ["-std=gnu99", "-O1", "-g1", "-DLIBFUZZER", "-fsanitize=fuzzer,address,undefined", f"-I{CORE}"]
    subprocess.run(
        [clang, *flags, "-fno-sanitize-recover=all", TESTS / "core" / "fuzz_plan.c", *SOURCES, "-o", fuzz], check=True
    )
    corpus = folder / "corpus"
    corpus.mkdir()
    for name in ("nse_mb.i8", "strided.f32", "sig_reflect.f32", "sig_decim2.f32", "resampler"):
        shutil.copy(written(name, folder)[0], corpus)
    for dtype in ("float32", "int8", "int16"):
        (corpus / f"many-{dtype}").write_bytes(tcnstream.load(many_operations(dtype)).plan_file())
    for kept in CORPUS.iterdir():
        shutil.copy(kept, corpus)
    limits = ["-seed=1", "-max_total_time=60", "-max_len=65536", "-rss_limit_mb=2000", "-timeout=20", "-detect_leaks=0"]
    answer = subprocess.run([fuzz, *limits, corpus], capture_output=True, text=True, cwd=folder)
    assert answer.returncode == 0, answer.stderr[-3000:]


@pytest.mark.parametrize("cpu", CORTEX_M)
def test_a_cortex_m_needs_nothing_but_memcpy(cpu: str, folder: Path) -> None:
    sources = [p for p in SOURCES if p.parent.name != "kernels" or p.stem in ("plain", "base")]
    objects = []
    for source in sources:
        made = folder / f"{cpu}-{source.stem}.o"
        _compiled_for_cortex_m(cpu, source, made, "-c")
        objects.append(made)
    asked, writable = _symbols(tool("arm-none-eabi-nm"), objects)
    assert {name for name in asked if not name.startswith("__aeabi_")} <= LIBRARY_CALLS
    assert not writable
    answer = subprocess.run([tool("arm-none-eabi-size"), "-t", *objects], capture_output=True, text=True, check=True)
    text, data, bss = (int(v) for v in answer.stdout.splitlines()[-1].split()[:3])
    assert text < CORTEX_M[cpu][1] and data == 0 and bss == 0


def _compiled_for_cortex_m(cpu: str, source: Path, made: Path, form: str) -> None:
    flags = [*CORTEX_M[cpu][0], "-mthumb", "-mfloat-abi=hard", "-std=c99", "-O2", *STRICT]
    subprocess.run([tool("arm-none-eabi-gcc"), *flags, form, source, "-o", made], check=True)


def test_int8_is_never_slower_than_float_on_a_board() -> None:
    # As tests/benchmarks/bench_boards.py counts and records them.
    counts = json.loads((DATA / "board_instructions.json").read_text())["ours"]
    pairs = {}
    for key in counts:
        name, _, how = key.partition("/")
        integers = {f"{name.replace('.f32', '.i8')}/{how}", f"{name.removesuffix('.f32')}/{how}"} & set(counts)
        if name.endswith(".f32") and integers:
            pairs[key] = (counts[integers.pop()], counts[key])
    shipped = [path.stem for path in (CORE.parent / "models").glob("*.f32.tflite")]
    assert shipped and {f"{name}/{b}/{n}" for name in shipped for b in ("qemu-m4", "qemu-m55") for n in (1, 16)} <= set(
        pairs
    )
    assert not {key for key, (integer, real) in pairs.items() if integer > real}


HELIUM = {"vmladava.s8", "vmullb.s8", "vmullb.s16", "vmullt.s16", "vqrdmulh.s32", "vmul.f32", "vldrb.8", "le"}


@pytest.mark.parametrize(("cpu", "wanted"), [("m4f", {"smlad", "sxtb16", "smmulr"}), ("m55", HELIUM)])
def test_a_cortex_m_multiplies_several_values_at_once(cpu: str, wanted: set[str], tmp_path: Path) -> None:
    """The DSP extension's and Helium's instructions are in what the compiler makes of the kernels."""
    made = tmp_path / "base.s"
    _compiled_for_cortex_m(cpu, CORE / "kernels" / "base.c", made, "-S")
    assert wanted <= set(re.findall(r"^\s+([a-z][a-z0-9.]+)\s", made.read_text(), re.MULTILINE))


def test_the_host_s_objects_need_no_memory_and_no_files(folder: Path) -> None:
    objects = []
    flags = ["-std=gnu99", "-O2", "-fno-pie", "-fno-stack-protector", *STRICT]
    for source in SOURCES:
        made = folder / f"host-{source.stem}.o"
        subprocess.run([tool("gcc"), *flags, "-c", source, "-o", made], check=True)
        objects.append(made)
    asked, writable = _symbols(tool("nm"), objects)
    compiler_s = {"__cpu_model", "__cpu_features2", "__cpu_indicator_init"}
    assert asked - compiler_s <= LIBRARY_CALLS
    assert not writable


def _symbols(nm: str, objects: list[Path]) -> tuple[set[str], set[str]]:
    """(asked of others, writable data) of a set of object files."""
    answer = subprocess.run([nm, *objects], capture_output=True, text=True, check=True)
    defined, asked, writable = set(), set(), set()
    for kind, name in re.findall(r"^\s*[0-9a-f]* +([A-Za-z]) (\S+)$", answer.stdout, re.MULTILINE):
        if kind == "U":
            asked.add(name)
        else:
            defined.add(name)
            if kind in "BbDC":
                writable.add(name)
    return asked - defined, writable


def test_what_the_core_lacks_is_named(tmp_path: Path) -> None:
    model = tcnstream.load(MODELS / "nse_lg_se.f32.tflite")
    with pytest.raises(EngineError, match=r"the native engine lacks `MEAN` \(op \d+, `.*`\)"):
        write_plan(model.plan)


FAMILIES = {"m4f": "cortex-m-dsp", "m55": "cortex-m-helium"}
MOST_BYTES_FOR_ECG = 25 << 10
ALL_OF_TCN_H = re.compile(r"^(?:int|size_t|void|uint32_t|int64_t|const char \*)\s?\*?(tcn_\w+)\(", re.MULTILINE)


@pytest.mark.parametrize("cpu", CORTEX_M)
def test_a_core_for_one_model_has_what_that_model_needs(cpu: str, tmp_path: Path) -> None:
    """All of ``tcn.h`` with ``ecg``'s operations and kernels alone, linked without what is left over."""
    plan = tcnstream.load(find_model("ecg")[0]).plan_file(family=FAMILIES[cpu])
    (tmp_path / "only.h").write_text(only_header([plan]))
    names = ALL_OF_TCN_H.findall((CORE / "tcn.h").read_text())
    assert {"tcn_check", "tcn_push", "tcn_snapshot", "tcn_describe_tensor"} <= set(names)
    used = ", ".join(f"(void *){name}" for name in names)
    (tmp_path / "main.c").write_text(
        f'#include "tcn.h"\nvoid *const used[] = {{{used}}};\nint main(void) {{ return 0; }}\n'
    )
    flags = [*CORTEX_M[cpu][0], "-mthumb", "-mfloat-abi=hard", "-std=gnu99", "-O2", *STRICT, "-ffunction-sections"]
    flags += ["-fdata-sections", f"-I{CORE}", f"-I{tmp_path}", '-DTCN_ONLY="only.h"', "-nostdlib"]
    link = ["-Wl,--gc-sections,--undefined=used,-emain,--unresolved-symbols=ignore-all", "-lgcc"]
    sources = [p for p in SOURCES if p.parent.name != "kernels" or p.stem in ("plain", "base")]
    command = [tool("arm-none-eabi-gcc"), *flags, *sources, tmp_path / "main.c", *link, "-o", tmp_path / "core"]
    subprocess.run(command, check=True)
    answer = subprocess.run([tool("arm-none-eabi-size"), tmp_path / "core"], capture_output=True, text=True, check=True)
    text, data, bss = (int(v) for v in answer.stdout.splitlines()[-1].split()[:3])
    assert text < MOST_BYTES_FOR_ECG and data == 0 and bss == 0


def test_a_core_for_one_model_refuses_what_it_was_not_built_for(folder: Path) -> None:
    """The operation of another model, the kernel of another type, a window along the frequency, a loop."""
    plan, signal = written("nse_lg.i8", folder)
    only = folder / "only"
    only.mkdir()
    (only / "only.h").write_text(only_header([plan.read_bytes()]))
    made = only / "stream"
    flags = ["-std=gnu99", "-O1", *STRICT, f"-I{CORE}", f"-I{only}", '-DTCN_ONLY="only.h"']
    subprocess.run([tool("gcc"), *flags, TESTS / "core" / "stream.c", *SOURCES, "-o", made], check=True)

    def said(plan: Path) -> str:
        return subprocess.run([made, plan, signal, only / "out", "16"], capture_output=True, text=True).stderr

    assert said(plan) == ""
    assert hashlib.sha256((only / "out").read_bytes()).hexdigest() == json.loads(DIGESTS.read_text())["nse_lg.i8"]
    for other in ("causal.i8", "nse_lg.f32", "spectro.i8"):
        assert re.match(r"plan: error 6 at byte \d+$", said(written(other, folder)[0])), other

    content = bytearray(plan.read_bytes())
    loop_at = sections(Header.read(content)).nodes_at + NodeRecord.offset("loop")
    struct.pack_into("<H", content, loop_at, 1)
    struct.pack_into("<I", content, Header.offset("crc32"), zlib.crc32(content[Header.offset("family") :]))
    looped = only / "looped.plan"
    looped.write_bytes(content)
    assert said(looped) == f"plan: error 6 at byte {loop_at}\n"
