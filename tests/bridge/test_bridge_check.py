"""The board computes what the host computes: exactly, on real Arm code in emulation, and a fault is found by name."""

from __future__ import annotations

import dataclasses
import html
import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.bridge_tools import EMULATED, a_board, program, signal
from helpers.paths import DATA, MODELS

from firmware_bridge.boards.board import BoardFacts, Cost
from firmware_bridge.boards.program import Program
from firmware_bridge.check.chunks import cut, parse_chunks
from firmware_bridge.check.compare import Tolerance, parse_tolerance
from firmware_bridge.check.cost import cost_report, cost_sentence
from firmware_bridge.check.run import check
from firmware_bridge.check.tflm_file import check_file
from firmware_bridge.errors import BridgeError
from firmware_bridge.link.faults import Faults, faulty
from firmware_bridge.report.page import to_html
from firmware_bridge.report.result import to_json
from tcnstream.measure.compare import FLOAT_TOLERANCE

INTEGER = sorted(json.loads((DATA / "native_sha256.json").read_text()))
EVERY = ("host", *(pytest.param(target, marks=pytest.mark.slow) for target in EMULATED))
FLOAT = ("causal.f32", "nse_lg.f32", "sig_reflect.f32", "spectro.f32", "strided.f32", "unet_max.f32", "wavenet.f32")


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("target", EVERY)
def test_integer_models_are_equal_in_every_frame_and_state(target: str, name: str) -> None:
    with a_board(target, name) as board:
        report = check(program(name), board, signal(name, 120), tolerance=Tolerance("exact"))
    assert report.passed, report.verdict
    assert all(tensor.equal == tensor.frames for tensor in report.tensors)
    assert {tensor.role for tensor in report.tensors} == {"output", "state"}
    assert [stage.name for stage in report.stages] == [
        "random chunks",
        "state",
        "flush",
        "reset, then a second stream",
        "snapshot of the host, restored on the board",
        "snapshot of the board, restored on the host",
        "flush after the snapshots",
    ]
    assert report.stages[1].states >= 10 and report.stages[0].frames > 0


@pytest.mark.parametrize("name", FLOAT)
@pytest.mark.parametrize("target", EVERY)
def test_float_models_are_within_the_tolerance(target: str, name: str) -> None:
    with a_board(target, name) as board:
        report = check(program(name), board, signal(name, 60), taps="outputs")
    assert report.passed, report.verdict
    (output,) = [tensor for tensor in report.tensors if tensor.role == "output"]
    assert output.largest <= FLOAT_TOLERANCE * max(1.0, float(np.abs(report.traces[0].host).max()))


@pytest.mark.slow
def test_every_tensor_on_demand() -> None:
    with a_board("qemu-m4", "nse_sm.i8") as board:
        report = check(program("nse_sm.i8"), board, signal("nse_sm.i8", 100), taps="all")
    tensors = [tensor for tensor in report.tensors if tensor.role == "tensor"]
    assert len(tensors) == len(program("nse_sm.i8").plan.nodes) and all(t.frames == t.equal > 0 for t in tensors)
    assert report.passed and report.stages[-1].name == "every tensor"
    outputs = [tensor.name for tensor in report.tensors if tensor.role == "output"]
    assert outputs == [port.name for port in program("nse_sm.i8").model.outputs]


@pytest.mark.slow
def test_instructions_are_counted_alike_in_every_run() -> None:
    """Emulated time stands still while the machine is busy elsewhere."""
    costs = []
    for _ in range(2):
        with a_board("qemu-m4", "nse_sm.i8") as board:
            costs.append(check(program("nse_sm.i8"), board, signal("nse_sm.i8", 60), chunks="10", rate_hz=250).cost)
    first = costs[0]
    assert first is not None and costs[0] == costs[1]
    assert first.unit == "instructions" and first.frames == 60 and first.estimated
    assert 5_000 < first.median <= first.p99 <= first.worst < 100_000
    assert first.deadline == 96e6 / 250 and first.share == pytest.approx(first.worst / first.deadline)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", pytest.param("qemu-m4", marks=pytest.mark.slow)])
