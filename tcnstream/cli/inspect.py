"""``tcnstream inspect``: what a model will do as a stream, before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from tcnstream.cli.options import FileOptions, JsonOption, ModelArgument, grouped
from tcnstream.cli.show import print_json, say, show_table, time_taken
from tcnstream.cli.wording import as_options
from tcnstream.compiler.examine import Examination, Refusal, Seen, examine
from tcnstream.compiler.window import written
from tcnstream.errors import ModelError, NotStreamableError, SignalError
from tcnstream.model import Model
from tcnstream.opened import OpenedModel
from tcnstream.signal.card import Card, find_model
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import ModelFile
from tcnstream.tflite.reader import read_model


@grouped
def inspect(
    model: ModelArgument,
    *,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="HZ", help="Sample rate of the input, for milliseconds; else the card's."),
    ] = None,
    file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Show rate, delay, receptive field, state and cost of every operation, and the totals; then what its card says.

    Of a file that does not stream: its inputs, what each choice of time comes to, and all that is in the way.

    Example: `tcnstream inspect ecg`
    """
    try:
        opened = file.open(model)
    except (ModelError, NotStreamableError) as error:
        _show_refused(model, file, error, json)
        raise
    if rate is not None and not 0 < rate < math.inf:
        raise SignalError(f"--rate {rate:g} is no sample rate: give the input's frames per second, above 0")
    rate_hz = rate or (opened.card.rate_hz if opened.card else None)
    if json:
        print_json(facts(opened, rate_hz))
    else:
        show(opened, rate_hz)


def _show_refused(model: str, said: FileOptions, error: ModelError | NotStreamableError, json: bool) -> None:
    """What there is to see of a file that has no streaming form; nothing of what is no model at all."""
    try:
        path, card = find_model(model)
        file = read_model(path).called(said.signature or (card.signature if card else "") or None)
    except (ModelError, SignalError):
        return
    seen = examine(file, said.time_axis)
    refusals = seen.refusals
    if not any(str(error).startswith(refusal.text) for refusal in refusals):
        refusals = (Refusal(None, str(error)), *refusals)
    if json:
        print_json(_refused_facts(path, file, seen, refusals))
        return
    first = next((k for k, op in enumerate(seen.operations) if op.what == "refused"), len(seen.operations) - 1)
    show_table(*(_seen_table(seen.operations[: first + 1], width) for width in (44, 24, 12)))
    for line in _refused_sentences(path.name, file, seen, refusals):
        say(line)


def _refused_facts(path: Path, file: ModelFile, seen: Examination, refusals: Sequence[Refusal]) -> dict[str, object]:
    return {
        "file": str(path),
        "sha256": file.sha256,
        "streamable": False,
        "signatures": [signature.name for signature in file.signatures],
        "inputs": [_end(file, i) for i in file.main.inputs],
        "outputs": [_end(file, o) for o in file.main.outputs],
        "time_axes": [
            {"axes": list(choice.axes), "refused_at": choice.first.index, "why": choice.first.text}
            for choice in seen.choices
        ],
        "operations": [
            {
                "index": op.index,
                "kind": op.kind,
                "label": op.label,
                "shape": list(op.shape),
                "time_axis": op.time_axis,
                "what": op.what,
            }
            for op in seen.operations
        ],
        "refusals": [{"index": refusal.index, "why": refusal.text} for refusal in refusals],
    }


def _end(file: ModelFile, i: int) -> dict[str, object]:
    tensor = file.main.tensors[i]
    return {"name": file.name_of(i), "shape": list(tensor.shape), "dtype": str(tensor.dtype)}


