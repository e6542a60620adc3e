"""The plan file: what it says of itself, what it refuses, and the same bytes as a C array."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import DATA, MODELS, STATEFUL

import tcnstream
from tcnstream import EngineError, ModelError, NotStreamableError
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.layout.arguments import Binary, Conv, Move
from tcnstream.engines.native.layout.file import MAGIC, VERSION, Header, node_records, sections
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.planfile.c_array import c_header
from tcnstream.engines.native.planfile.facts import read_facts
from tcnstream.engines.native.planfile.memory import stream_numbers
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.signal.card import find_model


def load(name: str) -> tcnstream.Model:
    return tcnstream.load(MODELS / f"{name}.tflite")


@pytest.mark.parametrize("name", ["nse_lg.i8", "unet_max.f32", "causal.i16", "sig_reflect.f32"])
def test_it_says_what_the_plan_says(name: str) -> None:
    model = load(name)
    content = model.plan_file()
    facts = read_facts(content)
    assert content.startswith(MAGIC) and facts.version == VERSION
    assert facts.identity.startswith(model.file.sha256[:16])
    assert facts.window_frames == model.window_frames
    numbers = stream_numbers(model.plan)
    assert facts.inputs == tuple(numbers[i] for i in model.plan.inputs)
    assert facts.outputs == tuple(numbers[i] for i in model.plan.outputs)
    for told, node in zip(facts.nodes, model.plan.nodes, strict=True):
        assert (told.kind, told.label, told.index) == (node.kind, node.label, node.index)
        assert told.outputs == tuple(numbers[o] for o in node.outputs) and told.window == node.window
    streams = [i for i, tensor in enumerate(model.plan.tensors) if tensor.data is None]
    assert sorted(numbers[i] for i in streams) == list(range(len(facts.tensors)))
    for i in streams:
        tensor, had = facts.tensors[numbers[i]], model.plan.tensors[i]
        assert (tensor.name, tensor.dtype, tensor.shape) == (had.name, str(had.dtype), had.shape)
    assert facts.ring_bytes == pytest.approx(model.state_bytes, rel=0.1)


def test_it_is_the_same_file_every_time() -> None:
    assert load("nse_lg.i8").plan_file() == load("nse_lg.i8").plan_file()


@pytest.mark.parametrize("family", ["cortex-m-dsp", "cortex-m-helium"])
def test_a_plan_for_a_family_says_so_and_another_core_refuses_it(family: str) -> None:
    """Its snapshots are those of the portable plan."""
    model = load("nse_lg.i8")
    portable, packed = model.plan_file(), model.plan_file(family=family)
    facts = read_facts(packed)
    assert facts.family == family and read_facts(portable).family == "portable"
    assert facts.program_crc32 == read_facts(portable).crc32 == read_facts(portable).program_crc32 != facts.crc32
    assert len(packed) < len(portable)
    with pytest.raises(EngineError, match=f"packed for {family} and this core runs portable plans"):
        load_core().Plan(packed)
    with pytest.raises(EngineError, match="family='m4' is unknown; use 'portable' or 'cortex-m-dsp' or"):
        model.plan_file(family="m4")


@pytest.mark.parametrize("family", ["cortex-m-dsp", "cortex-m-helium"])
@pytest.mark.parametrize("name", ["nse_lg.i8", "causal.i8", "spectro.i8", "causal.i16", "ecg", "speech"])
def test_a_plan_for_a_family_is_little_more_than_its_constants(name: str, family: str) -> None:
    model = load(name) if "." in name else tcnstream.load(find_model(name)[0])
    assert len(model.plan_file(family=family)) <= 1.3 * constant_bytes(model)


def constant_bytes(model: tcnstream.Model) -> int:
    used = {i for node in model.plan.nodes for i in node.inputs if i >= 0}
    return sum(data.nbytes for i in used if (data := model.plan.tensors[i].data) is not None)


def test_a_transposition_is_a_few_moves_of_many_elements() -> None:
    """929 moves of one element each took 18,580 bytes."""
    model = tcnstream.load(DATA / "converted" / "lt_cls_flat.tflite")
    content = model.plan_file(family="cortex-m-helium")
    moves = [Move.read(content, node.args_at) for node in node_records(content) if node.kind == Kind.MOVE]
    assert 0 < sum(move.n_runs for move in moves) <= 40
    assert len(content) <= 1.3 * constant_bytes(model)


def test_data_that_others_hold_as_a_part_are_not_written_again() -> None:
    """Every padding of zeros is the beginning of the longest one, or of zeros among weights."""
    model = load("nse_mb.f32")
    content = model.plan_file(family="cortex-m-dsp")
    fills = {node.fill_at for node in node_records(content) if node.fill_at}
    assert len(fills) <= 2 < sum(node.fill_at > 0 for node in node_records(content))


def test_a_convolution_of_floats_has_no_scales_of_integers() -> None:
    content = load("causal.f32").plan_file()
    places = sorted(node.args_at for node in node_records(content) if node.kind == Kind.CONV)
    assert {b - a for a, b in itertools.pairwise(places)} >= {Conv.offset("bias_u8_at")}
    assert places[-1] + Conv.size <= len(content)
    load_core().Plan(write_plan(load("causal.f32").plan))


@pytest.mark.parametrize("family", ["cortex-m-dsp", "cortex-m-helium"])
def test_a_plan_for_a_family_has_the_numbers_that_a_board_needs_and_no_names(family: str) -> None:
    model = tcnstream.load(find_model("ecg")[0])
    packed = model.plan_file(family=family)
    assert not any(tensor.name.encode() in packed for tensor in model.plan.tensors)
    facts, portable = read_facts(packed), read_facts(model.plan_file())
    assert [(t.dtype, t.ring_frames, t.ring_at) for t in facts.tensors] == [
        (t.dtype, t.ring_frames, t.ring_at) for t in portable.tensors
    ]
    assert facts.nodes[0].label == "" and portable.nodes[0].label == model.plan.nodes[0].label
    assert facts.tensors[facts.inputs[0]].shape == portable.tensors[facts.inputs[0]].shape
    assert facts.identity == portable.identity


def test_records_follow_one_another_weights_are_aligned_and_nothing_follows() -> None:
    content = load("nse_lg.i8").plan_file()
    head = Header.read(content)
    assert head.bytes == len(content)
    assert sections(head).frames_at == Header.size and sections(head).nodes_at % 4 == 0
    weights = [Conv.read(content, n.args_at).weights_at for n in node_records(content) if n.kind == Kind.CONV]
    assert weights and all(at % 64 == 0 for at in weights)
    assert head.crc32 == zlib.crc32(content[20:])


def test_rounding_and_policy_are_recorded() -> None:
    model = load("nse_lg_se.i8")
    with pytest.raises(NotStreamableError, match="averages all 800 frames"):
        model.plan_file()
    trailing = read_facts(model.plan_file("trailing:100", rounding="tflm"))
    assert trailing.rounding == "tflm" and "trailing:100" in trailing.identity
    calibration = np.zeros((900, 1), np.float32)
    frozen = read_facts(model.plan_file("frozen", calibration))
    assert frozen.rounding == "litert" and "frozen" in frozen.identity


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda c: b"TFL3" + c[4:], "these bytes are not a plan file"),
        (lambda c: c[:50], "these bytes are not a plan file"),
        (lambda c: c[:8] + b"\x63\0\0\0" + c[12:], f"has version 99, this package reads {VERSION}"),
        (lambda c: c[:-1], "damaged"),
        (lambda c: c[:500] + bytes([c[500] ^ 1]) + c[501:], "damaged"),
    ],
)
def test_what_is_no_plan_is_refused(damage: object, text: str) -> None:
    content = load("nse_lg.i8").plan_file()
    with pytest.raises(ModelError, match=text):
        read_facts(damage(content))  # type: ignore[operator]


def test_a_c_compiler_reads_the_header_back(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    content = load("nse_lg.i8").plan_file()
    (tmp_path / "plan.h").write_text(c_header(content, "ecg_plan"))
    (tmp_path / "main.c").write_text(
        '#include "plan.h"\n#include <stdio.h>\n'
        "int main(void) { fwrite(ecg_plan, 1, ECG_PLAN_BYTES, stdout);"
        " return (int)((unsigned long)ecg_plan % 64); }\n"
    )
    program = tmp_path / "main"
    subprocess.run([compiler, "-std=c99", "-Wall", "-Werror", tmp_path / "main.c", "-o", program], check=True)
    assert subprocess.run([program], check=True, capture_output=True).stdout == content


def test_a_label_cannot_end_the_header_s_comment() -> None:
    content = load("nse_lg.i8").plan_file()
    assert c_header(content, "plan").count("*/") == 1


def test_what_the_core_lacks_is_said_before_it_runs() -> None:
    assert load("nse_lg.i8").native_lacks() == []
    assert load("nse_lg_se.i8").native_lacks() == []
    lacking = {path.stem: tcnstream.load(path).native_lacks() for path in STATEFUL.glob("*.tflite")}
    (sentence,) = lacking.pop("hold")
    assert not any(lacking.values())
    with pytest.raises(EngineError, match="lacks `FLOOR_MOD`") as refused:
        tcnstream.load(STATEFUL / "hold.tflite").plan_file()
    assert str(refused.value) == sentence


def test_nodes_share_windows_operands_and_what_their_frames_have_in_common() -> None:
    """Twelve convolutions and five sums of 16 channels: one after the other, where they are one after the other."""
    model = load("causal.i8")
    head = Header.read(model.plan_file(family="cortex-m-helium"))
    assert head.n_nodes == len(model.plan.nodes) == 17
    assert head.n_windows == len({node.window for node in model.plan.nodes}) == 6
    assert head.n_frames == 3 and head.n_tensors == 18
    assert head.n_operands < sum(len(node.inputs) + len(node.outputs) for node in model.plan.nodes) / 2


def test_the_core_refuses_another_version_and_operands_that_are_not_there() -> None:
    content = bytearray(load("causal.i8").plan_file())
    sums = [node for node in node_records(bytes(content)) if node.kind == Kind.BINARY]
    content[sums[0].args_at + Binary.offset("has_operands")] = 1
    struct.pack_into("<I", content, Header.offset("crc32"), zlib.crc32(content[20:]))
    with pytest.raises(EngineError, match=r"value that no writer makes|points outside of itself"):
        load_core().Plan(bytes(content))
    struct.pack_into("<I", content, Header.offset("version"), VERSION - 1)
    with pytest.raises(EngineError, match="no plan of this version"):
        load_core().Plan(bytes(content))