def test_what_each_operation_costs_is_told(target: str) -> None:
    with a_board(target, "nse_lg.i8") as board:
        report = check(program("nse_lg.i8"), board, signal("nse_lg.i8", 200))
    nodes = program("nse_lg.i8").plan.nodes
    assert [o.operation for o in report.operations] == [node.label for node in nodes]
    assert sum(o.share for o in report.operations) == pytest.approx(1)
    assert all(o.per_frame > 0 for o in report.operations) and report.cost is not None
    if target == "qemu-m4":
        assert 0.8 * report.cost.median < sum(o.per_frame for o in report.operations) < 1.3 * report.cost.worst
    page = to_html(to_json(report))
    assert "By operation, in" in page and nodes[0].label in html.unescape(page)
    with a_board("host", "nse_lg.i8") as board:
        board.start(program("nse_lg.i8"))
        board.count_operations()
        board.push([signal("nse_lg.i8", 20)])
        assert len(board.operation_ticks()) == len(nodes)
        board.tap(program("nse_lg.i8").plan.outputs[0])
        assert board.operation_ticks() == []


def test_an_emulator_whose_time_is_not_counted_claims_no_instructions() -> None:
    with a_board("qemu-m4?counted=0", "nse_sm.i8") as board:
        report = check(program("nse_sm.i8"), board, signal("nse_sm.i8", 60), taps="outputs", rate_hz=250)
    assert report.board.emulated and report.cost is not None
    assert (report.cost.unit, report.cost.deadline, report.cost.estimated) == ("nanoseconds", None, False)


def facts_of(target: str, ticks: str, clock_hz: int) -> BoardFacts:
    return BoardFacts(target, "", "", clock_hz, ticks, clock_hz or 10**9, ticks == "instructions")


def test_a_cost_is_set_against_the_deadline_of_the_rate() -> None:
    cycles = facts_of("apollo4", "cycles", 96_000_000)
    spent = [Cost(10, 1_000_000), Cost(0, 5_000), Cost(1, 600_000)]
    found = cost_report(cycles, spent, 250)
    assert found is not None and (found.frames, found.median, found.worst) == (11, 100_000, 605_000)
    assert found.deadline == 384_000 and found.share == 605 / 384 and not found.estimated
    said = cost_sentence(asdict(found))
    assert "the deadline of 250 Hz with the board's clock at 96 MHz is 384,000: MISSED, the worst takes 157.6%" in said
    found = cost_report(cycles, spent, 250, clock_hz=192e6)
    assert found is not None and found.deadline == 768_000 and found.share == 605 / 768
    assert cost_report(cycles, [], 250) is None
    found = cost_report(cycles, spent, None)
    assert found is not None and found.deadline is None
    assert "neither model nor recording says the rate (--rate HZ)" in cost_sentence(asdict(found))


def test_a_model_with_strides_has_the_time_of_a_step() -> None:
    """One sample in 160 brings the work of all of them."""
    cycles = facts_of("apollo4", "cycles", 96_000_000)
    spent = [Cost(1, 800_000 if k % 160 == 159 else 100) for k in range(400)]
    found = cost_report(cycles, spent, 16_000, step_frames=160)
    assert found is not None and found.frames == 400 and found.deadline == 6_000
    assert found.worst == pytest.approx(800_000 / 160 + 100 * 159 / 160) and found.share is not None and found.share < 1
    assert "cycles per input frame, in steps of 160 frames: median" in cost_sentence(asdict(found))
    assert program("strided.i8").step_frames == 16 and program("causal.i8").step_frames == 1


def test_the_deadline_of_an_emulated_board_is_an_estimate_for_an_apollo() -> None:
    board = BoardFacts("qemu-m55", "", "", 32_000_000, "instructions", 20_000_000, True)
    spent = [Cost(1, round(50_000 * 1024 * 20e6 / 1e9))]
    found = cost_report(board, spent, 250)
    assert found is not None and found.deadline == 1e6 and found.worst == pytest.approx(50_000, abs=1)
    said = cost_sentence(asdict(found))
    assert "with an Apollo510 at 250 MHz is 1,000,000 cycles: would be kept, the worst takes 5.0%" in said
    assert said.endswith("(estimate: one cycle for each emulated instruction, no wait states)")


def test_a_difference_within_the_tolerance_passes() -> None:
    """A board whose last operation is off by one step."""
    last = len(program("nse_sm.i8").plan.nodes) - 1
    with a_board("host", "nse_sm.i8", fault=True) as board:
        board.fault(last)
        strict = check(program("nse_sm.i8"), board, signal("nse_sm.i8", 100))
        mild = check(program("nse_sm.i8"), board, signal("nse_sm.i8", 100), tolerance=parse_tolerance("steps:1"))
    assert not strict.passed and mild.passed
    (output,) = [tensor for tensor in strict.tensors if tensor.role == "output"]
    assert output.largest_steps == 1 and output.equal < output.frames and 0 < output.rmse < output.largest * 1.01
    assert 0 < output.snr_db < 80 and 0.9 < output.cosine < 1
    step = float(program("nse_sm.i8").model.outputs[0].quantization.scale[0])  # type: ignore[union-attr]
    assert output.largest == pytest.approx(step)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nse_mb_d2b2.i8", "causal.i8", "strided.f32"])
