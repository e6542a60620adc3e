"""Models and streams in threads, tasks, children and other processes; commands without standard descriptors."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.contract import open_stream
from helpers.paths import MODELS
from helpers.singleop import Trial, model_of, tensor

import tcnstream
from tcnstream import Pipeline, Stream, StreamError, StreamOptions
from tcnstream.engines.base import ENGINES
from tcnstream.pipeline import PipelinePool
from tcnstream.tflite.graph import Array

ROOT = Path(__file__).parents[1]
MODEL = MODELS / "nse_sm.i8.tflite"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def frames(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, (n, *tcnstream.load(MODEL).inputs[0].shape), np.int8)


def whole(stream: Stream, x: Array, step: int = 7) -> Array:
    made = [stream.push(x[k : k + step]) for k in range(0, len(x), step)]
    return np.concatenate([*made, stream.flush()])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_travels_by_pickle_whatever_has_run(engine: str) -> None:
    model = tcnstream.load(MODEL)
    expected = whole(open_stream(model, engine=engine), frames(60))
    content = pickle.dumps(model)
    assert len(content) < 1.1 * MODEL.stat().st_size
    for again in (pickle.loads(content), copy.copy(model), copy.deepcopy(model)):
        assert (again.inputs[0].name, again.file.source) == (model.inputs[0].name, model.file.source)
        assert np.array_equal(whole(again.stream(engine), frames(60)), expected)
        stream = again.stream(engine)
        stream.restore(model.stream(engine).snapshot())


def test_what_streams_is_not_copied_but_restored() -> None:
    model = tcnstream.load(MODEL)
    for one in (model.stream(), model.pool(2), PipelinePool("ecg", 2)):
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(StreamError, match=r"cannot be copied or pickled.*restore"):
                way(one)  # type: ignore[operator]


@pytest.mark.parametrize("keep_tail", [False, True])
def test_a_pipeline_travels_by_pickle_with_all_that_it_remembers(keep_tail: bool) -> None:
    x = frames(3000).reshape(3000, -1)[:, 0] / 100
    one = Pipeline("ecg", rate_hz=360, units="mV", keep_frames=True, options=StreamOptions(keep_tail=keep_tail))
    for piece in (x[:5], x[5:2000]):
        one.push(piece)
        others = [pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)]
    expected = one.push(x[2000:]), one.frames.tobytes(), one.flush()
    for other in others:
        assert (other.push(x[2000:]), other.frames.tobytes(), other.flush()) == expected
        assert pickle.loads(pickle.dumps(other)).position_s == one.position_s


def test_a_pickled_model_streams_in_a_process_that_was_spawned() -> None:
    model = tcnstream.load(MODEL)
    x = frames(60)
    program = (
        "import pickle, sys, numpy as np\n"
        "model, x = pickle.load(sys.stdin.buffer)\n"
        "s = model.stream()\n"
        "sys.stdout.buffer.write(np.concatenate([s.push(x), s.flush()]).tobytes())"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((model, x)),
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    )
    assert child.stdout == whole(model.stream(), x).tobytes()


def runs_in_silence(program: str) -> None:
    """In a new process, which ends well and has nothing to complain of."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_of_a_new_process_may_read_their_first_model_at_once() -> None:
    program = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from tcnstream.tflite import schema\n"
        "sys.setswitchinterval(1e-6)\n"
        "names = [name for name in schema.TABLE_OF_OPTIONS_TYPE.values() if name != 'NONE']\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    asked = [pool.submit(schema.generated_class, name) for name in names for _ in range(4)]\n"
        "got = {name: {asked.pop(0).result() for _ in range(4)} for name in names}\n"
        "import tflite\n"
        "assert all(got[name] == {getattr(tflite, name)} for name in names), got\n"
    )
    runs_in_silence(program)


