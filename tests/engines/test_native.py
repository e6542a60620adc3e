"""The binding: what the native streams of Python take and refuse, and what they show of their inside."""

from __future__ import annotations

import array
import struct
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from helpers.contract import verify_contract
from helpers.netfile import Net
from helpers.networks import build, layer, signals
from helpers.paths import MODELS

import tcnstream
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.executor import NativeExecutor, NativeMemory
from tcnstream.engines.native.layout.file import FrameRecord, Header, NodeRecord, TensorRecord, WindowRecord, sections
from tcnstream.engines.native.planfile.memory import stream_numbers
from tcnstream.errors import EngineError, StreamError

try:
    load_core()
except EngineError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def executor(name: str, isa: int = 0) -> NativeExecutor:
    return NativeExecutor(tcnstream.load(MODELS / f"{name}.tflite").plan, isa=isa)


def signal(name: str) -> Any:
    with np.load(MODELS / f"{name}.npz") as arrays:
        return np.ascontiguousarray(arrays["x"][0])


@pytest.fixture
def memory() -> NativeMemory:
    return executor("nse_lg.f32").new_memory()


def out_of(memory: NativeMemory, frames: int) -> Any:
    return np.zeros((frames, 1, 5), np.float32)


def test_any_dense_buffer_of_the_right_type_is_a_chunk(memory: NativeMemory) -> None:
    x = np.arange(400, dtype=np.float32) / 100
    results = []
    for chunk in (x.reshape(-1, 1), memoryview(x.reshape(-1, 1)), x.reshape(-1, 1, 1)):
        memory.reset()
        out = out_of(memory, 500)
        n = memory.stream.push_into(chunk, out)
        results.append(out[:n].copy())
    assert len(results[0]) > 0
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_bytes_are_frames_of_int8_only_as_a_typed_view() -> None:
    memory = executor("nse_lg.i8").new_memory()
    x = array.array("b", [5, -7, 100] * 100)
    out = np.zeros((400, 1, 5), np.int8)
    n = memory.stream.push_into(memoryview(x).cast("B").cast("b", (300, 1)), out)
    assert n > 0
    with pytest.raises(StreamError, match="takes int8 and got format 'B'"):
        memory.stream.push_into(bytearray(300), out)
    assert memory.pushed_frames == 300


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((8, 1), np.float64), "takes float32 and got format 'd'"),
        (np.zeros((8, 1), ">f4"), "takes float32 and got format '>f'"),
        (np.zeros((8, 2), np.float32), "1 values per frame"),
        (np.zeros((), np.float32), "1 values per frame"),
        (np.zeros((16, 1), np.float32)[::2], "contiguous"),
        ([1.0, 2.0], "contiguous"),
        (None, "contiguous"),
        ((np.zeros((8, 1), np.float32),) * 2, "1 chunks, one per input"),
    ],
)
def test_what_is_no_chunk_is_refused_and_nothing_moves(memory: NativeMemory, chunk: Any, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        memory.stream.push_into(chunk, out_of(memory, 64))
    assert memory.pushed_frames == 0


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((64, 1, 5), np.int8), "takes float32 and got format 'b'"),
        (np.zeros((64, 4), np.float32), "5 values per frame"),
        (np.zeros((64, 10), np.float32)[:, ::2], "writable contiguous"),
        (np.zeros((64, 5), np.float32).tobytes(), "writable contiguous"),
    ],
)
def test_what_is_no_output_is_refused_and_nothing_moves(memory: NativeMemory, out: Any, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        memory.stream.push_into(np.zeros((8, 1), np.float32), out)
    assert memory.pushed_frames == 0


def test_an_output_that_is_too_small_loses_nothing(memory: NativeMemory) -> None:
    x = np.sin(np.arange(600, dtype=np.float32)).reshape(-1, 1)
    whole, out = out_of(memory, 700), out_of(memory, 700)
    n = memory.stream.push_into(x, whole)
    memory.reset()
    with pytest.raises(StreamError, match=f"{n} frames would come out .*nothing was lost"):
        memory.stream.push_into(x, out[: n - 1])
    assert memory.pushed_frames == 0
    assert memory.stream.push_into(x, out[:n]) == n
    assert np.array_equal(out[:n], whole[:n])


def test_a_push_after_the_flush_is_refused_until_reset(memory: NativeMemory) -> None:
    x = np.zeros((300, 1), np.float32)
    memory.stream.push_into(x, out_of(memory, 400))
    memory.stream.flush_into(out_of(memory, 400))
    assert memory.ended
    for again in (
        lambda: memory.stream.push_into(x, out_of(memory, 400)),
        lambda: memory.stream.flush_into(out_of(memory, 400)),
    ):
        with pytest.raises(StreamError, match="ended; call reset"):
            again()
    memory.reset()
    assert memory.stream.push_into(x, out_of(memory, 400)) > 0


def test_a_nan_stays_in_its_stream_and_in_its_reach() -> None:
    made = executor("nse_lg.f32")
    sick, well = made.new_memory(), made.new_memory()
    x = np.sin(np.arange(2000, dtype=np.float32) / 7).reshape(-1, 1)
    ill = x.copy()
    ill[300] = np.nan
    a, b = out_of(sick, 2100), out_of(well, 2100)
    n = sick.stream.push_into(ill, a)
    assert well.stream.push_into(x, b) == n
    assert np.isnan(a).any()
    assert not np.isnan(b).any()
    assert np.array_equal(a[n - 500 : n], b[n - 500 : n])


def test_two_threads_on_one_stream_are_told(memory: NativeMemory) -> None:
    """A long push lets other threads run; what they do to the same stream is refused, and the push goes on."""
    x = np.zeros((600_000, 1), np.float32)
    out = out_of(memory, 600_100)
    refused: list[str] = []
    begun = threading.Event()

    def push() -> None:
        begun.set()
        memory.stream.push_into(x, out)

    thread = threading.Thread(target=push)
    thread.start()
    begun.wait()
    while thread.is_alive():
        try:
            memory.stream.ready(1)
        except StreamError as e:
            refused.append(str(e))
    thread.join()
    assert any("two threads use one stream" in text for text in refused)
    assert memory.pushed_frames == len(x)


@pytest.mark.parametrize("damage", ["cut", "longer", "byte", "magic", "empty"])
def test_a_damaged_snapshot_is_refused_and_the_stream_goes_on(memory: NativeMemory, damage: str) -> None:
    x = np.sin(np.arange(500, dtype=np.float32)).reshape(-1, 1)
    expected, out = out_of(memory, 600), out_of(memory, 600)
    memory.stream.push_into(x[:250], out)
    blob = memory.stream.snapshot()
    n = memory.stream.push_into(x[250:], expected)
    memory.stream.restore(blob)
    bad = {
        "cut": blob[:-1],
        "longer": blob + b"\0",
        "byte": blob[:40] + bytes([blob[40] ^ 1]) + blob[41:],
        "magic": b"X" + blob[1:],
        "empty": b"",
    }[damage]
    with pytest.raises(StreamError, match="damaged or belongs to another model"):
        memory.stream.restore(bad)
    assert memory.stream.push_into(x[250:], out) == n
    assert np.array_equal(out[:n], expected[:n])


def test_instruction_sets_are_chosen_by_number_and_agree() -> None:
    x = signal("nse_lg.i8")
    results = []
    for isa in range(7):
        try:
            memory = executor("nse_lg.i8", isa).new_memory()
            out = np.zeros((900, 1, 5), np.int8)
            n = memory.stream.push_into(x, out)
        except StreamError as e:
            assert "lacks the instructions asked for" in str(e)
            assert isa > 1
            continue
        results.append(out[:n])
    assert len(results) >= 2
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_a_tap_shows_the_newest_frames_of_any_tensor() -> None:
    """Frame by frame it is what the reference engine computes; however the signal is cut."""
    made = executor("nse_lg.f32")
    memory, whole = made.new_memory(), made.new_memory()
    x = np.sin(np.arange(400, dtype=np.float32) / 5).reshape(-1, 1)
    tensor = made.plan.nodes[3].outputs[0]
    whole.watch(tensor, 1000)
    whole.stream.push_into(x, out_of(whole, 500))
    first, everything = whole.tap()
    assert first == 0
    assert everything.shape[1:] == made.plan.tensors[tensor].shape
    memory.watch(tensor, 5)
    done = 0
    for n in (1, 7, 64, 1, 100, 1, 1, 1):
        memory.stream.push_into(x[done : done + n], out_of(memory, 500))
        done += n
        first, frames = memory.tap()
        assert len(frames) <= 5
        assert np.array_equal(frames, everything[first : first + len(frames)])
    assert len(frames) == 5
    memory.watch(made.plan.outputs[0], 3)
    out = out_of(memory, 500)
    n = memory.stream.push_into(x[done : done + 10], out)
    assert np.array_equal(memory.tap()[1], out[n - 3 : n])
    memory.watch(made.plan.inputs[0], 2)
    memory.stream.push_into(x[:4], out)
    assert np.array_equal(memory.tap()[1].reshape(-1), x[2:4].reshape(-1))
    memory.reset()
    assert len(memory.tap()[1]) == 0


def test_a_tap_changes_nothing_of_the_answer(memory: NativeMemory) -> None:
    x = np.sin(np.arange(300, dtype=np.float32)).reshape(-1, 1)
    plain, watched = out_of(memory, 400), out_of(memory, 400)
    n = memory.stream.push_into(x, plain)
    memory.reset()
    memory.watch(3, 4)
    assert sum(memory.stream.push_into(x[i : i + 1], watched[max(0, i - (300 - n)) :]) for i in range(300)) == n
    assert np.array_equal(plain[:n], watched[:n])


def test_what_cannot_be_watched_is_named(memory: NativeMemory) -> None:
    with pytest.raises(StreamError, match="no tensor is watched"):
        memory.tap()
    with pytest.raises(StreamError, match="has no tensor 100000"):
        memory.watch(100_000)
    with pytest.raises(StreamError, match="has no tensor -1"):
        memory.watch(-1)
    constant = executor("nse_lg.f32").plan.nodes[0].inputs[1]
    with pytest.raises(StreamError, match="is a constant"):
        memory.watch(constant)
    with pytest.raises(StreamError, match="frames are not a number that can be kept"):
        memory.watch(memory._plan.inputs[0], -3)
    memory.watch(memory._plan.inputs[0], 2)
    memory.watch(memory._plan.inputs[0], 0)
    with pytest.raises(StreamError, match="no tensor is watched"):
        memory.tap()


def test_every_operation_has_its_cost() -> None:
    made = executor("nse_lg.f32")
    costs = made.costs([np.zeros((64, 1), np.float32)], pushes=20)
    assert [c.kind for c in costs] == [node.kind for node in made.plan.nodes]
    assert [c.label for c in costs] == [node.label for node in made.plan.nodes]
    assert all(c.ns_per_frame > 0 for c in costs)
    # the layer of 32 channels does eight times the work of the first one
    assert costs[-2].ns_per_frame > costs[0].ns_per_frame


def _with_field(content: bytes, at: int, value: int) -> bytes:
    """The plan with another int32 at a byte, and the checksum that it then has."""
    changed = bytearray(content)
    struct.pack_into("<i", changed, at, value)
    struct.pack_into("<I", changed, 16, zlib.crc32(bytes(changed[20:])))
    return bytes(changed)


def test_counts_that_run_away_are_refused() -> None:
    """Found by fuzzing: such plans were taken, and their flush went on for as good as ever."""
    model = tcnstream.load(MODELS / "strided.f32.tflite")
    content = model.plan_file()
    places = sections(Header.read(content))
    k = max(k for k, node in enumerate(model.plan.nodes) if node.kind == "CONV_2D")
    node = NodeRecord.read(content, places.nodes_at + NodeRecord.size * k)
    window_at = places.windows_at + WindowRecord.size * node.window
    number = stream_numbers(model.plan)[model.plan.nodes[k].outputs[0]]
    made = TensorRecord.read(content, places.tensors_at + TensorRecord.size * number)
    unlikely = {
        "a rate that no node gives": (
            places.frames_at + FrameRecord.size * made.frame + FrameRecord.offset("up"),
            1 << 18,
        ),
        "a stride that the rates do not know": (window_at + WindowRecord.offset("stride"), 7),
        "a window of millions of frames at a slow rate": (window_at + WindowRecord.offset("extent"), 1 << 24),
    }
    for value in unlikely.values():
        same = (value[0], struct.unpack_from("<i", content, value[0])[0])
        load_core().Plan(_with_field(content, *same))
        with pytest.raises(EngineError, match="a value that no writer makes"):
            load_core().Plan(_with_field(content, *value))


@pytest.mark.parametrize("off", [-700, -64, -5, 0, 5, 64])
def test_an_output_over_its_input_is_refused_where_it_would_be_read_again(off: int) -> None:
    """More frames than one pass: the first ones' results would overwrite what is still to be pushed."""
    model = tcnstream.load(MODELS / "nse_lg.f32.tflite")
    stream = model.stream(engine="native")
    signal = np.random.default_rng(0).normal(size=(300, 1)).astype(np.float32)
    memory = np.zeros(6000, np.float32)
    x, out = memory[2000:2300].reshape(300, 1), memory[2000 + off : 3500 + off].reshape(300, 5)
    x[:] = signal
    with pytest.raises(StreamError, match=r"output `.*` overlaps input `.*` in memory; give it an array of its own"):
        stream.push_into(x, out)
    assert np.array_equal(x, signal)
    expected = model.stream(engine="native").push(signal[:60])
    assert stream.push_into(x[:60], out) == len(expected)  # one pass has read all of it before
    assert np.array_equal(out[: len(expected)], expected)
    pool = model.pool(lanes=2, engine="native")
    with pytest.raises(StreamError, match="overlaps input"):
        pool.push_into(memory[:20].reshape(2, 10, 1), memory[10:110].reshape(2, 10, 5))


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("padding", ["valid", "same", "REFLECT"])
def test_long_windows_of_narrow_frames_keep_the_contract(channels: int, padding: str) -> None:
    """Read as one row each, and copied first where the ring or an edge interrupts them."""
    for stride in (1, 3, 40):
        network = build(
            [layer("convolution", kernel=33, stride=stride, padding=padding, channels=5)], 120, channels=channels
        )
        model = tcnstream.load(network.content)
        x = signals(model.inputs, 350 - 350 % stride)
        stream = model.stream("reference")
        y = np.concatenate([stream.push(*x), stream.flush()])
        verify_contract(model, x, y, engine="native")


def test_a_window_over_one_bin_of_several_is_not_one_row() -> None:
    """A stride over the bins that leaves one position: the frames of its window do not stand side by side."""
    net = Net("float32", 0)
    bins = net.input((1, 60, 3, 2), 1)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 3, "dilation_h_factor": 1, "dilation_w_factor": 1}
    net.output(net.weighted("CONV_2D", bins, (1, 52, 1, 4), (4, 9, 1, 2), 0, 18, **options))
    model = tcnstream.load(net.content())
    x = signals(model.inputs, 200)
    stream = model.stream("reference")
    verify_contract(model, x, np.concatenate([stream.push(*x), stream.flush()]), engine="native")


