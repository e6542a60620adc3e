"""A folder that other firmware takes in: a model, what it needs of the core, and how CMake and Zephyr build it.

``firmware_files`` gives its files. Plan, state and scratch are arrays whose sections the build names: a plan in MRAM,
what is written at every frame in TCM. Nothing in the folder refers to this package. Folders of several models in one
build share one core, that of the first, with what all of them need.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tcnstream.engines.native.layout.arguments import Fours
from tcnstream.engines.native.layout.codes import Dtype, Family
from tcnstream.engines.native.layout.file import Header, node_records
from tcnstream.engines.native.layout.functions import ConvOp
from tcnstream.engines.native.layout.headers import CORE
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.only import needed_macros, told_header
from tcnstream.engines.native.planfile.c_array import Room, c_bytes
from tcnstream.engines.native.planfile.facts import read_facts

_ROOMS = ("", "operations", "kernels")
_BLOB_BYTES = 64
"""Parts of the scratch begin at multiples of it."""


def window_bytes(content: bytes) -> int:
    """Scratch that a plan takes beyond the portable one: the widest window as its family of processors gathers it."""
    head = Header.read(content)
    fours = [n for n in node_records(content) if n.kind == Kind.CONV and n.op == ConvOp.FOURS]
    windows = [(Fours.read(content, n.args_at), 2 if n.dtype == Dtype.I16 else 1) for n in fours]
    # As tcn_fours_window_bytes has it: values as they are, or four of two positions as 16 bits.
    most = max(
        (-(-w.taps * w.channels // (16 // item if head.family == Family.HELIUM else 4)) * 16 for w, item in windows),
        default=0,
    )
    return -(-most // _BLOB_BYTES) * _BLOB_BYTES


def firmware_files(content: bytes, name: str, room: Room) -> dict[str, bytes]:
    """Path in the folder -> bytes, in the order to write them.

    ``room`` are the sizes for ``content``, a sound plan; ``name`` is one of C.
    """
    sources = sorted(
        path.relative_to(CORE).as_posix()
        for folder in _ROOMS
        for path in (CORE / folder).iterdir()
        if path.suffix in (".c", ".h")
    )
    made = {f"core/{path}": (CORE / path).read_bytes() for path in sources}
    made["core/only.h"] = told_header().encode()
    core = hashlib.sha256(b"\0".join(path.encode() + b"\0" + part for path, part in sorted(made.items())))
    values = {
        "name": name,
        "NAME": name.upper(),
        "identity": read_facts(content).identity.replace("*/", "* /"),
        "plan_bytes": len(content),
        "state_bytes": room.state_bytes,
        "scratch_bytes": room.scratch_bytes,
        "block": room.block_frames,
        "family": read_facts(content).family,
        "rows": c_bytes(content),
        "sources": "\n    ".join(f"core/{path}" for path in sources if path.endswith(".c")),
        "core": core.hexdigest()[:16],
        "needs": "\n    ".join(f"{name}=1" for name in needed_macros([content])),
        "made_for": _MADE_FOR[read_facts(content).family].replace("@name@", name),
    }
    texts = {
        f"{name}.h": _filled(_HEADER, values),
        f"{name}.c": _filled(_SOURCE, values),
        _MARKED: _filled(_SOURCES, values),
        "CMakeLists.txt": _filled(_CMAKE, values),
        f"{name}Config.cmake": _filled(_CONFIG, values),
        "zephyr/module.yml": _filled(_MODULE, values),
        "zephyr/CMakeLists.txt": _filled(_ZEPHYR, values),
        "zephyr/Kconfig": _filled(_KCONFIG, values),
    }
    # What marks the folder comes first: an export that breaks off can be done again.
    return {_MARKED: texts.pop(_MARKED).encode()} | made | {path: text.encode() for path, text in texts.items()}


def is_firmware_folder(folder: Path) -> bool:
    """Whether an export wrote it, of whatever model and version: its list of sources begins as all of them do."""
    try:
        return (folder / _MARKED).read_bytes().startswith(_MARK)
    except OSError:
        return False


def _filled(template: str, values: dict[str, object]) -> str:
    for key, value in values.items():
        template = template.replace(f"@{key}@", str(value))
    return template


_HEADER = """\
/* @name@.h - @identity@, for @family@ processors. Written by `tcnstream export --to firmware`.
 *
 *     tcn_work work;
 *     tcn_state *state;
 *     int error = @name@_start(&work, &state);   // then tcn_push(&work, state, ...) as core/tcn.h says
 */
#ifndef @NAME@_H
#define @NAME@_H

