"""The boards that the firmware is built for, one entry each.

A new board is an entry here, and a file in ``firmware/ports`` where its UART is a new one. The build, the emulator's
command line, help texts, refusals, how a board is flashed and the clock behind a deadline come from its entry.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1 << 10
MIB = 1 << 20
MHZ = 1_000_000


@dataclass(frozen=True)
class Sizes:
    """The firmware's static arrays and limits; what is not said is a process's on a PC."""

    payload: int = 4096
    """Bytes of the largest payload, both ways."""
    window: int = 4
    """Requests that may be in flight: so many replies are kept for resends."""
    receive: int = 16 * KIB
    """Bytes of the receive buffer, a power of two: the credit."""
    plan_ram: int = 1 * MIB
    """Bytes for a plan that comes over the link; 0: plans are flashed."""
    memory: int = 4 * MIB
    """Bytes for state, scratch and objects (a snapshot in or out, input frames)."""
    output: int = 256 * KIB
    """Bytes for the output frames of one push."""
    tap: int = 256 * KIB
    """Bytes for the tapped tensor's frames of one push."""
    block: int = 16
    """Most input frames per pass of the core."""


@dataclass(frozen=True)
class Region:
    """A part of a chip's memory, for the linker."""

    at: int
    size_bytes: int


@dataclass(frozen=True)
class Memory:
    """Where code, plan and data go."""

    flash: Region
    plan: Region
    ram: Region
    stack_bytes: int


@dataclass(frozen=True)
class Machine:
    """A board of qemu-system-arm; ``cpu`` replaces the one that it has."""

    name: str
    cpu: str = ""


@dataclass(frozen=True)
class Chip:
    """A processor with a clock, in words for a sentence."""

    name: str
    clock_hz: float


@dataclass(frozen=True)
class BoardSpec:
    """One board. ``cpu`` are the compiler's flags for it; without them it is a process of this machine. ``family`` are
    the processors for which plans are packed that it runs faster than portable ones.

    ``clock_hz`` is what the port sets up (0: unknown). ``estimate`` is a chip with an emulated board's core, against
    whose clock its instructions are set: the highest of its data sheet (Apollo510) or the highest but one (Apollo3's
    burst, Apollo4's usual clock). ``sdk``: the SDK with which the board can be a library that speaks USB.
    """

    name: str
    what: str
    ports: tuple[str, ...]
    sizes: Sizes
    clock_hz: int = 0
    define: str = ""
    cpu: tuple[str, ...] = ()
    family: str = "portable"
    memory: Memory | None = None
    machine: Machine | None = None
    estimate: Chip | None = None
    sdk: str = ""

    def make_variables(self) -> dict[str, str]:
        """What ``firmware/Makefile`` has to know of it."""
        defines = [f"-D{self.define}"] if self.define else []
        defines += [f"-DBRIDGE_{size.name.upper()}={getattr(self.sizes, size.name)}u" for size in fields(Sizes)]
        defines += [f"-DBRIDGE_CLOCK_HZ={self.clock_hz}u"]
        made = {"TARGET": self.name, "PORTS": " ".join(self.ports), "CPU": " ".join(self.cpu)}
        if self.memory is not None:
            places = {
                "FLASH_AT": self.memory.flash.at,
                "FLASH_BYTES": self.memory.flash.size_bytes,
                "PLAN_AT": self.memory.plan.at,
                "PLAN_BYTES": self.memory.plan.size_bytes,
                "RAM_AT": self.memory.ram.at,
                "RAM_BYTES": self.memory.ram.size_bytes,
                "STACK_BYTES": self.memory.stack_bytes,
            }
            made["PLACES"] = " ".join(f"-Wl,--defsym={name}={value:#x}" for name, value in places.items())
        return {**made, "DEFINES": " ".join(defines)}


_CORTEX_M4F = ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-mthumb")
_CORTEX_M55 = ("-mcpu=cortex-m55", "-mfloat-abi=hard", "-mthumb")

_LARGE = Sizes(plan_ram=512 * KIB, memory=2560 * KIB, output=64 * KIB)

# Apollo3's 384 KB of RAM; the ECG model's state (62 KB) and plan (86 KB) fit.
_APOLLO = Sizes(
    payload=1024, window=2, receive=4096, plan_ram=104 * KIB, memory=208 * KIB, output=8 * KIB, tap=16 * KIB
)

_UART = ("cortexm.c", "cycles.c", "pl011.c")