def test_a_fault_in_any_operation_is_named(name: str) -> None:
    """One kernel's results rounded to odd, for all operations of the model one after the other."""
    plan = program(name).plan
    x = signal(name, 100)
    with a_board("host", name, fault=True) as board:
        for node in range(len(plan.nodes)):
            board.fault(node)
            report = check(program(name), board, x, taps="all")
            found = report.first_difference
            assert found is not None and not report.passed, (node, plan.nodes[node].kind)
            assert (found.node, found.index) == (node, plan.nodes[node].index)
            made = program(name).all_frames(plan.nodes[node].outputs, [x])
            frame = _first_rounded(made[plan.nodes[node].outputs[0]])
            assert found.frame == frame, (node, plan.nodes[node].kind)
            assert found.inputs or not plan.sources[node]


def _first_rounded(frames: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
    """The first frame that rounding to odd changes by more than the tolerance: the definition, without a board."""
    flat = np.ascontiguousarray(frames).reshape(len(frames), -1)
    if flat.dtype.kind == "f":
        odd = (flat.view(np.uint32) | 0x0FFF).view(np.float32)
        changed = np.abs(odd - flat) > FLOAT_TOLERANCE * np.maximum(1, np.abs(flat))
    else:
        changed = (flat & 1) == 0
    return int(np.flatnonzero(changed.any(axis=1))[0])


@pytest.mark.parametrize("taps", ["outputs", "states"])
def test_bisection_finds_a_fault_from_the_output_alone(taps: str) -> None:
    name = "nse_mb_d2b2.i8"
    plan = program(name).plan
    with a_board("host", name, fault=True) as board:
        for node in (3, len(plan.nodes) // 2, len(plan.nodes) - 2):
            board.fault(node)
            report = check(program(name), board, signal(name, 200), taps=taps)  # type: ignore[arg-type]
            assert report.first_difference is not None and report.first_difference.node == node
            assert report.first_difference.probes < len(plan.nodes) / 3


@pytest.mark.slow
def test_a_fault_on_an_emulated_board() -> None:
    name = "nse_mb.i8"
    with a_board("qemu-m55", name, fault=True) as board:
        board.fault(4)
        report = check(program(name), board, signal(name, 60))
    assert report.first_difference is not None and report.first_difference.node == 4


def test_tflm_rounds_fully_connected_twice_and_the_report_says_so() -> None:
    with a_board("tflm", "causal.i8") as board:
        report = check(program("causal.i8"), board, signal("causal.i8", 200))
    found = report.first_difference
    assert found is not None and found.operation.startswith("FULLY_CONNECTED (op ")
    assert "TensorFlow Lite Micro rounds twice where LiteRT does not" in found.cause
    assert "compare with --rounding tflm" in report.verdict
    assert abs(found.expected - found.got) == 1
    with a_board("tflm") as board:
        board.start(program("causal.i8", "tflm"))
        assert check(program("causal.i8", "tflm"), board, signal("causal.i8", 200), taps="all").passed


def test_what_tflm_gets_wrong_in_the_unmodified_file_is_named() -> None:
    pytest.importorskip("tflite_micro")
    branches = check_file(program("nse_mb_d2b2.i8"), signal("nse_mb_d2b2.i8"))
    found = branches.first_difference
    assert not branches.passed and found is not None
    assert found.operation.startswith("DEPTHWISE_CONV_2D (op 18, ") and found.frame == 0 and "branches" in found.cause
    dense = check_file(program("causal.i8"), signal("causal.i8"))
    assert dense.first_difference is not None and dense.first_difference.frame == 70
    assert dense.first_difference.operation.startswith("FULLY_CONNECTED (op 48, ") and "twice" in dense.verdict
    assert check_file(program("causal.i8", "tflm"), signal("causal.i8")).passed
    assert check_file(program("nse_lg.i8"), signal("nse_lg.i8")).passed
    with pytest.raises(BridgeError, match="the file's window has 800 frames and the recording 10"):
        check_file(program("nse_lg.i8"), signal("nse_lg.i8", 10))


@pytest.mark.parametrize("name", ["nse_mb_d2b2.i8", "nse_lg.f32"])
def test_tflm_agrees_where_it_should(name: str) -> None:
    with a_board("tflm", name) as board:
        report = check(program(name), board, signal(name, 120), taps="all")
    assert report.passed, report.verdict
    assert any("cannot end a signal" in stage.note for stage in report.stages)


@pytest.mark.slow
def test_a_plan_with_the_other_rounding_runs_on_the_board() -> None:
    """What TFLite Micro computes, computed by the core: the host with that rounding agrees in every bit."""
    with a_board("qemu-m4") as board:
        board.start(program("causal.i8", "tflm"))
        assert board.hello.rounding == "tflm"
        assert check(program("causal.i8", "tflm"), board, signal("causal.i8", 60)).passed


@pytest.mark.slow
def test_a_model_over_the_link_instead_of_in_flash() -> None:
    with a_board("qemu-m4?load=link", "nse_sm.i8") as board:
        assert check(program("nse_sm.i8"), board, signal("nse_sm.i8", 40)).passed
        board.start(program("strided.i8"))
        assert check(program("strided.i8"), board, signal("strided.i8", 40)).passed


def test_a_policy_s_state_crosses_as_well() -> None:
    import tcnstream

    pooled = Program.of(tcnstream.load(MODELS / "nse_sm_se.i8.tflite"), time_pooling="cumulative")
    x = np.random.default_rng(0).integers(-128, 128, (150, *pooled.model.inputs[0].shape), np.int8)
    with a_board("host") as board:
        board.start(pooled)
        assert check(pooled, board, x).passed


def test_a_check_on_a_bad_line_is_the_same_check() -> None:
    name = "nse_sm.i8"
    with a_board("host", name, wrap=faulty(Faults(flip=0.0005, drop=0.01, duplicate=0.01, seed=5))) as board:
        board.link.least_wait_s = 0.01
        report = check(program(name), board, signal(name, 200))
    assert report.passed and report.link.resends > 0


def test_the_overhead_of_the_line_for_the_ecg_model() -> None:
    """250 Hz in chunks of 25 at 115,200 baud, ten bits a byte: both directions together below 30 % of one line."""
    import tcnstream
    from tcnstream.signal.card import find_model

    ecg = Program.of(tcnstream.load(find_model("ecg")[0]), time_pooling=None)
    with a_board("host") as board:
        board.start(ecg)
        x = np.zeros((250 * 8, 1), np.int8)
        before = dataclasses.replace(board.link.stats)
        for k in range(0, len(x), 25):
            board.push([x[k : k + 25]])
        used = board.link.stats.bytes_in + board.link.stats.bytes_out - before.bytes_in - before.bytes_out
    assert used / 8 / (115_200 / 10) < 0.30


def test_chunks_and_tolerances_are_read() -> None:
    assert parse_chunks("random:7") == ("random", 7) and cut(10, "4") == [4, 4, 2]
    assert sum(cut(1000, "random:3")) == 1000 and cut(1000, "random:3") != cut(1000, "random:3", again=1)
    assert str(parse_tolerance("abs:1e-4")) == "abs:0.0001"
    for wrong in ("random:x", "0", "-3", "often"):
        with pytest.raises(BridgeError, match="there is no way to cut"):
            parse_chunks(wrong)
    for wrong in ("steps:-1", "abs:inf", "near"):
        with pytest.raises(BridgeError, match="there is no tolerance"):
            parse_tolerance(wrong)


def test_a_check_that_compares_nothing_is_refused() -> None:
    with a_board("tflm?hop=40", "nse_sm.i8") as board, pytest.raises(BridgeError, match="in hops of 40 frames"):
        check(program("nse_sm.i8"), board, signal("nse_sm.i8", 39))
    with a_board("tflm", "nse_sm.i8") as board, pytest.raises(BridgeError, match="so nothing would be compared"):
        check(program("nse_sm.i8"), board, signal("nse_sm.i8", program("nse_sm.i8").model.delay))
    with a_board("host", "nse_sm.i8") as board:  # it can end a signal, so its tail can be compared
        assert check(program("nse_sm.i8"), board, signal("nse_sm.i8", 1)).passed


def test_an_infinity_that_only_one_side_has_is_a_difference() -> None:
    tensor = program("nse_lg.f32").plan.tensors[program("nse_lg.f32").plan.outputs[0]]
    a, b = np.array([np.inf, 1, np.nan], np.float32), np.array([1, 1, np.nan], np.float32)
    for text in ("default", "exact", "steps:1", "abs:1"):
        assert parse_tolerance(text).agrees(tensor, a, b).tolist() == [False, True, True]
        assert parse_tolerance(text).agrees(tensor, a, a).all()