def _seen_table(operations: Sequence[Seen], label_width: int) -> Table:
    """The operations up to the first that is refused, in the file's shapes."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("op", justify="right")
    for name in ("kind", "label"):
        table.add_column(name)
    for name in ("shape", "time axis"):
        table.add_column(name, justify="right")
    table.add_column("")
    for op in operations:
        axis = "gone" if op.time_axis is None else str(op.time_axis)
        shape = "x".join(map(str, op.shape)) or "1"
        cells = (axis, op.what) if op.what != "unsure" else ("", "")
        table.add_row(str(op.index), op.kind, _short(op.label, label_width), shape, *cells)
    return table


def _refused_sentences(name: str, file: ModelFile, seen: Examination, refusals: Sequence[Refusal]) -> Iterator[str]:
    ends = " and ".join(f"{file.name_of(i)} {written(file.main.tensors[i])}" for i in file.main.inputs)
    yield f"{name}: no streaming form. Inputs: {ends}."
    if line := _signatures(file):
        yield line
    operations = len(file.main.ops)
    for choice in seen.choices:
        axes = ", ".join("no time" if axis is None else f"axis {axis}" for axis in choice.axes)
        reached = "no operation" if choice.first.index is None else f"op {choice.first.index} of {operations}"
        yield f"time as {axes}: comes to {reached}."
    yield f"{len(refusals)} in the way" + (", of the choice that comes furthest:" if seen.choices else ":")
    for k, refusal in enumerate(refusals):
        yield f"{k + 1}. {as_options(refusal.text)}"


def _signatures(file: ModelFile) -> str:
    """Which of several signatures is shown, and which others there are; empty for less than two."""
    if len(file.signatures) < 2:
        return ""
    taken = "" if file.signature is None else file.signature.name
    others = ", ".join(signature.name for signature in file.signatures if signature.name != taken)
    return f"signature {taken}; --signature takes another: {others}."


def facts(opened: OpenedModel, rate_hz: float | None) -> dict[str, object]:
    """The same for programs. Delays and fields count input frames; rates are output frames per input frame.

    Output frame j stands at input frame ``j / rate + offset_frames``.
    """
    model = opened.model
    return {
        "file": str(opened.path),
        "sha256": model.file.sha256,
        "rate_hz": rate_hz,
        "card": None if opened.card is None else msgspec.to_builtins(opened.card),
        "streamable": True,
        "signature": model.signature,
        "signatures": [signature.name for signature in model.file.signatures],
        "inputs": [_spec(spec) for spec in model.inputs],
        "static_inputs": [_spec(spec) for spec in model.static_inputs],
        "states": {model.file.name_of(p.input): model.file.name_of(p.output) for p in model.states},
        "outputs": [_output(spec, rate_hz) for spec in model.outputs],
        "window_frames": None if model.plan.window_is_open else model.window_frames,
        "batch": model.batch,
        "time_axes": list(model.plan.input_axes),
        "other_time_axes": [list(axes) for axes in model.plan.other_axes],
        "delay_frames": model.delay,
        "delay_ms": _ms(model.delay, rate_hz),
        "receptive_field_frames": model.receptive_field,
        "state_bytes": model.state_bytes,
        "macs_per_frame": model.macs_per_frame,
        "needs_time_pooling": model.needs_time_pooling,
        "dynamic_range": model.is_dynamic_range,
        "recurrent": model.is_recurrent,
        "native_lacks": model.native_lacks(),
        "operations": [
            {
                "index": row.index,
                "kind": row.kind,
                "label": row.label,
                "frame_shape": list(row.out_shape),
                "dtype": row.dtype,
                "rate": str(row.rate),
                "delay_frames": row.delay_frames,
                "delay_ms": _ms(row.delay_frames, rate_hz),
                "receptive_field_frames": row.receptive_field_frames,
                "state_bytes": row.state_bytes,
                "macs_per_frame": row.macs_per_frame,
            }
            for row in model.rows()
        ],
    }


def _spec(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "frame_shape": list(spec.shape), "dtype": str(spec.dtype), "rate": str(spec.rate)}


def _output(spec: TensorSpec, rate_hz: float | None) -> dict[str, object]:
    return _spec(spec) | {
        "rate_hz": None if rate_hz is None else float(spec.rate * Fraction(rate_hz)),
        "delay_frames": spec.delay,
        "delay_ms": _ms(spec.delay, rate_hz),
        "offset_frames": float(spec.offset),
    }


def _ms(frames: int, rate_hz: float | None) -> float | None:
    return None if rate_hz is None else round(1000 * frames / rate_hz, 4)


def show(opened: OpenedModel, rate_hz: float | None) -> None:
    show_table(*(_operations(opened.model, label_width) for label_width in (36, 24, 12)))
    for line in _sentences(opened, rate_hz):
        say(line)


def _operations(model: Model, label_width: int) -> Table:
    """A row per operation, and the totals; labels are cut to ``label_width`` characters."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("op", justify="right")
    table.add_column("kind")
    table.add_column("label")
    for name in ("frame", "dtype", "rate", "delay", "field", "state B", "MACs/frame"):
        table.add_column(name, justify="right")
    for row in model.rows():
        table.add_row(
            str(row.index) if row.index >= 0 else "",
            row.kind,
            _short(row.label, label_width),
            "x".join(map(str, row.out_shape)) or "1",
            row.dtype,
            str(row.rate),
            str(row.delay_frames),
            _field(row.receptive_field_frames),
            f"{row.state_bytes:,}",
            _count(row.macs_per_frame),
        )
    table.add_section()
    table.add_row(
        "",
        "total",
        "",
        "",
        "",
        "",
        str(model.delay),
        _field(model.receptive_field),
        f"{model.state_bytes:,}",
        _count(model.macs_per_frame),
        style="bold",
    )
    return table