def causal_layer(kind: str, seed: int) -> tuple[tcnstream.Model, Any, Any, Any]:
    """A layer of 3 taps over 40 channels, noise for it, and in float64 its sums and those of the magnitudes."""
    one = layer("convolution", kernel=3, dilation=2, padding="causal", channels=40, kind=kind)
    model = tcnstream.load(build([one], 64, channels=40, seed=seed).content)
    x = np.random.default_rng(seed).normal(size=(200, *model.inputs[0].shape)).astype(np.float32)
    (node,) = (node for node in model.plan.nodes if node.kind == kind)
    weights, bias = (model.plan.tensors[i].data for i in node.inputs[1:3])
    assert weights is not None and bias is not None
    frames = np.concatenate([np.zeros((4, 40)), x.reshape(-1, 40).astype(np.float64)])
    taps = np.stack([frames[2 * k : 2 * k + len(x)] for k in range(3)], 1)
    terms, kernel = ("tkc,okc->to", (40, 3, 40)) if kind == "CONV_2D" else ("tkc,kc->tc", (3, 40))
    w = weights.astype(np.float64).reshape(kernel)
    sums = np.einsum(terms, taps, w) + bias
    return model, x, sums, np.einsum(terms, np.abs(taps), np.abs(w)) + np.abs(bias)


