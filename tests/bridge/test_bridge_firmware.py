"""The firmware as a program: it builds for every board, fits the memories, and uses the instructions it should."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.bridge_tools import EMULATED, a_board, program, signal, tool
from helpers.paths import DATA, MODELS, TESTS
from typer.testing import CliRunner

import tcnstream
from firmware_bridge.boards.bridge_board import BridgeBoard
from firmware_bridge.boards.build import FIRMWARE, build, core_library, run_make, size_of
from firmware_bridge.boards.program import Program
from firmware_bridge.boards.table import BOARDS
from firmware_bridge.check.run import check
from firmware_bridge.cli.app import app
from firmware_bridge.errors import RefusedError, TargetError
from firmware_bridge.link.messages import MESSAGES, BeginRequest, ChunkRequest, CommitRequest, Kind, Object
from firmware_bridge.link.session import Link
from firmware_bridge.link.transport import start_process
from tcnstream.signal.card import find_model

RAM_BYTES = {"apollo3": 384 << 10, "apollo4": 384 << 10, "apollo510": 496 << 10, "qemu-pl011": 64 << 10}
RECORDED = DATA / "bridge_instructions.json"


def built(target: str) -> Path:
    for needed in ("make", "arm-none-eabi-gcc", "arm-none-eabi-size", "arm-none-eabi-nm"):
        tool(needed)
    return build(target)


_EMPTY = 'while [ "$1" != -o ]; do shift; done; : > "$2"'


def with_tools(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """make finds these shell scripts instead of the tools of their names, and a cache in which nothing is."""
    tool("make")
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOSTCC", "cc")
    monkeypatch.setenv("TCNSTREAM_CACHE", str(folder / "cache"))


@pytest.mark.parametrize("name", ["EXTRA", "FAULT", "ONLY", "SDK", "WITH", "OUT", "LIB", "CORE"])
def test_variables_of_the_environment_are_none_of_the_build_s(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULT=1 gave a firmware that computes wrongly, which the cache then handed to everybody."""
    with_tools(tmp_path, monkeypatch, cc=f'echo "$@" >> {tmp_path}/told; {_EMPTY}')
    monkeypatch.setenv(name, "7")
    build("host")
    told = (tmp_path / "told").read_text()
    assert "fault" not in told.lower() and not re.search(r"(?<!\w)7(?!\w)", told)


