"""A folder that other firmware takes in, built by CMake and as a Zephyr module, for boards and for this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.installed import need_program
from helpers.paths import MODELS

import tcnstream
from tcnstream.engines.native.firmware import window_bytes
from tcnstream.signal.card import find_model

pytestmark = pytest.mark.slow

MOST_BYTES_FOR_ECG = 25 << 10
ARM = {
    "cortex-m-dsp": "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16",
    "cortex-m-helium": "-mcpu=cortex-m55",
}
LIBRARY = """
void *memcpy(void *to, const void *from, size_t n)
{ unsigned char *t = to; const unsigned char *f = from; while (n--) *t++ = *f++; return to; }
void *memmove(void *to, const void *from, size_t n)
{ unsigned char *t = to; const unsigned char *f = from;
  if (t < f) while (n--) *t++ = *f++; else while (n--) t[n] = f[n]; return to; }
void *memset(void *to, int c, size_t n) { unsigned char *t = to; while (n--) *t++ = (unsigned char)c; return to; }
int memcmp(const void *a, const void *b, size_t n)
{ const unsigned char *x = a, *y = b; for (; n; n--, x++, y++) if (*x != *y) return *x - *y; return 0; }
"""
PUSH = """
#include "net.h"
int main(void)
{
    static int8_t x[64], y[256];
    const void *in[] = {x};
    void *out[] = {y};
    int64_t room[] = {16}, made[1];
    tcn_work work;
    tcn_state *state;
    int error = net_start(&work, &state);
    return error ? error : tcn_push(&work, state, in, 1, out, room, made);
}
"""
ZEPHYR = """
add_library(zephyr_interface INTERFACE)
macro(zephyr_include_directories)
    target_include_directories(zephyr_interface INTERFACE ${ARGN})
endmacro()
macro(zephyr_library_named name)
    add_library(${name} STATIC)
    set_property(GLOBAL APPEND PROPERTY ZEPHYR_LIBS ${name})
    target_link_libraries(${name} PUBLIC zephyr_interface)
    set(library ${name})
endmacro()
macro(link_as_zephyr_does app)
    get_property(libraries GLOBAL PROPERTY ZEPHYR_LIBS)
    target_link_libraries(${app} PRIVATE -Wl,--whole-archive ${libraries} -Wl,--no-whole-archive)
endmacro()
macro(zephyr_library_sources)
    target_sources(${library} PRIVATE ${ARGN})
endmacro()
macro(zephyr_library_compile_options)
    target_compile_options(${library} PRIVATE ${ARGN})
endmacro()
macro(zephyr_library_compile_definitions)
    target_compile_definitions(${library} PRIVATE ${ARGN})
