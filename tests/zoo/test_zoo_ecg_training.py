"""The compiled training step, a course of training, and the command that runs it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from helpers.drawn_hearts import beats, record_of, windows
from typer.testing import CliRunner

import tcnstream
from tcnstream.errors import ModelError, SignalError
from tcnstream.signal.card import MODELS, load_card
from tcnstream.zoo.recipes.augment import MARKS, Mix, Windows
from tcnstream.zoo.recipes.delineation import both
from tcnstream.zoo.recipes.ludb import LABELS
from tcnstream.zoo.recipes.targets import ludb_example

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the training step is compiled with the system's C"
)


def stage_params(**changes: object) -> list[object]:
    from tcnstream.zoo.tcn_params import TcnParams

    block = {"filters": 16, "kernel": [1, 3], "norm": "batch"}
    near = {"include_top": False, "blocks": [block | {"ex_ratio": 1.01}, block | {"dilation": [1, 2], "depth": 2}]}
    past = {
        "padding": "causal",
        "output_kernel": 1,
        "blocks": [block | {"dilation": [1, 4], "kernel": [1, 5]} | changes],
    }
    return [TcnParams(**near), TcnParams(**past)]


@pytest.mark.parametrize(
    "changes", [{"filters": 24}, {"norm": "layer"}, {"branch": 2}, {"ex_ratio": 2}, {"se_ratio": 4}]
)
def test_networks_that_the_step_does_not_train_are_refused(changes: dict[str, object]) -> None:
    params = stage_params(**changes)
    from tcnstream.zoo.recipes.architecture import units_of

    with pytest.raises(ModelError, match="separable: "):
        units_of(params)


@needs_compiler
@pytest.mark.parametrize("marks", [0, 2])
def test_gradients_are_those_of_the_loss(marks: int) -> None:
    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.separable import Network

    units = [Unit(3, 1, 1, -1, "0:B1.D1"), Unit(3, 2, 2, -1, "0:B2.D1"), Unit(5, 4, 16, 1, "0:B2.D2")]
    network = Network(16, units, seed=2, classes=4 + marks, marks=marks)
    assert network.look_ahead == 1 + 2
    rng = np.random.default_rng(5)
    x = rng.normal(0, 0.2, (3, 700)).astype(np.float32)
    target = np.eye(4, dtype=np.float32)[rng.integers(0, 4, x.shape)]
    weight = rng.uniform(0, 1, (*x.shape, 1 + marks)).astype(np.float32)
    target = np.concatenate([target, rng.integers(0, 2, (*x.shape, marks))], axis=-1, dtype=np.float32)
    network.learn(x, target, weight)
    gradient = network.gradient.copy()
    for name, (place, _) in network.parts.items():
        along = gradient[place] / np.linalg.norm(gradient[place])
        start, steps = network.parameters[place].copy(), []
        for sign in (1, -1):
            network.parameters[place] = start + sign * np.float32(5e-4) * along
            steps.append(network.learn(x, target, weight))
        network.parameters[place] = start
        slope = (steps[0] - steps[1]) / 1e-3
        assert slope == pytest.approx(float(gradient[place] @ along), rel=0.05, abs=2e-4), name


@needs_compiler
def test_a_network_begins_with_the_weights_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="the file is converted by Keras")
    from tcnstream.zoo.convert import to_tflite
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.separable import Network, folded_weights, to_keras

    params = stage_params()
    channels, units = units_of(params)
    first = Network(channels, units, seed=1)
    x = np.random.default_rng(0).normal(0, 0.2, (2, 60)).astype(np.float32)
    statistics = first.measure(x, first.parameters)
    (tmp_path / "m.tflite").write_bytes(
        to_tflite(to_keras(params, first.keras_weights(first.parameters, statistics), 60))
    )
    second = Network(channels, units, seed=2, classes=6, marks=2)
    second.adopt(folded_weights(tmp_path / "m.tflite"), x)
    logits = second.predict(x, second.parameters, second.measure(x, second.parameters))
    np.testing.assert_allclose(logits[..., :4], first.predict(x, first.parameters, statistics), atol=1e-3)
    with pytest.raises(ModelError, match="do not fit a network of"):
        second.adopt(folded_weights(tmp_path / "m.tflite")[1:], x)


@needs_compiler
def test_the_keras_model_computes_what_was_trained() -> None:
    pytest.importorskip("keras", reason="the model that is compared is Keras's")
    params = stage_params()
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.separable import Network, to_keras

    channels, units = units_of(params)
    network = Network(channels, units, seed=1)
    x = np.random.default_rng(0).normal(0, 0.2, (2, 60)).astype(np.float32)
    statistics = network.measure(x, network.parameters)
    model = to_keras(params, network.keras_weights(network.parameters, statistics), 60)
    expected = np.asarray(model(x[..., None]))
    np.testing.assert_allclose(network.predict(x, network.parameters, statistics), expected, atol=1e-4)
    with pytest.raises(ValueError, match="float32"):
        network.predict(x.astype(np.float64), network.parameters, statistics)


@needs_compiler
def test_training_learns_and_follows_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress

    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.fitting import Log, Recipe, fit
    from tcnstream.zoo.recipes.separable import Network
    from tcnstream.zoo.recipes.train_ecg import scores_of

    def train() -> tuple[np.ndarray, np.ndarray]:
        units = [Unit(5, 1, 2, -1, "0:B1.D1"), Unit(5, 4, 8, 1, "0:B2.D1"), Unit(5, 16, 32, 2, "0:B3.D1")]
        recipe = Recipe(seed=1, steps=150, lanes=4, frames=500, rate=1e-2)
        draw = partial(Windows, [([ludb_example(record_of(beats(11)))], 1.0)], None, recipe.frames)
        with Progress(disable=True) as progress:
            task = progress.add_task("", total=1.0, loss="")
            trained = fit(
                Network(16, units, 1, classes=6, marks=2), draw, recipe, Log(tmp_path / "log"), progress, task
            )
        assert trained.steps == 150
        assert both(scores_of(trained, [record_of(beats(11))]), "qrs").f1 > 0.9
        return trained.parameters, trained.statistics

    first = train()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log").read_text().splitlines()]
    assert len(losses) == 3 and losses[-1] < 0.7 * losses[0]
    # Windows that come later than they are wanted: then none is drawn ahead.
    at_once = Windows.draw
    monkeypatch.setattr(Windows, "draw", lambda windows, lanes: (time.sleep(0.02), at_once(windows, lanes))[1])
    for kept, again in zip(first, train(), strict=True):
        np.testing.assert_array_equal(kept, again)


@needs_compiler
def test_the_files_lean_to_p_waves_and_to_marks(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes.architecture import units_of
    from tcnstream.zoo.recipes.fitting import Trained
    from tcnstream.zoo.recipes.separable import Network, folded_weights
    from tcnstream.zoo.recipes.train_ecg import write_models

    params = stage_params()
    channels, units = units_of(params)
    network = Network(channels, units, seed=1, classes=6, marks=2)
    statistics = network.measure(windows().draw(1)[0], network.parameters)
    learned = network.parameters[network.parts["head.b"][0]].copy()
    trained = Trained(network, network.parameters, statistics, 1)
    biases = {"p": 0.75, "ventricular": 1.5, "noise": 0.5}
    write_models(trained, params, windows(frames=1000), MARKS, "nothing", "m", tmp_path, biases)
    leans = folded_weights(tmp_path / "m.f32.tflite")[-1][1] - learned
    np.testing.assert_allclose(leans, [0, 0.75, 0, 0, 1.5, 0.5], atol=1e-6)


@needs_compiler
def test_one_command_trains_a_model_and_says_whom_it_never_saw(ludb: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--ludb={ludb}", "--fold=2/2", "--steps=3", "--frames=1000", f"--out={tmp_path / 'out'}"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "ecg.unseen").read_text() == "ludb/7"
    card = load_card(tmp_path / "out" / "ecg.toml")
    # LUDB says of no beat that it is of ventricular origin, so there are no marks to learn.
    assert card.labels == LABELS and card.marks == () and card.training_data.startswith("1 records of ludb")
    assert tcnstream.load(tmp_path / "out" / card.file).outputs[0].shape == (len(LABELS),)
    assert not list((tmp_path / "out").glob("*.part.npz"))
    int8, other, nothing = tmp_path / "out" / card.file, MODELS / "speech.f32.tflite", tmp_path / "no.npz"
    for wrong, said in (
        (["--held=7"], "say it as mitdb/119"),
        (["--held=ludb/8"], "there is no record 8 in the folder given: ludb has 1, 7"),
        (["--held=ludb/1"], "nothing is left to learn from"),
        (["--noise=no.h5"], "no.h5 is not the noise of NSTDB"),
        ([f"--start={int8}"], "has no float32 weights and bias: give the NAME.f32.tflite"),
        ([f"--start={other}"], "do not fit"),
        ([f"--start={nothing}"], "No such file"),
        (["--rate=nan"], "a learning rate of nan teaches nothing"),
        (["--steps=0"], "--steps"),
        (["--frames=999"], "--frames"),
        (["--seed=-1"], "--seed"),
        (["--minutes=nan"], "(--minutes)"),
    ):
        refused = CliRunner().invoke(app, [*call, *wrong])
        assert refused.exit_code == 2 and said in " ".join(refused.stderr.split()), (wrong, refused.output)
    for content in ({}, [], {"stages": []}, {"stages": ["wide"]}):
        (tmp_path / "params.json").write_text(json.dumps(content))
        refused = CliRunner().invoke(app, [*call, f"--params={tmp_path / 'params.json'}"])
        assert refused.exit_code == 2 and "stage" in refused.stderr, refused.output


@needs_compiler
def test_a_training_that_is_stopped_keeps_its_network_and_goes_on_from_it(
    ludb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import separable, train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--ludb={ludb}", "--frames=1000", f"--out={tmp_path}"]
    learn, steps = separable.Network.learn, []

    def stopped(network: separable.Network, *batch: Any) -> float:
        steps.append(network.parameters.copy())
        if len(steps) == 4:
            raise KeyboardInterrupt
        return learn(network, *batch)

    monkeypatch.setattr(separable.Network, "learn", stopped)
    result = CliRunner().invoke(app, [*call, "--steps=9"])
    assert result.exit_code == 130 and f"stopped; {tmp_path / 'ecg.npz'} has the network" in result.stderr
    kept = np.load(tmp_path / "ecg.npz")["parameters"]
    assert not np.array_equal(kept, steps[0])
    steps.clear()
    CliRunner().invoke(app, [*call, "--steps=9", f"--start={tmp_path / 'ecg.npz'}"])
    np.testing.assert_array_equal(steps[0], kept)
    steps[:] = [kept] * 9
    (tmp_path / "no.npz").write_bytes(b"PK")
    refused = CliRunner().invoke(app, [*call, f"--start={tmp_path / 'no.npz'}"])
    assert refused.exit_code == 2 and "holds no parameters of a training" in refused.stderr


def test_windows_that_cannot_be_drawn_end_the_training_and_do_not_stop_it_for_ever() -> None:
    from tcnstream.zoo.recipes.fitting import _drawn_ahead

    class Broken:
        def draw(self, lanes: int) -> Any:
            raise SignalError("there is nothing to draw from")

    with _drawn_ahead(Broken(), 1) as batches, pytest.raises(SignalError, match="nothing to draw"):
        next(batches)


@needs_compiler
@pytest.mark.parametrize(("kind", "rates"), [("beats", [1e-3, 2e-3, 1e-3]), ("fast", [1.5e-3, 1.5e-3])])
def test_the_last_parts_go_on_from_the_first_and_their_mean_is_the_network(
    ludb: Path, tmp_path: Path, kind: str, rates: list[float]
) -> None:
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.recipes import train_ecg

    app = typer.Typer()
    app.command()(train_ecg.main)
    call = ["--name=ecg", f"--course={kind}", f"--ludb={ludb}", "--steps=2", "--last=2", "--frames=1000"]
    kept = []
    for out in (tmp_path / "a", tmp_path / "b"):
        result = CliRunner().invoke(app, [*call, f"--out={out}"])
        assert result.exit_code == 0, result.output
        kept.append(dict(np.load(out / "ecg.npz")))
    assert all(np.array_equal(kept[0][what], kept[1][what]) for what in ("parameters", "statistics"))
    log = [json.loads(line) for line in (tmp_path / "a" / "ecg.log.jsonl").read_text().splitlines()]
    assert [line["last"] for line in log if "last" in line] == list(train_ecg.COURSES[train_ecg.Kind(kind)].last)
    told = [line["recipe"] for line in log if "last" in line]
    assert all(recipe["steps"] == 2 and recipe["seed"] == 11 for recipe in told)
    assert [recipe["rate"] for recipe in told] == rates
    assert f"{2 + 2 * len(rates)} steps" in load_card(tmp_path / "a" / "ecg.toml").training_data


@needs_compiler
def test_the_mean_of_the_last_parts_is_between_them(tmp_path: Path) -> None:
    from rich.progress import Progress

    from tcnstream.zoo.recipes.architecture import Unit
    from tcnstream.zoo.recipes.fitting import LAST_RATE, Log, Recipe, Trained, finished, fit
    from tcnstream.zoo.recipes.separable import Network

    network = Network(16, [Unit(5, 1, 2, -1, "0:B1.D1"), Unit(5, 4, 8, 1, "0:B2.D1")], 1, classes=6, marks=2)
    begin = Trained(network, network.parameters.copy(), network.statistics.copy(), 5)
    draws = {
        mix: partial(Windows, [([ludb_example(record_of(beats(11)))], 1.0)], None, 500, mix=Mix(hides_p=mix))
        for mix in (0.0, 0.9)
    }
    recipe, log = Recipe(seed=1, steps=3, lanes=2, frames=500, rate=LAST_RATE), Log(tmp_path / "log")
    with Progress(disable=True) as progress:
        mean = finished(begin, {str(k): d for k, d in draws.items()}, recipe, log, progress, tmp_path / "kept.npz")
        ends = []
        for draw in draws.values():
            network.parameters[:] = begin.parameters
            task = progress.add_task("", total=1.0, loss="")
            ends.append(fit(network, draw, replace(recipe, seed=11), log, progress, task).parameters)
    assert not np.array_equal(*ends) and mean.steps == 11
    np.testing.assert_allclose(mean.parameters, np.mean(ends, axis=0), atol=1e-7)
    with np.load(tmp_path / "kept.npz") as kept:
        np.testing.assert_array_equal(kept["parameters"], mean.parameters)