#include "tcn.h"

#define @NAME@_PLAN_BYTES @plan_bytes@u
#define @NAME@_STATE_BYTES @state_bytes@u
#define @NAME@_SCRATCH_BYTES @scratch_bytes@u /* with blocks of @NAME@_BLOCK frames */
#define @NAME@_BLOCK @block@u

#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t @name@_plan[@NAME@_PLAN_BYTES];

/* Checks the plan and begins its one stream in memory of this library; 0 or a code of codes.h. */
int @name@_start(tcn_work *work, tcn_state **state);

#ifdef __cplusplus
}
#endif
#endif
"""

_MADE_FOR = {
    "portable": "",
    "cortex-m-dsp": """
#if defined(__ARM_FEATURE_MVE)
#error "@name@ is packed for cortex-m-dsp and this build is for cortex-m-helium: export it with --family for this one"
#elif !defined(__ARM_FEATURE_DSP)
#error "@name@ is packed for cortex-m-dsp and this build is for portable plans alone: export it without --family"
#endif
""",
    "cortex-m-helium": """
#if !defined(__ARM_FEATURE_MVE) && defined(__ARM_FEATURE_DSP)
#error "@name@ is packed for cortex-m-helium and this build is for cortex-m-dsp: export it with --family for this one"
#elif !defined(__ARM_FEATURE_MVE)
#error "@name@ is packed for cortex-m-helium and this build is for portable plans alone: export it without --family"
#endif
""",
}
"""What stops a build for other processors, which would refuse the plan when it starts."""

_SOURCE = """\
/* @name@.c - the plan, and memory for one stream, in sections that the build names (one that begins with .bss takes no
 * room in flash) or where the linker puts constants and variables. */
#include "@name@.h"
@made_for@#define IN_SECTION(name) __attribute__((section(name), aligned(64)))
#ifdef TCN_PLAN_SECTION
#define PLAN_PLACE IN_SECTION(TCN_PLAN_SECTION)
#else
#define PLAN_PLACE __attribute__((aligned(64)))
#endif
#ifdef TCN_STATE_SECTION
#define STATE_PLACE IN_SECTION(TCN_STATE_SECTION)
#else
#define STATE_PLACE __attribute__((aligned(64)))
#endif
#ifdef TCN_SCRATCH_SECTION
#define SCRATCH_PLACE IN_SECTION(TCN_SCRATCH_SECTION)
#else
#define SCRATCH_PLACE __attribute__((aligned(64)))
#endif

static uint8_t state_memory[@NAME@_STATE_BYTES] STATE_PLACE;
static uint8_t scratch_memory[@NAME@_SCRATCH_BYTES] SCRATCH_PLACE;

int @name@_start(tcn_work *work, tcn_state **state)
{
    const tcn_plan *plan = (const tcn_plan *)(const void *)@name@_plan;
    size_t where;
    int error = tcn_check(@name@_plan, sizeof @name@_plan, &where);
    *state = (tcn_state *)(void *)state_memory;
    if (!error)
        error = tcn_prepare(work, scratch_memory, sizeof scratch_memory, plan, @NAME@_BLOCK, 1, TCN_ISA_BEST);
    return error ? error : tcn_init(*state, sizeof state_memory, plan);
}

const uint8_t @name@_plan[@NAME@_PLAN_BYTES] PLAN_PLACE = {
    @rows@
};
"""

_MARKED = "sources.cmake"
_SOURCES = """\
# What is compiled, for @name@Config.cmake and zephyr/CMakeLists.txt: the core once in a build, and the model.
set(@name@_CORE_VERSION @core@)
set(@name@_CORE_SOURCES
    @sources@)
list(TRANSFORM @name@_CORE_SOURCES PREPEND "${CMAKE_CURRENT_LIST_DIR}/")
# The linker leaves out what no model needs: give it -Wl,--gc-sections.
set(@name@_OPTIONS -ffp-contract=off -ffunction-sections -fdata-sections)
# What this model needs of the core.
set(@name@_NEEDS
    @needs@)
if(TARGET tcnstream_core)
    get_target_property(tcnstream_core_version tcnstream_core TCNSTREAM_CORE_VERSION)
    if(NOT tcnstream_core_version STREQUAL @name@_CORE_VERSION)
        message(FATAL_ERROR "@name@ has another core than a model that this build took in before: export both again, "
            "with one version of tcnstream")
    endif()