endmacro()
"""


def exported(model: str | Path, folder: Path, family: str, name: str = "net") -> Path:
    made = folder / name
    command = [sys.executable, "-m", "tcnstream", "export", model, made, "--to", "firmware", "--family", family]
    subprocess.run(command, check=True, capture_output=True)
    return made


def built(folder: Path, family: str, *options: str) -> Path:
    """The program ``app`` of a CMake project in ``folder`` for a board."""
    compiler = need_program("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    flags = f"{ARM[family]} -mthumb -mfloat-abi=hard -O2 -ffreestanding -fno-tree-loop-distribute-patterns"
    command = [need_program("cmake", "cmake"), "-S", folder, "-B", folder / "build", "-DCMAKE_SYSTEM_NAME=Generic"]
    command += [f"-DCMAKE_C_COMPILER={compiler}", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"]
    command += [f"-DCMAKE_C_FLAGS={flags}", "-DCMAKE_EXE_LINKER_FLAGS=-nostdlib -Wl,--gc-sections,-emain"]
    subprocess.run([*command, "-DCMAKE_C_STANDARD_LIBRARIES=-lgcc", *options], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", folder / "build", "-j2"], check=True, capture_output=True)
    return folder / "build" / "app"


def sections(app: Path) -> dict[str, int]:
    said = subprocess.run(["arm-none-eabi-size", "-A", app], check=True, capture_output=True, text=True).stdout
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)\s", said, re.MULTILINE)}


def test_cmake_links_one_model_s_operations_and_places_its_memory(tmp_path: Path) -> None:
    net = exported("ecg", tmp_path, "cortex-m-helium")
    (tmp_path / "main.c").write_text(PUSH + LIBRARY)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(app C)\nadd_subdirectory(net)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE tcnstream::net)\n"
    )
    app = built(tmp_path, "cortex-m-helium", "-DNET_PLAN_SECTION=.mram", "-DNET_STATE_SECTION=.bss.dtcm")
    plan = tcnstream.load(find_model("ecg")[0]).plan_file(family="cortex-m-helium")
    found = sections(app)
    assert found[".mram"] == len(plan) and plan in app.read_bytes()
    assert found[".text"] + found[".rodata"] < MOST_BYTES_FOR_ECG
    symbols = subprocess.run(["arm-none-eabi-nm", app], check=True, capture_output=True, text=True).stdout
    assert "tcn_push" in symbols and "softmax" not in symbols and "lstm" not in symbols
    assert f"#define NET_PLAN_BYTES {len(plan)}u" in (net / "net.h").read_text()
    state = (tmp_path / "build" / "net" / "CMakeFiles" / "net.dir" / "net.c.obj").read_bytes()
    assert b".bss.dtcm\0" in state


def test_zephyr_s_build_takes_the_folder_as_a_module(tmp_path: Path) -> None:
    """With macros of Zephyr's names, as Zephyr itself is not at hand."""
    net = exported(MODELS / "nse_lg.i8.tflite", tmp_path, "cortex-m-dsp")
    (tmp_path / "main.c").write_text(PUSH + LIBRARY)
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20)\nproject(app C)\n{ZEPHYR}\n"
        'set(CONFIG_TCNSTREAM_NET y)\nset(CONFIG_TCNSTREAM_NET_PLAN_SECTION ".mram")\nadd_subdirectory(net/zephyr)\n'
        "add_executable(app main.c)\nlink_as_zephyr_does(app)\n"
    )
    app = built(tmp_path, "cortex-m-dsp")
    assert sections(app)[".mram"] > 10_000
    assert (net / "zephyr" / "module.yml").read_text().splitlines()[-1].strip() == "kconfig: zephyr/Kconfig"
    options = re.findall(r"^config (\w+)", (net / "zephyr" / "Kconfig").read_text(), re.MULTILINE)
    assert options == ["TCNSTREAM_NET", *(f"TCNSTREAM_NET_{part}_SECTION" for part in ("PLAN", "STATE", "SCRATCH"))]


def test_the_package_computes_the_model(tmp_path: Path) -> None:
    """Found by ``find_package`` and built for this machine, its frames are the host's."""
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    exported(MODELS / "nse_lg.i8.tflite", tmp_path, "portable")
    (tmp_path / "main.c").write_text(
        """
#include <stdio.h>
#include "net.h"
int main(void)
{
    static int8_t x[300], y[5 * 400];
    const void *in[] = {x};
    void *out[] = {y};
    int64_t room[] = {400}, made[1];
    tcn_work work;
    tcn_state *state;
    if (net_start(&work, &state) || fread(x, 1, 300, stdin) != 300 || tcn_push(&work, state, in, 300, out, room, made))
        return 1;
    return fwrite(y, 5, (size_t)made[0], stdout) != (size_t)made[0];
}
"""
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(app C)\n"
        "find_package(net CONFIG REQUIRED PATHS ${CMAKE_CURRENT_LIST_DIR}/net NO_DEFAULT_PATH)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE tcnstream::net m)\n"
    )
    command = [need_program("cmake", "cmake"), "-S", tmp_path, "-B", tmp_path / "build", "-DCMAKE_C_FLAGS=-O1"]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path / "build", "-j2"], check=True, capture_output=True)
    x = np.random.default_rng(0).integers(-128, 128, (300, 1)).astype(np.int8)
    answer = subprocess.run([tmp_path / "build" / "app"], input=x.tobytes(), capture_output=True, check=True).stdout
    assert answer == model.stream(engine="native").push(x).tobytes()


TWO_MODELS = """
#include <stdio.h>
#include "first.h"
#include "second.h"

template <int in_bytes, int out_bytes>
static int answered(int (*start)(tcn_work *, tcn_state **), int64_t frames)
{
    static uint8_t x[64 * in_bytes], y[64 * out_bytes];
    const void *in[] = {x};
    void *out[] = {y};
    int64_t room[] = {64}, made[1];
    tcn_work work;
    tcn_state *state;
    if (start(&work, &state) || fread(x, in_bytes, frames, stdin) != (size_t)frames)
        return 1;
    if (tcn_push(&work, state, in, frames, out, room, made))
        return 1;
    return fwrite(y, out_bytes, made[0], stdout) != (size_t)made[0];
}

int main() { return answered<IN_1, OUT_1>(first_start, 64) || answered<IN_2, OUT_2>(second_start, 64); }
"""