def test_threads_of_a_new_process_may_ask_for_their_first_names_at_once() -> None:
    """Modules that waited for each other gave one of them ``cannot import name ... from partially initialized module``,
    in half of all processes."""
    program = (
        "import sys, threading\n"
        "from importlib import import_module\n"
        "import tcnstream\n"
        "sys.setswitchinterval(1e-6)\n"
        "begin = threading.Barrier(7)\n"
        "def ask(first, *then):\n"
        "    begin.wait()\n"
        "    for name in (first, *then):\n"
        "        home, _, there = name.partition(':')\n"
        "        getattr(import_module(home), there)\n"
        "asked = ('tcnstream:load', 'tcnstream.fleet:Keyed', 'firmware_bridge:Program', 'tcnstream:Stream',\n"
        "         'tcnstream.engines.interpreter.executor:measure_deviation', 'tcnstream:Pipeline',\n"
        "         'tcnstream.engines.native.planfile.write:write_plan')\n"
        "threads = [threading.Thread(target=ask, args=(*asked[k:], *asked[:k])) for k in range(len(asked))]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    for _ in range(4):
        runs_in_silence(program)


def test_types_that_threads_may_decode_at_once_are_known_since_the_import() -> None:
    program = (
        "import msgspec._utils\n"
        "import numpy as np\n"
        "from tcnstream import Pipeline\n"
        "from tcnstream.fleet import Keyed\n"
        "def refuse(annotation):\n"
        "    raise AssertionError('a second thread would crash msgspec now, at ' + annotation)\n"
        "msgspec._utils._forward_ref = refuse\n"
        "pipeline = Pipeline('ecg', rate_hz=360, units='mV')\n"
        "pipeline.push(np.zeros((800, 1), np.float32))\n"
        "pipeline.restore(pipeline.snapshot())\n"
        "keyed = Keyed('ecg', rate_hz=360, units='mV')\n"
        "state, _ = keyed.step('bed', None, [(0, np.zeros(800, np.float32))])\n"
        "keyed.step('bed', state, [(800, np.zeros(800, np.float32))])\n"
    )
    runs_in_silence(program)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_goes_on_in_a_child_and_in_its_parent(engine: str) -> None:
    model, x = tcnstream.load(MODEL), frames(80)
    expected = whole(open_stream(model, engine=engine), x)
    stream = model.stream(engine)
    begun = stream.push(x[:30])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "wb") as to_parent:
            to_parent.write(whole(stream, x[30:]).tobytes())
        os._exit(0)
    os.close(writing)
    ours = whole(stream, x[30:])
    with os.fdopen(reading, "rb") as from_child:
        theirs = from_child.read()
    os.waitpid(child, 0)
    assert np.array_equal(np.concatenate([begun, ours]), expected)
    assert theirs == ours.tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_child_streams_though_threads_of_its_parent_were_at_it(engine: str) -> None:
    """A lock of the interpreter engine stayed with a thread that the child does not have."""
    model, x, over = tcnstream.load(MODEL), frames(64), threading.Event()
    expected = whole(open_stream(model, engine=engine), x)

    def work() -> None:
        stream = model.stream(engine)
        while not over.is_set():
            stream.push(x)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(4):
        time.sleep(0.02)
        if (child := os.fork()) == 0:
            signal.alarm(60)
            os._exit(0 if np.array_equal(whole(model.stream(engine), x), expected) else 1)
        codes.append(os.waitpid(child, 0)[1])
        if codes[-1]:
            break
    over.set()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0, 0]


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """Collections look at what a test makes and not at all that those before it have left, which takes a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("little_garbage")
def test_threads_with_a_stream_each_while_garbage_is_collected(engine: str) -> None:
    model = tcnstream.load(MODEL)
    open_stream(model, engine=engine)
    made: dict[int, Array] = {}

    def work(seed: int) -> None:
        made[seed] = whole(model.stream(engine), frames(90, seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gc.collect()
    for seed in range(6):
        assert np.array_equal(made[seed], whole(model.stream(engine), frames(90, seed)))


def test_what_was_pushed_may_be_forgotten_at_once() -> None:
    """Frames of the answer are the caller's own, and nothing keeps what was pushed."""
    stream, x = tcnstream.load(MODEL).stream(), frames(500)
    expected = whole(tcnstream.load(MODEL).stream(), x)
    made = []
    for k in range(0, 500, 5):
        chunk = x[k : k + 5].copy()
        made.append(stream.push(chunk))
        chunk[...] = 99
        del chunk
        gc.collect(0)
    assert np.array_equal(np.concatenate([*made, stream.flush()]), expected)