endif()
"""

_MARK = _SOURCES.partition("@")[0].encode()

_CMAKE = """\
# @identity@: add_subdirectory(this folder) or find_package(@name@ CONFIG PATHS this folder), then link to
# tcnstream::@name@. The cache variables @NAME@_PLAN_SECTION, _STATE_SECTION and _SCRATCH_SECTION name sections.
cmake_minimum_required(VERSION 3.20)
if(NOT PROJECT_NAME)
    project(@name@ C)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/@name@Config.cmake")
"""

_CONFIG = """\
# The library tcnstream::@name@; see CMakeLists.txt.
if(NOT TARGET tcnstream::@name@)
    include("${CMAKE_CURRENT_LIST_DIR}/sources.cmake")
    if(NOT TARGET tcnstream_core)
        add_library(tcnstream_core OBJECT ${@name@_CORE_SOURCES})
        set_target_properties(tcnstream_core PROPERTIES
            C_STANDARD 99 C_EXTENSIONS ON TCNSTREAM_CORE_VERSION ${@name@_CORE_VERSION})
        target_include_directories(tcnstream_core PUBLIC "${CMAKE_CURRENT_LIST_DIR}/core")
        target_compile_options(tcnstream_core PRIVATE ${@name@_OPTIONS})
        target_compile_definitions(tcnstream_core PRIVATE "TCN_ONLY=\\"only.h\\"")
    endif()
    target_compile_definitions(tcnstream_core PRIVATE ${@name@_NEEDS})
    add_library(@name@ STATIC "${CMAKE_CURRENT_LIST_DIR}/@name@.c")
    add_library(tcnstream::@name@ ALIAS @name@)
    set_target_properties(@name@ PROPERTIES C_STANDARD 99 C_EXTENSIONS ON)
    target_include_directories(@name@ PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
    target_compile_options(@name@ PRIVATE ${@name@_OPTIONS})
    target_link_libraries(@name@ PUBLIC tcnstream_core)
    foreach(part PLAN STATE SCRATCH)
        set(@NAME@_${part}_SECTION "" CACHE STRING "section of the ${part} of @name@; empty: the linker's own")
        if(@NAME@_${part}_SECTION)
            target_compile_definitions(@name@ PRIVATE "TCN_${part}_SECTION=\\"${@NAME@_${part}_SECTION}\\"")
        endif()
    endforeach()
endif()
"""

_MODULE = """\
name: @name@
build:
  cmake: zephyr
  kconfig: zephyr/Kconfig
"""

_ZEPHYR = """\
# For ZEPHYR_EXTRA_MODULES; CONFIG_TCNSTREAM_@NAME@=y links the model.
if(CONFIG_TCNSTREAM_@NAME@)
    include("${CMAKE_CURRENT_LIST_DIR}/../sources.cmake")
    if(NOT TARGET tcnstream_core)
        zephyr_include_directories("${CMAKE_CURRENT_LIST_DIR}/../core")
        zephyr_library_named(tcnstream_core)
        zephyr_library_sources(${@name@_CORE_SOURCES})
        zephyr_library_compile_options(${@name@_OPTIONS})
        zephyr_library_compile_definitions("TCN_ONLY=\\"only.h\\"")
        set_target_properties(tcnstream_core PROPERTIES TCNSTREAM_CORE_VERSION ${@name@_CORE_VERSION})
    endif()
    target_compile_definitions(tcnstream_core PRIVATE ${@name@_NEEDS})
    zephyr_include_directories("${CMAKE_CURRENT_LIST_DIR}/..")
    zephyr_library_named(@name@)
    zephyr_library_sources("${CMAKE_CURRENT_LIST_DIR}/../@name@.c")
    zephyr_library_compile_options(${@name@_OPTIONS})
    foreach(part PLAN STATE SCRATCH)
        if(NOT "${CONFIG_TCNSTREAM_@NAME@_${part}_SECTION}" STREQUAL "")
            zephyr_library_compile_definitions("TCN_${part}_SECTION=\\"${CONFIG_TCNSTREAM_@NAME@_${part}_SECTION}\\"")
        endif()
    endforeach()
endif()
"""

_KCONFIG = """\
config TCNSTREAM_@NAME@
    bool "@name@, a streaming network"

if TCNSTREAM_@NAME@

config TCNSTREAM_@NAME@_PLAN_SECTION
    string "Section of the plan (constants), such as .mram"
    default ""

config TCNSTREAM_@NAME@_STATE_SECTION
    string "Section of the state (what a stream remembers), such as .dtcm"
    default ""

config TCNSTREAM_@NAME@_SCRATCH_SECTION
    string "Section of the scratch memory, such as .dtcm"
    default ""

endif
"""