@pytest.mark.parametrize(("kind", "products"), [("CONV_2D", 120), ("DEPTHWISE_CONV_2D", 3)])
def test_fused_sums_are_as_near_to_the_exact_ones_as_their_roundings_allow(kind: str, products: int) -> None:
    for seed in range(4):
        model, x, sums, magnitudes = causal_layer(kind, seed)
        y = model.stream("native", exact=False).push(x).reshape(sums.shape)
        # n products and a bias, each of them and each sum rounded at most once: gamma(n + 1) of Higham's
        # "Accuracy and Stability of Numerical Algorithms", section 3.1, on the sum of magnitudes.
        roundings = (products + 1) * 2.0**-24
        assert np.all(np.abs(y - sums) <= roundings / (1 - roundings) * magnitudes)


@pytest.mark.parametrize("name", ["nse_lg.f32", "wavenet.f32", "unet_max.f32"])
def test_a_fast_stream_gives_the_same_bits_however_it_is_cut(name: str) -> None:
    model, x = tcnstream.load(MODELS / f"{name}.tflite"), signal(name)
    x = x.reshape(-1, *model.inputs[0].shape)
    answers = []
    for chunk in (len(x), 64, 7, 1):
        stream = model.stream("native", exact=False)
        made = [stream.push(x[k : k + chunk]) for k in range(0, len(x), chunk)]
        answers.append(np.concatenate([*made, stream.flush()]))
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:])
    exact = model.stream("native")
    assert np.allclose(answers[0], np.concatenate([exact.push(x), exact.flush()]), rtol=1e-3, atol=1e-3)