def test_streams_as_tasks() -> None:
    model = tcnstream.load(MODEL)

    async def one(seed: int) -> Array:
        stream, x, made = model.stream(), frames(60, seed), []
        for k in range(0, 60, 6):
            made.append(await asyncio.to_thread(stream.push, x[k : k + 6]))
        return np.concatenate([*made, stream.flush()])

    async def all_of_them() -> list[Array]:
        return await asyncio.gather(*(one(seed) for seed in range(8)))

    for seed, made in enumerate(asyncio.run(all_of_them())):
        assert np.array_equal(made, whole(model.stream(), frames(60, seed)))


def test_a_file_that_is_replaced_changes_no_model(tmp_path: Path) -> None:
    path = tmp_path / "ein Modell für Ω.tflite"
    path.write_bytes(MODEL.read_bytes())
    model, expected = tcnstream.load(path), whole(tcnstream.load(MODEL).stream(), frames(60))
    os.truncate(path, 100)
    for engine in ENGINES:
        assert np.array_equal(whole(open_stream(model, engine=engine), frames(60)), expected)
    path.write_bytes(b"no model")
    assert np.array_equal(whole(model.stream(), frames(60)), expected)


def test_samples_behind_a_header_of_odd_length_are_taken() -> None:
    """The native engine alone refused them."""
    model = tcnstream.load(MODELS / "nse_lg.f32.tflite")
    x = np.random.default_rng(0).normal(size=(20, 1)).astype("<f4")
    packet = np.frombuffer(b"\x07" + x.tobytes(), "<f4", offset=1).reshape(-1, 1)
    for engine in ENGINES:
        assert np.array_equal(open_stream(model, engine=engine).push(packet), model.stream(engine).push(x))


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the descriptors")
@pytest.mark.parametrize(
    ("command", "closed", "code", "told"),
    [
        ("tcnstream", "inspect ecg >&-", 2, "standard output is closed"),
        ("tcnstream", "run ecg - --rate 360 <&-", 2, "standard input is closed"),
        ("tcnstream", "inspect ecg 2>&-", 0, ""),
        ("tcnstream", "inspect no-such >&- 2>&-", 2, ""),
        ("firmware_bridge.cli", "devices >&-", 2, "standard output is closed"),
    ],
)
def test_commands_whose_descriptors_are_closed(command: str, closed: str, code: int, told: str) -> None:
    start = f"{sys.executable} -c 'import sys; from {command.split('.')[0]}.cli import main; main()' {closed}"
    done = subprocess.run(["sh", "-c", start], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, told in done.stderr) == (code, True)
    assert "Traceback" not in done.stderr


def test_a_window_of_the_past_beyond_all_bounds_is_refused() -> None:
    model = tcnstream.load(MODEL)
    with pytest.raises(StreamError, match="looks back farther than 16777216 frames"):
        model.stream(time_pooling="trailing:99999999999")


def test_a_model_that_the_native_engine_lacks_says_so_once() -> None:
    """``auto`` took another engine without a word."""
    x = tensor((1, 9, 2), np.float32)
    model = tcnstream.load(model_of(Trial("SIN", (x,), (), (x,))))
    with pytest.warns(RuntimeWarning, match=r"the native engine lacks `SIN`.*engine='auto' takes a slower one"):
        assert model.stream().engine != "native"