def test_models_in_one_program_share_a_core_that_has_what_each_needs(tmp_path: Path) -> None:
    """Called from C++."""
    names = {"first": "causal.i8", "second": "spectro.i8"}
    rng, source, x, answers = np.random.default_rng(0), TWO_MODELS, b"", b""
    for k, (name, file) in enumerate(names.items(), 1):
        model = tcnstream.load(MODELS / f"{file}.tflite")
        exported(MODELS / f"{file}.tflite", tmp_path, "portable", name)
        frames = rng.integers(-128, 128, (64, *model.inputs[0].shape)).astype(np.int8)
        source = source.replace(f"IN_{k}", str(frames[0].size)).replace(
            f"OUT_{k}", str(np.prod(model.outputs[0].shape))
        )
        x += frames.tobytes()
        answers += model.stream(engine="native").push(frames).tobytes()
    (tmp_path / "main.cpp").write_text(source)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(app C CXX)\nadd_subdirectory(first)\nadd_subdirectory(second)\n"
        "add_executable(app main.cpp)\ntarget_link_libraries(app PRIVATE tcnstream::first tcnstream::second m)\n"
    )
    command = [need_program("cmake", "cmake"), "-S", tmp_path, "-B", tmp_path / "build", "-DCMAKE_C_FLAGS=-O1"]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path / "build", "-j2"], check=True, capture_output=True)
    app = subprocess.run([tmp_path / "build" / "app"], input=x, capture_output=True, check=True)
    assert app.stdout == answers
    changed = tmp_path / "second" / "sources.cmake"
    changed.write_text(re.sub(r"(_CORE_VERSION) \w+", r"\1 0123", changed.read_text()))
    refused = subprocess.run([*command, "--fresh"], capture_output=True, text=True)
    assert refused.returncode != 0 and "second has another core than a model that this build took in" in refused.stderr


def test_zephyr_s_modules_share_a_core(tmp_path: Path) -> None:
    """Of two models, each of which links what it needs of it."""
    exported(MODELS / "causal.i8.tflite", tmp_path, "cortex-m-dsp", "net")
    exported(MODELS / "spectro.i8.tflite", tmp_path, "cortex-m-dsp", "other")
    (tmp_path / "main.c").write_text(
        PUSH.replace('#include "net.h"', '#include "net.h"\n#include "other.h"').replace(
            "net_start(&work, &state)", "net_start(&work, &state) + other_start(&work, &state)"
        )
        + LIBRARY
    )
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20)\nproject(app C)\n{ZEPHYR}\n"
        "set(CONFIG_TCNSTREAM_NET y)\nset(CONFIG_TCNSTREAM_OTHER y)\n"
        "add_subdirectory(net/zephyr)\nadd_subdirectory(other/zephyr)\n"
        "add_executable(app main.c)\nlink_as_zephyr_does(app)\n"
    )
    app = built(tmp_path, "cortex-m-dsp")
    symbols = subprocess.run(["arm-none-eabi-nm", app], check=True, capture_output=True, text=True).stdout
    assert all(
        f" {name}\n" in symbols for name in ("tcn_conv", "tcn_binary", "tcn_depthwise", "net_plan", "other_plan")
    )
    assert "softmax" not in symbols


@pytest.mark.parametrize(
    ("family", "flags", "named"),
    [
        ("cortex-m-helium", ARM["cortex-m-dsp"], "cortex-m-helium and this build is for cortex-m-dsp"),
        (
            "cortex-m-dsp",
            f"{ARM['cortex-m-helium']} -mfloat-abi=hard",
            "cortex-m-dsp and this build is for cortex-m-helium",
        ),
        ("cortex-m-dsp", "-mcpu=cortex-m0", "cortex-m-dsp and this build is for portable plans"),
    ],
)
def test_a_build_for_another_family_is_refused_with_both_names(
    family: str, flags: str, named: str, tmp_path: Path
) -> None:
    net = exported(MODELS / "nse_lg.i8.tflite", tmp_path, family)
    compiler = need_program("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    command = [compiler, *flags.split(), "-mthumb", "-fsyntax-only", f"-I{net}", f"-I{net / 'core'}", net / "net.c"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode != 0 and f"net is packed for {named}" in said.stderr


def test_room_is_left_for_the_widest_window_of_a_family() -> None:
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    assert window_bytes(model.plan_file()) == 0
    widest = max(
        np.prod(model.plan.tensors[node.inputs[1]].shape[1:]) for node in model.plan.nodes if node.kind == "CONV_2D"
    )
    assert window_bytes(model.plan_file(family="cortex-m-helium")) == -(-(-(-widest // 16) * 16) // 64) * 64
    assert window_bytes(model.plan_file(family="cortex-m-dsp")) == -(-(-(-widest // 4) * 16) // 64) * 64