def test_a_snapshot_goes_on_in_the_arithmetic_of_who_restores_it() -> None:
    model = tcnstream.load(MODELS / "nse_lg.f32.tflite")
    x = signal("nse_lg.f32").reshape(-1, *model.inputs[0].shape)
    fast, exact = model.stream("native", exact=False), model.stream("native")
    fast.push(x[:300])
    exact.restore(fast.snapshot())
    again = model.stream("native", exact=False)
    again.restore(exact.snapshot())
    assert np.array_equal(again.push(x[300:]), fast.push(x[300:]))
    # Past the field nothing is left of what the other one computed.
    field = model.receptive_field
    assert field is not None
    whole = model.stream("native").push(x)
    continued = exact.push(x[300:])
    assert np.array_equal(continued[field:], whole[-len(continued) + field :])


def test_integers_stay_exact_in_a_fast_stream() -> None:
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    x = signal("nse_lg.i8").reshape(-1, *model.inputs[0].shape)
    assert np.array_equal(model.stream("native", exact=False).push(x), model.stream("native").push(x))


def test_a_board_s_rounding_and_a_fast_stream_exclude_each_other() -> None:
    model = tcnstream.load(MODELS / "nse_lg.i8.tflite")
    with pytest.raises(StreamError, match=r"rounding='tflm' asks for a board's own bits and exact=False"):
        model.stream("native", exact=False, rounding="tflm")


def test_the_core_s_checksum_is_zlib_s() -> None:
    crc32, rng = load_core().crc32, np.random.default_rng(5)
    for size in (*range(200), 4096, 65_537):
        content, start = rng.bytes(size), int(rng.integers(1 << 32))
        assert crc32(content, start) == zlib.crc32(content, start)