def test_a_core_whose_making_was_broken_off_is_shared_with_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or a kill left the beginning of a library in the cache, and no build after it linked."""
    with_tools(tmp_path, monkeypatch, cc=_EMPTY, ar="printf '!<arch>\\n' > \"$2\"; exit 1")
    with pytest.raises(TargetError, match="does not build"):
        build("host")
    assert core_library(BOARDS["host"]).parent.is_dir() and not core_library(BOARDS["host"]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in BOARDS if name != "host"])
def test_the_firmware_fits_its_board(target: str) -> None:
    plan = program("nse_mb.i8").content
    size = size_of(BOARDS[target], built(target), plan)
    assert 20_000 < size.code_bytes < 112 << 10
    assert size.ram_bytes <= RAM_BYTES.get(target, 16 << 20)
    assert size.stack_bytes >= 4096 and size.plan_room_bytes >= 144 << 10
    with pytest.raises(TargetError, match=r"the plan has \d+ bytes and .* has room for"):
        size_of(BOARDS[target], built(target), bytes(8 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["apollo3", "apollo4", "apollo510"])
def test_the_ecg_model_fits_an_apollo(target: str) -> None:
    """Budgets of the build against what the model asks for, as the same 32-bit core says it in emulation."""
    ecg = Program.of(tcnstream.load(find_model("ecg")[0]))
    with a_board("qemu-m4") as board:
        board.start(ecg)
        stats = board.stats()
    sizes = BOARDS[target].sizes
    assert stats.state_bytes + stats.scratch_bytes + stats.snapshot_bytes + 192 <= sizes.memory
    assert len(ecg.content) <= sizes.plan_ram


@pytest.mark.slow
@pytest.mark.parametrize("target", ["qemu-m55", "apollo510"])
def test_the_helium_build_contains_helium(target: str) -> None:
    """Vector multiplications of integers and floats, loads of a vector, low-overhead loops."""
    listing = subprocess.run(
        [tool("arm-none-eabi-objdump"), "-d", "-marmv8.1-m.main", built(target)], capture_output=True, text=True
    ).stdout
    for helium in (r"\tvml?\w*\.s(8|16|32)\t", r"\tvmul\.f32\tq", r"\tvldr[bhw]\.\w+\tq", r"\tle(tp)?\t"):
        assert re.search(helium, listing), helium


@pytest.mark.slow
def test_the_m4_build_contains_its_dsp_instructions() -> None:
    listing = subprocess.run([tool("arm-none-eabi-objdump"), "-d", built("qemu-m4")], capture_output=True, text=True)
    assert re.search(r"\tsmla[dl]", listing.stdout)


@pytest.mark.slow
def test_usb_for_an_apollo_compiles_against_the_sdk(tmp_path: Path) -> None:
    tool("arm-none-eabi-gcc")
    library = build("apollo510", sdk=str(TESTS / "bridge" / "sdk"))
    names = subprocess.run([tool("arm-none-eabi-nm"), library], capture_output=True, text=True).stdout
    assert re.search(r" T bridge_run", names) and re.search(r" U tud_cdc_read", names)
    with pytest.raises(TargetError, match="--sdk is neuralSPOT's folder"):
        build("apollo3", sdk=str(tmp_path))
    with pytest.raises(TargetError, match="there is no firmware for 'apollo9'"):
        build("apollo9")


def test_paths_may_have_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make's words end at blanks; the sources, the cache and the place of the build may all have some."""
    build("host")
    blank = tmp_path / "my boards"
    shutil.copytree(FIRMWARE, blank / "the firmware")
    core = core_library(BOARDS["host"])
    (blank / "tcnstream" / "firmware").mkdir(parents=True)
    shutil.copy(core, blank / "tcnstream" / "firmware" / core.name)  # it takes a while to compile
    monkeypatch.setattr("firmware_bridge.boards.build.FIRMWARE", blank / "the firmware")
    monkeypatch.setenv("TCNSTREAM_CACHE", str(blank))
    program = build("host")
    assert program.is_relative_to(blank) and program.stat().st_size > 100_000
    assert [file.name for file in program.parent.iterdir() if file.is_symlink()] == []


def test_an_energy_meter_sees_every_push(tmp_path: Path) -> None:
    """A user's own file takes the place of the weak functions; it notes what a pin would do."""
    tool("make")
    pin, hook = tmp_path / "pin", tmp_path / "the energy.c"
    hook.write_text(
        f"""
#include <stdio.h>
#include "port.h"
static void pin(char level) {{ FILE *f = fopen("{pin}", "a"); fputc(level, f); fclose(f); }}
void port_push_begins(void) {{ pin('1'); }}
void port_push_ended(void) {{ pin('0'); }}
"""
    )
    made = CliRunner().invoke(app, ["build", "host", str(tmp_path / "out"), "--with", str(hook)])
    assert made.exit_code == 0, made.output
    nse = program("nse_lg.i8")
    board = BridgeBoard("host", Link(start_process("host", [str(tmp_path / "out" / "bridge")], on_stdio=True)))
    try:
        board.start(nse)
        for _ in range(3):
            board.push([signal("nse_lg.i8", 4)])
        board.flush()
    finally:
        board.close()
    assert pin.read_text() == "10" * 4
    with pytest.raises(TargetError, match=r"none\.c is no file of C"):
        build("host", more=[tmp_path / "none.c"])
    with pytest.raises(TargetError, match=r"two files to compile in are called the_energy\.c"):
        build("host", more=[hook, hook])