def _sentences(opened: OpenedModel, rate_hz: float | None) -> list[str]:
    model, card = opened.model, opened.card
    seconds = f" = {_ms(model.delay, rate_hz):g} ms at {rate_hz:g} Hz" if rate_hz else ""
    window = "any window" if model.plan.window_is_open else f"window {model.window_frames} frames"
    lines = [
        f"{opened.path.name}: {window}; delay and field in input frames, rate in frames per "
        f"input frame; an output frame trails its input by {model.delay} frames{seconds}."
    ]
    if line := _signatures(model.file):
        lines.append(line)
    if not model.is_stateful:
        lines.append(time_taken(model))
    if model.batch > 1:
        lines.append(
            f"the file takes a batch of {model.batch}, whose entries nothing mixes: a stream is the first one."
        )
    if len({spec.rate for spec in model.inputs}) > 1:
        rates = " and ".join(f"{spec.rate} of {_short(spec.name)}" for spec in model.inputs)
        lines.append(f"inputs have different rates: frames per input frame are {rates}.")
    for spec in model.static_inputs:
        lines.append(f"input {spec.name} {spec.shape} has no time: it is given once for a stream (--static).")
    for pair in model.states:
        ends = f"{model.file.name_of(pair.output)} is fed back to {model.file.name_of(pair.input)}"
        lines.append(f"output {ends}, which begins as zeros: a state of the stream, from one invocation to the next.")
    if len(model.outputs) > 1 or model.outputs[0].rate != 1 or model.outputs[0].offset:
        lines += [_stands(spec, rate_hz) for spec in model.outputs]
    if card:
        lines.append(
            f"card {card.name}: {card.rate_hz:g} Hz, {card.units or 'no unit'}, labels {', '.join(card.labels)}, "
            f"look-ahead {card.look_ahead_ms:g} ms in all."
        )
        lines += _said_by(card)
    if model.needs_time_pooling:
        lines.append("Some operations run over all of time: stream it with --time-pooling trailing or cumulative.")
    if model.is_recurrent:
        lines.append(f"{model.recurrence[:1].upper()}{model.recurrence[1:]}.")
    if model.is_dynamic_range:
        lines.append(
            "Dynamic-range weights: TFLite quantizes activations by the whole window, a stream runs them in float; "
            "`tcnstream verify` reports the distance."
        )
    if lacks := model.native_lacks():
        others = f" And {len(lacks) - 1} more." if len(lacks) > 1 else ""
        lines.append(f"Not for the native engine, so another one runs it whole: {lacks[0]}.{others}")
    return lines


def _said_by(card: Card) -> Iterator[str]:
    """What a card says for people: what the model learned from, what it cannot do, how good it is and on what."""
    if card.marks:
        yield f"marks beside the labels: {', '.join(card.marks)}."
    for what in ("description", "training_data", "licence", "limits"):
        if said := getattr(card, what):
            yield f"{what.replace('_', ' ')}: {said}"
    yield from _figures("quality", card.quality)


def _figures(what: str, table: Mapping[str, Any]) -> Iterator[str]:
    """A line for the figures of a table, one for each of its texts and lists, and those of the tables in it."""
    figures = {name: value for name, value in table.items() if isinstance(value, int | float)}
    if figures:
        yield f"{what}: {', '.join(f'{name} {value:g}' for name, value in figures.items())}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _figures(f"{what}.{name}", value)
        elif name not in figures:
            yield f"{what}.{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _stands(spec: TensorSpec, rate_hz: float | None) -> str:
    """One output's rate, delay and place in time."""
    hz = f" = {float(spec.rate * Fraction(rate_hz)):g} Hz" if rate_hz else ""
    ms = f" = {_ms(spec.delay, rate_hz):g} ms" if rate_hz else ""
    offset = f" {'+' if spec.offset > 0 else '-'} {abs(spec.offset)}" if spec.offset else ""
    return (
        f"output {_short(spec.name)}: {spec.rate} frames per input frame{hz}, delay {spec.delay} frames{ms}; "
        f"its frame j stands at input frame {1 / spec.rate} * j{offset}."
    )


def _short(label: str, width: int = 36) -> str:
    """Converters join the names of what they fused with semicolons; the end of the last one says most."""
    name = label.rsplit(";", 1)[-1]
    return name if len(name) <= width else "..." + name[3 - width :]


def _count(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) else f"{number:,.2f}"


def _field(frames: int | None) -> str:
    return "all" if frames is None else f"{frames:,}"