_TABLE = (
    BoardSpec("host", "the firmware as a process of this machine, on a pipe", ("host.c",), Sizes()),
    BoardSpec(
        "qemu-m4",
        "QEMU mps2-an386, Cortex-M4F",
        ("cortexm.c", "cycles.c", "cmsdk.c"),
        _LARGE,
        clock_hz=25 * MHZ,
        define="BOARD_MPS2_AN386",
        cpu=_CORTEX_M4F,
        family="cortex-m-dsp",
        # 4 MB of code memory, 16 MB of RAM
        memory=Memory(Region(0, MIB), Region(0x0010_0000, 3 * MIB), Region(0x2100_0000, 16 * MIB), 16 * KIB),
        machine=Machine("mps2-an386"),
        estimate=Chip("an Apollo3 or Apollo4", 96e6),
    ),
    BoardSpec(
        "qemu-m55",
        "QEMU mps3-an547, Cortex-M55 with Helium",
        ("cortexm.c", "cycles.c", "cmsdk.c"),
        _LARGE,
        clock_hz=32 * MHZ,
        define="BOARD_MPS3_AN547",
        cpu=_CORTEX_M55,
        family="cortex-m-helium",
        # ITCM for code, SRAM for the plan, two SRAM banks side by side for data
        memory=Memory(Region(0, 512 * KIB), Region(0x0100_0000, 2 * MIB), Region(0x2100_0000, 4 * MIB), 16 * KIB),
        machine=Machine("mps3-an547"),
        estimate=Chip("an Apollo510", 250e6),
    ),
    BoardSpec(
        "qemu-pl011",
        "QEMU lm3s6965evb with a Cortex-M4: the UART that Apollo chips have",
        (*_UART, "lm3s6965.c"),
        Sizes(512, 2, 1024, plan_ram=0, memory=51 * KIB, output=3072, tap=2048, block=8),
        clock_hz=12_500_000,
        cpu=_CORTEX_M4F,
        family="cortex-m-dsp",
        # 256 KB of flash, 64 KB of RAM
        memory=Memory(Region(0, 112 * KIB), Region(0x0001_C000, 144 * KIB), Region(0x2000_0000, 64 * KIB), 4 * KIB),
        machine=Machine("lm3s6965evb", "cortex-m4"),
        estimate=Chip("an Apollo3 or Apollo4", 96e6),
    ),
    BoardSpec(
        "apollo3",
        "Ambiq Apollo3 Blue, Cortex-M4F, UART",
        (*_UART, "apollo.c"),
        _APOLLO,
        clock_hz=48 * MHZ,
        define="BOARD_APOLLO3",
        cpu=_CORTEX_M4F,
        family="cortex-m-dsp",
        # 1 MB of flash, below 0xC000 Ambiq's boot loader; 384 KB of SRAM
        memory=Memory(
            Region(0x0000_C000, 208 * KIB), Region(0x0004_0000, 768 * KIB), Region(0x1000_0000, 384 * KIB), 8 * KIB
        ),
    ),
    BoardSpec(
        "apollo4",
        "Ambiq Apollo4, Cortex-M4F, UART or USB",
        (*_UART, "apollo.c"),
        _APOLLO,
        clock_hz=96 * MHZ,
        define="BOARD_APOLLO4",
        cpu=_CORTEX_M4F,
        family="cortex-m-dsp",
        # 2 MB of MRAM, below 0x18000 Ambiq's boot loader; 384 KB of tightly coupled memory
        memory=Memory(
            Region(0x0001_8000, 416 * KIB), Region(0x0008_0000, 1536 * KIB), Region(0x1000_0000, 384 * KIB), 8 * KIB
        ),
        sdk="neuralSPOT",
    ),
    BoardSpec(
        "apollo510",
        "Ambiq Apollo510, Cortex-M55 with Helium, UART or USB",
        (*_UART, "apollo.c"),
        _APOLLO,
        clock_hz=96 * MHZ,
        define="BOARD_APOLLO510",
        cpu=_CORTEX_M55,
        family="cortex-m-helium",
        # 4 MB of MRAM, applications from 0x410000 on; 496 KB of data TCM
        memory=Memory(
            Region(0x0041_0000, 448 * KIB), Region(0x0048_0000, 3584 * KIB), Region(0x2000_0000, 496 * KIB), 8 * KIB
        ),
        sdk="neuralSPOT",
    ),
)

BOARDS = {board.name: board for board in _TABLE}
EMULATED = tuple(board.name for board in _TABLE if board.machine is not None)
WITH_SDK = tuple(board.name for board in _TABLE if board.sdk)