@pytest.mark.slow
def test_the_build_command_writes_what_is_flashed(tmp_path: Path) -> None:
    tool("arm-none-eabi-gcc")
    arguments = ["build", "apollo4", str(tmp_path), "--model", str(MODELS / "nse_mb.i8.tflite")]
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 0, made.output
    assert "loadbin plan.bin 0x00080000" in made.output
    assert (tmp_path / "bridge.elf").read_bytes()[:4] == b"\x7fELF"
    assert (tmp_path / "plan.bin").read_bytes()[:8] == b"TCNPLAN\n"


@pytest.mark.slow
@pytest.mark.parametrize("target", EMULATED)
def test_instructions_per_frame_are_those_recorded(target: str) -> None:
    """A benchmark that fails when a kernel becomes slower; TCNSTREAM_RECORD=1 writes it anew."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for name in ("nse_sm.i8", "nse_lg.i8", "causal.i8", "nse_lg.f32"):
        with a_board(target, name) as board:
            cost = check(program(name), board, signal(name, 96), chunks="16", taps="outputs").cost
            assert cost is not None and board.stats().stack_used_bytes < 4096
        if os.environ.get("TCNSTREAM_RECORD") == "1":
            recorded.setdefault(name, {})[target] = round(cost.median)
        else:
            assert cost.median <= 1.1 * recorded[name][target], f"{name} on {target} became slower; see RECORDED"
    if os.environ.get("TCNSTREAM_RECORD") == "1":
        recorded["what"] = "emulated instructions per input frame, median, pushes of 16 frames; no cycles, no silicon"
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")


@pytest.mark.slow
def test_random_requests_under_sanitizers(tmp_path: Path) -> None:
    """Every kind of request with random payloads: each is answered, and no memory is touched wrongly."""
    build("host")  # the core as it is: it has fuzzers of its own
    flags = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    sanitized = run_make(BOARDS["host"], tmp_path, "bridge", EXTRA=flags)
    command = ["env", "ASAN_OPTIONS=detect_leaks=0", str(sanitized)]
    link = Link(start_process("host", command, on_stdio=True))
    rng = np.random.default_rng(5)
    content = program("strided.i8").content
    try:
        link.hello()
        for k in range(3000):
            if k % 500 == 0:
                _load(link, content)
            kind = int(rng.choice([k for k in Kind if k not in (Kind.HELLO, Kind.RESTART, Kind.LOG, Kind.DAMAGED)]))
            with suppress(RefusedError):
                link.exchange(kind, _payload(rng, kind))
        assert link.transport.process.poll() is None  # type: ignore[attr-defined]
    finally:
        link.close()


def _payload(rng: np.random.Generator, kind: int) -> bytes:
    """Noise, or a head of small numbers that gets further."""
    n = int(rng.integers(0, 64))
    if rng.random() < 0.3:
        return rng.integers(0, 256, n, np.uint8).tobytes()
    words = rng.choice([0, 1, 2, 3, 4, 5, 8, 16, 100, 0xFFFFFFFF], 4).astype("<u4").tobytes()
    request, _ = MESSAGES[Kind(kind)]
    more = n if kind in (Kind.PUSH, Kind.CHUNK) or not request.size_bytes() else 0
    return (words + bytes(64))[: request.size_bytes() + more]


def _load(link: Link, content: bytes) -> None:
    digest = hashlib.sha256(content).digest()
    link.exchange(Kind.BEGIN, BeginRequest(Object.PLAN, len(content), digest).pack())
    for at in range(0, len(content), 4000):
        link.exchange(Kind.CHUNK, ChunkRequest(digest[:4], at, len(content), content[at : at + 4000]).pack())
    link.exchange(Kind.COMMIT, CommitRequest(Object.PLAN).pack())
