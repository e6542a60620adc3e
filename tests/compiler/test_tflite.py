"""The reader and the writer of .tflite files, on real files and on files built to be wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import struct
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from helpers.paths import MODELS

import tcnstream
from tcnstream.errors import ModelError, SignalError
from tcnstream.signal.card import find_model
from tcnstream.tflite.graph import Graph, Op, Quantization, Tensor
from tcnstream.tflite.reader import read_model
from tcnstream.tflite.schema import default_options, options_table
from tcnstream.tflite.writer import write_model

FILES = sorted(MODELS.glob("*.tflite"))
FLOAT, INT8, INT32 = np.dtype(np.float32), np.dtype(np.int8), np.dtype(np.int32)


def model_path(name: str) -> Path:
    return MODELS / f"{name}.tflite"


def tensor(name: str, *shape: int, dtype: Any = FLOAT, **facts: Any) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype), **facts)


def constant(name: str, data: Any, dtype: Any = FLOAT, **facts: Any) -> Tensor:
    values = np.asarray(data, dtype)
    return Tensor(name, values.shape, values.dtype, data=values, **facts)


def per_tensor(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


def chain(*ops: Op, tensors: int = 3) -> Graph:
    return Graph(tuple(tensor(f"t{i}", 1, 4) for i in range(tensors)), ops, (0,), (tensors - 1,), "main")


NEGATE = chain(Op("NEG", (0,), (1,)), Op("NEG", (1,), (2,)))


def graph_with_defaults(graph: Graph) -> Graph:
    """The graph with the options that its operations leave out."""
    ops = (
        dataclasses.replace(op, options={**default_options(str(options_table(op.kind))), **op.options})
        for op in graph.ops
    )
    return dataclasses.replace(graph, ops=tuple(ops))


def assert_same_graph(a: Graph, b: Graph) -> None:
    assert (a.inputs, a.outputs, a.name) == (b.inputs, b.outputs, b.name)
    for i, (p, q) in enumerate(zip(a.tensors, b.tensors, strict=True)):
        assert (p.name, p.shape, p.dtype) == (q.name, q.shape, q.dtype), i
        assert p.is_constant == q.is_constant, i
        if p.data is not None and q.data is not None:
            assert p.data.tobytes() == q.data.tobytes(), i
        assert (p.quantization is None) == (q.quantization is None), i
        if p.quantization is not None and q.quantization is not None:
            np.testing.assert_array_equal(p.quantization.scale, q.quantization.scale)
            np.testing.assert_array_equal(p.quantization.zero_point, q.quantization.zero_point)
            assert p.quantization.axis == q.quantization.axis, i
    for p_op, q_op in zip(a.ops, b.ops, strict=True):
        assert (p_op.kind, p_op.inputs, p_op.outputs) == (q_op.kind, q_op.inputs, q_op.outputs)
        assert dict(p_op.options) == dict(q_op.options)


def interpreter(content: bytes) -> Any:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    result = litert.Interpreter(model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    result.allocate_tensors()
    return result


def run(engine: Any, x: np.ndarray) -> list[np.ndarray]:
    engine.set_tensor(engine.get_input_details()[0]["index"], x)
    engine.invoke()
    return [engine.get_tensor(output["index"]) for output in engine.get_output_details()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_real_file_survives_reading_and_writing(path: Path) -> None:
    model = read_model(path)
    content = write_model(model.graphs, description=model.description)
    again = read_model(content)
    assert again.description == model.description
    for a, b in zip(model.graphs, again.graphs, strict=True):
        assert_same_graph(a, b)
    end = model.graphs[0].tensors[model.graphs[0].inputs[0]]
    x = np.load(path.with_suffix(".npz"))["x"].reshape(-1)[: int(np.prod(end.shape))]
    x = x.reshape(end.shape).astype(end.dtype)
    for want, got in zip(run(interpreter(path.read_bytes()), x), run(interpreter(content), x), strict=True):
        assert want.dtype == got.dtype
        np.testing.assert_array_equal(want, got)


def test_where_a_model_came_from_is_kept() -> None:
    path = model_path("sig_valid.f32")
    content = path.read_bytes()
    from_path, from_text, from_view = read_model(path), read_model(str(path)), read_model(memoryview(content))
    assert from_path.source == from_text.source == str(path)
    assert from_view.source == "<bytes>"
    assert from_path.sha256 == from_view.sha256 == hashlib.sha256(content).hexdigest()
    assert from_path.description == "MLIR Converted."
    assert_same_graph(from_path.graphs[0], read_model(bytearray(content)).graphs[0])


def test_an_integer_model_keeps_types_scales_and_options() -> None:
    (graph,) = read_model(model_path("strided.i8")).graphs
    conv = next(op for op in graph.ops if op.kind == "CONV_2D")
    weights, bias = graph.tensors[conv.inputs[1]], graph.tensors[conv.inputs[2]]
    assert set(conv.options) == {
        "padding",
        "stride_w",
        "stride_h",
        "fused_activation_function",
        "dilation_w_factor",
        "dilation_h_factor",
        "quantized_bias_type",
    }
    assert conv.options["padding"] == "SAME"
    assert conv.options["quantized_bias_type"] == "FLOAT32"
    assert weights.dtype == INT8
    assert bias.dtype == INT32
    assert weights.quantization is not None
    assert weights.quantization.per_channel
    assert weights.quantization.axis == 0
    assert weights.quantization.scale.dtype == np.float32
    assert weights.quantization.zero_point.dtype == np.int64
    assert weights.data is not None
    assert weights.data.shape == weights.shape
    assert not weights.data.flags.writeable
    reshape = next(op for op in graph.ops if op.kind == "RESHAPE")
    assert all(isinstance(size, int) for size in reshape.options["new_shape"])  # type: ignore[union-attr]


def test_half_precision_constants_stand_behind_dequantize() -> None:
    (graph,) = read_model(model_path("causal.f16")).graphs
    halves = [op for op in graph.ops if op.kind == "DEQUANTIZE"]
    assert len(halves) == 23
    assert {graph.tensors[op.inputs[0]].dtype for op in halves} == {np.dtype(np.float16)}
    assert all(graph.tensors[op.inputs[0]].is_constant for op in halves)


def test_dynamic_range_weights_are_int8_beside_float_values() -> None:
    weights = constant("w", [[1, 2, 3, 4]], np.int8, quantization=per_tensor(0.5))
    graph = Graph(
        (tensor("x", 1, 4), weights, tensor("y", 1, 1)), (Op("FULLY_CONNECTED", (0, 1, -1), (2,)),), (0,), (2,)
    )
    content = write_model([graph])
    assert_same_graph(read_model(content).graphs[0], graph_with_defaults(graph))
    np.testing.assert_allclose(run(interpreter(content), np.ones((1, 4), np.float32))[0], [[5]], rtol=0.01)


def test_sixteen_bit_models_have_sixty_four_bit_biases() -> None:
    (graph,) = read_model(model_path("causal.i16")).graphs
    conv = next(op for op in graph.ops if op.kind == "CONV_2D")
    assert [graph.tensors[i].dtype for i in conv.inputs] == [np.int16, np.int8, np.int64]


def test_a_missing_options_table_means_the_defaults_of_the_schema() -> None:
    content = write_model([chain(Op("CONV_2D", (0, 0), (1,)), tensors=2)])
    (graph,) = read_model(patched(content, operator(content)._tab, 10, "B", 0)).graphs
    assert graph.ops[0].options == {
        "padding": "SAME",
        "stride_w": 0,
        "stride_h": 0,
        "fused_activation_function": "NONE",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": "FLOAT32",
    }


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ADD", {"fused_activation_function": "RELU_N1_TO_1", "pot_scale_int16": False}),
        ("ARG_MAX", {"output_type": "INT64"}),
        ("BATCH_MATMUL", {"adj_x": True, "adj_y": False, "asymmetric_quantize_inputs": True}),
        ("BROADCAST_TO", {}),
        ("BUCKETIZE", {"boundaries": (-0.5, 0.25)}),
        ("CALL_ONCE", {"init_subgraph_index": 1}),
        ("CAST", {"in_data_type": "INT8", "out_data_type": "FLOAT64"}),
        ("CONCATENATION", {"axis": -1, "fused_activation_function": "NONE"}),
        ("CUSTOM", {"custom_code": "FlexErf"}),
        ("GELU", {"approximate": True}),
        ("HARD_SWISH", {}),
        ("LEAKY_RELU", {"alpha": 0.25}),
        ("LOGISTIC", {}),
        ("MAXIMUM", {}),
        ("MEAN", {"keep_dims": True}),
        ("MIRROR_PAD", {"mode": "SYMMETRIC"}),
        ("PACK", {"values_count": 2, "axis": 1}),
        ("READ_VARIABLE", {}),
        ("RESHAPE", {"new_shape": (1, -1, 3)}),
        ("RESIZE_BILINEAR", {"align_corners": False, "half_pixel_centers": True}),
        ("SOFTMAX", {"beta": 1.5}),
        ("SPLIT_V", {"num_splits": 3}),
        ("SQUEEZE", {"squeeze_dims": (1, 2)}),
        ("TRANSPOSE", {}),
        ("UNPACK", {"num": 2, "axis": 1}),
        ("VAR_HANDLE", {"container": "layer", "shared_name": "state_0"}),
        ("BUILTIN_9999", {}),
    ],
)
def test_kind_and_options_survive_writing_and_reading(kind: str, options: dict[str, Any]) -> None:
    graphs = [chain(Op(kind, (0,), (1,), options), tensors=2), NEGATE]
    op = read_model(write_model(graphs)).graphs[0].ops[0]
    assert op.kind == kind
    assert op.options == options
    assert [type(value) for value in op.options.values()] == [type(value) for value in options.values()]


def test_every_kind_of_tensor_survives_writing_and_reading() -> None:
    tensors = (
        tensor("x", 1, 4, dtype=np.int8, quantization=per_tensor(0.5, -3)),
        constant("float64", [1.5, -2.5], np.float64),
        constant("int64", [[2**40]], np.int64),
        constant("uint32", 2**32 - 1, np.uint32),
        constant("bool", [True, False, True], np.bool_),
        constant("none", np.zeros((0, 2))),
        tensor("handle", dtype=object),
        constant(
            "per channel",
            np.arange(6).reshape(2, 3),
            np.int8,
            quantization=Quantization(np.array([0.5, 1, 2], np.float32), np.array([0, 1, -1]), axis=1),
        ),
    )
    graph = Graph(tensors, (Op("VAR_HANDLE", (), (6,), {"container": "", "shared_name": "s"}),), (0,), (0,), "ends")
    assert_same_graph(read_model(write_model([graph])).graphs[0], graph)


def test_equal_constants_are_stored_once_and_aligned() -> None:
    table = np.arange(1000, dtype=np.float32)
    graph = Graph((tensor("x", 1), constant("a", table), constant("b", table)), (), (0,), (0,))
    content = write_model([graph])
    assert content.count(table.tobytes()) == 1
    assert content.index(table.tobytes()) % 16 == 0
    assert all(t.data is not None and t.data.flags.aligned for t in read_model(content).graphs[0].tensors[1:])


def test_a_constant_that_is_stored_at_an_odd_place_is_still_aligned() -> None:
    graph = Graph((tensor("x", 1), constant("a", [1.0, 2.0])), (), (0,), (0,))
    content = write_model([graph])
    at = content.index(np.float32([1, 2]).tobytes())
    buffer = root(content).Buffers(1)._tab
    vector = buffer.Pos + buffer.Offset(4)
    moved = content + b"\0" * (1 + -len(content) % 4) + struct.pack("<I", 8) + content[at : at + 8]
    odd = bytearray(moved)
    struct.pack_into("<I", odd, vector, len(moved) - 12 - vector)
    data = read_model(odd).graphs[0].tensors[1].data
    assert data is not None
    assert data.flags.aligned
    np.testing.assert_array_equal(data, [1, 2])


def test_four_bit_constants_are_unpacked() -> None:
    packed = np.array([0x21, 0x8F, 0x07], np.uint8).view(np.int8)
    content = write_model([Graph((tensor("x", 1), constant("w", packed, np.int8)), (), (0,), (0,))])
    table = root(content).Subgraphs(0).Tensors(1)._tab
    content = patched(content, table, 6, "b", tflite.TensorType.INT4)
    content = patched_at(content, table.Vector(table.Offset(4)), "<i", 5)
    w = read_model(content).graphs[0].tensors[1]
    assert (w.dtype, w.shape) == (INT8, (5,))
    np.testing.assert_array_equal(w.data, [1, 2, -1, -8, 7])  # type: ignore[arg-type]


@pytest.mark.parametrize(("old", "new"), [(9, 0), (0, 9), (9, 9)])
def test_the_larger_operator_code_counts(old: int, new: int) -> None:
    content = write_model([chain(Op("FULLY_CONNECTED", (0, 0), (1,)), tensors=2)])
    code = root(content).OperatorCodes(0)._tab
    content = patched(patched(content, code, 4, "b", old), code, 10, "<i", new)
    assert read_model(content).graphs[0].ops[0].kind == "FULLY_CONNECTED"


def test_codes_above_127_are_written_to_the_new_field() -> None:
    content = write_model([chain(Op("GELU", (0,), (1,)), tensors=2)])
    code = root(content).OperatorCodes(0)
    assert (code.DeprecatedBuiltinCode(), code.BuiltinCode()) == (127, tflite.BuiltinOperator.GELU)
    np.testing.assert_allclose(run(interpreter(content), np.zeros((1, 4), np.float32))[0], 0)


@pytest.mark.parametrize(
    ("kind", "dtypes", "options", "version"),
    [
        ("CONV_2D", (FLOAT, FLOAT), {}, 1),
        ("CONV_2D", (INT8, INT8), {}, 3),
        ("CONV_2D", (np.int16, INT8), {}, 4),
        ("CONV_2D", (FLOAT, INT8), {}, 5),
        ("DEPTHWISE_CONV_2D", (FLOAT, FLOAT), {"dilation_w_factor": 4}, 2),
        ("FULLY_CONNECTED", (INT8, INT8, INT32), {}, 4),
        ("FULLY_CONNECTED", (INT8, INT8, INT32), {"keep_num_dims": True}, 5),
        ("FULLY_CONNECTED", (FLOAT, FLOAT), {}, 6),
        ("TRANSPOSE_CONV", (INT32, INT8, INT8), {}, 2),
        ("TRANSPOSE_CONV", (INT32, FLOAT, FLOAT, FLOAT), {}, 3),
        ("SPLIT", (INT32, np.int16), {}, 4),
        ("DEQUANTIZE", (np.float16,), {}, 3),
        ("BROADCAST_TO", (FLOAT,), {}, 2),
        ("SPACE_TO_BATCH_ND", (FLOAT,), {}, 1),
        ("NEG", (INT8,), {}, 1),
    ],
)
def test_operators_carry_the_version_of_tensorflow(
    kind: str, dtypes: tuple[Any, ...], options: dict[str, Any], version: int
) -> None:
    """The expected numbers are those of tensorflow/lite/tools/versioning/op_version.cc."""
    tensors = (*(tensor(f"i{i}", 1, 1, 1, 1, dtype=dtype) for i, dtype in enumerate(dtypes)), tensor("y", 1))
    ends = tuple(range(len(dtypes)))
    content = write_model([Graph(tensors, (Op(kind, ends, (len(dtypes),), options),), ends, (len(dtypes),))])
    assert root(content).OperatorCodes(0).Version() == version


def test_a_written_model_with_resource_variables_runs() -> None:
    """A counter: y = state + x, state = y, started at 10 by a second subgraph."""
    value = tensor("value", 1, 4)
    handle = Op("VAR_HANDLE", (), (0,), {"container": "", "shared_name": "count"})
    main = Graph(
        (tensor("handle", dtype=object), tensor("x", 1, 4), value, tensor("y", 1, 4)),
        (
            Op("CALL_ONCE", (), (), {"init_subgraph_index": 1}),
            handle,
            Op("READ_VARIABLE", (0,), (2,)),
            Op("ADD", (2, 1), (3,)),
            Op("ASSIGN_VARIABLE", (0, 3), ()),
        ),
        (1,),
        (3,),
        "main",
    )
    start = Graph(
        (tensor("handle", dtype=object), constant("ten", np.full((1, 4), 10))),
        (handle, Op("ASSIGN_VARIABLE", (0, 1), ())),
        (),
        (),
        "start",
    )
    content = write_model([main, start])
    assert [graph.name for graph in read_model(content).graphs] == ["main", "start"]
    engine = interpreter(content)
    for expected in (11, 12, 13):
        np.testing.assert_array_equal(run(engine, np.ones((1, 4), np.float32))[0], np.full((1, 4), expected))


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Op("CONVOLVE", (0,), (1,)), "TFLite has no operator CONVOLVE"),
        (Op("NEG", (0,), (2,)), "there is no tensor 2; use 0 to 1."),
        (Op("CONV_2D", (0,), (1,), {"stride": 1}), "Conv2DOptions has no option stride"),
        (Op("CONV_2D", (0,), (1,), {"padding": "FULL"}), "padding has no value 'FULL'; use one of ['SAME', 'VALID']"),
    ],
)
def test_the_writer_refuses_what_the_format_cannot_hold(op: Op, text: str) -> None:
    with pytest.raises(ModelError) as error:
        write_model([chain(op, tensors=2)])
    assert text in str(error.value)
    assert "operator 0 of graph 0" in str(error.value)


def test_the_writer_refuses_dtypes_without_a_type() -> None:
    with pytest.raises(ModelError, match=r"tensor 0 of graph 0 \('x'\): dtype datetime64\[s\] has no TFLite type"):
        write_model([Graph((tensor("x", 1, dtype="datetime64[s]"),), (), (0,), (0,))])


def root(content: bytes | bytearray) -> Any:
    return tflite.Model.GetRootAs(content)


def operator(content: bytes) -> Any:
    return root(content).Subgraphs(0).Operators(0)


def patched_at(content: bytes, position: int, layout: str, value: int | float) -> bytes:
    result = bytearray(content)
    struct.pack_into(layout, result, position, value)
    return bytes(result)


def patched(content: bytes, table: Any, slot: int, layout: str, value: int | float) -> bytes:
    """The file with another value in one field of a table (``slot`` is the generated code's number)."""
    assert table.Offset(slot), "the writer left the field out"
    return patched_at(content, table.Pos + table.Offset(slot), layout, value)


def refusal(content: bytes) -> str:
    with pytest.raises(ModelError) as error:
        read_model(content)
    return str(error.value)


def with_tensor(**facts: Any) -> bytes:
    return write_model([Graph((dataclasses.replace(tensor("bad", 1, 4), **facts),), (), (0,), (0,))])


@pytest.mark.parametrize(
    ("graphs", "text"),
    [
        ([], "the list of graphs: the file has no graph; copy or export the file again."),
        (
            [chain(Op("NEG", (1,), (2,)), Op("NEG", (2,), (1,)))],
            "graph 0: operator 0 (NEG) reads tensor 1 ('t1'), which is computed by no earlier operator",
        ),
        ([chain(Op("NEG", (1,), (1,)))], "operator 0 (NEG) reads tensor 1"),
        ([chain(Op("NEG", (0,), (2,)), Op("NEG", (0,), (2,)))], "operator 1 (NEG) writes tensor 2, which has a value"),
        ([chain(Op("SPLIT", (0, 0), (1, 1)))], "operator 0 (SPLIT) writes tensor 1, which has a value already"),
        ([chain(Op("NEG", (0,), (0,)))], "operator 0 (NEG) writes tensor 0, which has a value already"),
        ([chain(Op("NEG", (0,), (1,)))], "output tensor 2 is computed by no operator"),
        (
            [
                Graph(
                    (tensor("x", 1), dataclasses.replace(tensor("y", 1), is_variable=True)),
                    (Op("NEG", (0,), (1,)),),
                    (0,),
                    (1,),
                )
            ],
            "operator 0 (NEG) writes tensor 1, which has a value already",
        ),
        ([chain(Op("NEG", (0,), (-1,)))], "its outputs name a tensor"),
        ([Graph((tensor("x", 1),), (), (1,), (0,))], "graph 0: its inputs name a tensor that is none of the graph's 1"),
        ([Graph((tensor("x", 1),), (), (0,), (-1,))], "graph 0: its outputs name a tensor"),
        ([Graph((tensor("x", 1),), (), (0, 0), (0,))], "one tensor is two inputs"),
        ([Graph((constant("x", [1]),), (), (0,), (0,))], "input tensor 0 is a constant"),
        ([Graph((tensor("x", 0, 2),), (), (0,), (0,))], "tensor 0 ('x') has no elements, its shape is (0, 2)"),
        ([chain(Op("CALL_ONCE", (), (), {"init_subgraph_index": 7}), tensors=1)], "calls graph 7"),
        ([chain(Op("CALL_ONCE", (), (), {"init_subgraph_index": 0}), tensors=1)], "graphs call each other in a cycle"),
        ([chain(Op("WHILE", (), (), {"body_subgraph_index": 0}), tensors=1)], "graphs call each other in a cycle"),
        (
            [chain(Op("STABLEHLO_COMPOSITE", (0,), (1,), {"decomposition_subgraph_index": 0}), tensors=2)],
            "graphs call each other in a cycle",
        ),
    ],
)
def test_inconsistent_graphs_are_refused(graphs: list[Graph], text: str) -> None:
    assert text in refusal(write_model(graphs))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"shape": (1, -4)}, "<bytes>: tensor 0 of graph 0 ('bad'): its shape (1, -4) has a negative dimension;"),
        ({"shape": (2**31 - 1,) * 4}, "takes 2 GB or more; use a shorter window."),
        ({"shape": (0, *(2**31 - 1,) * 4)}, "takes 2 GB or more; use a shorter window."),
        ({"shape": (1,) * 9}, "has 9 dimensions, more than 8"),
        ({"data": np.zeros(3, np.float32)}, "has 12 bytes of data where its shape (1, 4) takes 16"),
        ({"dtype": INT8, "quantization": per_tensor(0)}, "has a quantization scale that is not a positive number"),
        ({"dtype": INT8, "quantization": per_tensor(-1)}, "has a quantization scale that is not a positive number"),
        ({"dtype": INT8, "quantization": per_tensor(np.nan)}, "has a quantization scale that is not a positive number"),
        ({"dtype": INT8, "quantization": per_tensor(np.inf)}, "has a quantization scale that is not a positive number"),
        (
            {"quantization": Quantization(np.array([1, 0, -1, 2], np.float32), np.zeros(4, np.int64), 1)},
            "has a quantization scale that is not a positive number",
        ),
        ({"dtype": INT8, "quantization": per_tensor(1, 128)}, "has a zero point that int8 cannot hold"),
        ({"quantization": Quantization(np.ones(3, np.float32), np.zeros(3, np.int64), 1)}, "has 3 scales along axis 1"),
        ({"quantization": Quantization(np.ones(4, np.float32), np.zeros(4, np.int64), 2)}, "has 4 scales along axis 2"),
        ({"quantization": Quantization(np.ones(1, np.float32), np.zeros(2, np.int64))}, "has 2 zero points for 1 scal"),
    ],
)
def test_inconsistent_tensors_are_refused(facts: dict[str, Any], text: str) -> None:
    assert text in refusal(with_tensor(**facts))


def test_missing_zero_points_are_zero() -> None:
    content = with_tensor(quantization=Quantization(np.ones(4, np.float32), np.zeros(0, np.int64), 1))
    quantization = read_model(content).graphs[0].tensors[0].quantization
    assert quantization is not None
    np.testing.assert_array_equal(quantization.zero_point, [0, 0, 0, 0])


def test_a_channel_of_zeros_may_have_the_scale_0() -> None:
    content = with_tensor(quantization=Quantization(np.array([1, 0, 2, 0], np.float32), np.zeros(4, np.int64), 1))
    quantization = read_model(content).graphs[0].tensors[0].quantization
    assert quantization is not None
    np.testing.assert_array_equal(quantization.scale, [1, 0, 2, 0])


NEGATED = write_model([NEGATE])
CODE = root(NEGATED).OperatorCodes(0)._tab
BYTES = with_tensor(dtype=INT8)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the identifier TFL3 is missing, so this is no TFLite file"),
        (b"not a model at all", "the identifier TFL3 is missing"),
        (b"\x10\0\0\0TFL3", "the file's header: an offset points outside the file"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "an offset points outside the file"),
        (patched(NEGATED, root(NEGATED)._tab, 4, "<I", 2), "schema version 2 where 3 is the only one in use"),
        (patched(NEGATED, root(NEGATED)._tab, 8, "<I", 2**32 - 8), "the list of graphs: an offset points outside"),
        (
            patched(patched(NEGATED, CODE, 4, "b", -9), CODE, 10, "<i", -8),
            "operator code 0: the number -8 is negative; copy or export the file again.",
        ),
        (
            patched_at(NEGATED, root(NEGATED)._tab.Vector(root(NEGATED)._tab.Offset(8)) - 4, "<I", 0x7FFFFFFF),
            "has a list of 2147483647 entries, more than the file can hold",
        ),
        (
            patched(BYTES, root(BYTES).Subgraphs(0).Tensors(0)._tab, 6, "b", 99),
            "values of type 99 are not supported; convert the model to float or int8.",
        ),
    ],
)
def test_damaged_bytes_are_refused(content: bytes, text: str) -> None:
    assert text in refusal(content)


def test_references_outside_the_lists_are_refused() -> None:
    content = write_model([Graph((tensor("x", 1), constant("c", [1.0])), (Op("NEG", (1,), (0,)),), (), (0,))])
    buffer = patched(content, root(content).Subgraphs(0).Tensors(1)._tab, 8, "<I", 5)
    assert "tensor 1 of graph 0 ('c'): names buffer 5 of 2" in refusal(buffer)
    two = write_model([chain(Op("NEG", (0,), (1,)), Op("ABS", (1,), (2,)))])
    code = patched(two, root(two).Subgraphs(0).Operators(1)._tab, 4, "<I", 2)
    assert "operator 1 of graph 0: names operator code 2 of 2" in refusal(code)


@pytest.mark.parametrize("index", [-2, 3, 2**31 - 1])
def test_operands_outside_the_list_of_tensors_are_refused(index: int) -> None:
    table = operator(NEGATED)._tab
    content = patched_at(NEGATED, table.Vector(table.Offset(6)), "<i", index)
    assert "operator 0 of graph 0 (NEG): its inputs name a tensor that is none of the graph's 3" in refusal(content)


def test_options_of_another_operator_are_refused() -> None:
    content = write_model([chain(Op("CONV_2D", (0, 0), (1,)), tensors=2)])
    content = patched(content, operator(content)._tab, 10, "B", tflite.BuiltinOptions.Pool2DOptions)
    assert "operator 0 of graph 0 (CONV_2D): carries Pool2DOptions where Conv2DOptions belong" in refusal(content)


def test_unknown_enum_values_are_refused() -> None:
    content = write_model([chain(Op("CONV_2D", (0, 0), (1,), {"padding": "VALID"}), tensors=2)])
    options = operator(content).BuiltinOptions()
    content = patched(content, options, 4, "b", 7)
    assert "operator 0 of graph 0 (CONV_2D): its option padding is 7, which the schema does not know" in refusal(
        content
    )


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
def test_a_pipe_is_read_and_a_device_is_not(tmp_path: Path) -> None:
    """As `tcnstream run <(curl ...) signal.csv` gives one; it was "no such file"."""
    content = (MODELS / "nse_sm.i8.tflite").read_bytes()
    pipe = tmp_path / "model"
    os.mkfifo(pipe)
    for sent, told in ((content, ""), (b"y\n" * 50_000, "identifier TFL3 is missing"), (content[:999], "copy or")):
        writer = threading.Thread(target=_write, args=(pipe, sent), daemon=True)
        writer.start()
        if told:
            with pytest.raises(ModelError, match=told):
                tcnstream.load(pipe)
        else:
            assert tcnstream.load(pipe).file.content == content
        writer.join(timeout=90)
        assert not writer.is_alive()
    with pytest.raises(ModelError, match="there is no such file"):
        tcnstream.load("/dev/zero")
    with pytest.raises(SignalError, match="/dev/zero is a device"):
        find_model("/dev/zero")


def _write(pipe: Path, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.write_bytes(content)


@pytest.mark.parametrize("name", ["missing.tflite", "", "a\0b"])
def test_a_path_that_cannot_be_read_is_a_model_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give the path of a"):
        read_model(str(tmp_path / name))


def test_every_truncation_is_refused_or_read() -> None:
    content = write_model(read_model(model_path("sig_valid.f32")).graphs)
    for size in range(0, len(content), 3):
        try:
            read_model(content[:size])
        except ModelError as error:
            assert "<bytes>: " in str(error)


def raw_model(*, repeat: str = "", count: int = 1, sparse: bool = False, offset: int = 0, size: int = 0) -> bytes:
    """A file with one of everything, field by field.

    The list ``repeat`` has ``count`` entries that are all one table. The tensor's two floats are sparse,
    or stand ``offset`` bytes from the start of the file instead of in a buffer.
    """
    builder = flatbuffers.Builder()

    def tables(kind: str, table: int) -> int:
        times = count if kind == repeat else 1
        builder.StartVector(4, times, 4)
        for _ in range(times):
            builder.PrependUOffsetTRelative(table)
        return int(builder.EndVector())

    name = builder.CreateString("n" * 10_000)
    shape = builder.CreateNumpyVector(np.array([2], np.int32))
    tflite.SparsityParametersStart(builder)
    sparsity = tflite.SparsityParametersEnd(builder)
    tflite.TensorStart(builder)
    tflite.TensorAddName(builder, name)
    tflite.TensorAddShape(builder, shape)
    if sparse:
        tflite.TensorAddSparsity(builder, sparsity)
    tensors = tables("tensors", tflite.TensorEnd(builder))
    inputs = builder.CreateNumpyVector(np.zeros(count if repeat == "operands" else 1, np.int32))
    tflite.OperatorStart(builder)
    tflite.OperatorAddInputs(builder, inputs)
    operators = tables("operands" if repeat == "operands" else "operators", tflite.OperatorEnd(builder))
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddOperators(builder, operators)
    if not offset:
        tflite.SubGraphAddInputs(builder, inputs)
    graphs = tables("graphs", tflite.SubGraphEnd(builder))
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddCustomCode(builder, name)
    codes = tables("codes", tflite.OperatorCodeEnd(builder))
    tflite.BufferStart(builder)
    tflite.BufferAddOffset(builder, offset)
    tflite.BufferAddSize(builder, size)
    buffers = tables("buffers", tflite.BufferEnd(builder))
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_constants_behind_the_flatbuffer_are_read() -> None:
    place = 4 * (len(raw_model(offset=2, size=8)) // 4 + 1)
    content = raw_model(offset=place, size=8).ljust(place, b"\0") + np.float32([3, 4]).tobytes()
    np.testing.assert_array_equal(read_model(content).graphs[0].tensors[0].data, [3, 4])  # type: ignore[arg-type]
    assert f"its buffer 0 ends at byte {place + 8} of {place + 7}" in refusal(content[:-1])


def test_sparse_tensors_are_refused() -> None:
    assert "its values are stored sparsely; convert the model without sparsity." in refusal(raw_model(sparse=True))


def test_four_bit_values_are_refused_where_they_are_not_constant() -> None:
    content = patched(BYTES, root(BYTES).Subgraphs(0).Tensors(0)._tab, 6, "b", tflite.TensorType.INT4)
    assert "('bad'): 4-bit values are supported as constants only; convert the model to int8." in refusal(content)


@pytest.mark.parametrize("back", [-(2**31), 2**31 - 1, 1, 3])
def test_a_list_of_fields_that_is_not_one_is_refused(back: int) -> None:
    position = root(NEGATED).Subgraphs(0)._tab.Pos
    text = refusal(patched_at(NEGATED, position, "<i", back))
    assert text.startswith("<bytes>: graph 0: ")
    assert text.endswith("; copy or export the file again.")


def test_a_file_that_may_not_be_read_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError("permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(ModelError, match=r"cannot be read \(permission denied\); give the path of a readable"):
        read_model(model_path("sig_valid.f32"))


def test_a_list_of_numbers_beyond_the_end_is_refused() -> None:
    table = root(NEGATED).Subgraphs(0).Tensors(2)._tab
    content = patched_at(NEGATED, table.Vector(table.Offset(4)) - 4, "<I", len(NEGATED) // 4)
    assert "tensor 2 of graph 0 ('t2'): has a list of" in refusal(content)


def test_the_stateful_models_of_a_wake_word_package_are_read() -> None:
    # Found without importing it: the package needs another one for its features, the files need none.
    package = importlib.util.find_spec("pymicro_wakeword")
    if package is None or package.origin is None:
        pytest.skip("the models come from the package pymicro-wakeword")
    paths = sorted((Path(package.origin).parent / "models").glob("*.tflite"))
    assert paths
    for path in paths:
        model = read_model(path)
        main, start = model.graphs
        handles = [op for op in main.ops if op.kind == "VAR_HANDLE"]
        assert len({op.options["shared_name"] for op in handles}) == len(handles) > 0
        assert {main.tensors[op.outputs[0]].dtype for op in handles} == {np.dtype(object)}
        assert main.ops[0].options == {"init_subgraph_index": 1}
        assert {op.kind for op in start.ops} == {"VAR_HANDLE", "ASSIGN_VARIABLE"}
        for a, b in zip(model.graphs, read_model(write_model(model.graphs)).graphs, strict=True):
            assert_same_graph(a, b)


def test_a_directory_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file; give the path of a"):
        read_model(tmp_path)


@pytest.mark.parametrize("kind", ["tensors", "operators", "operands", "graphs", "codes"])
def test_many_references_to_one_place_cost_neither_time_nor_memory(kind: str) -> None:
    content = raw_model(repeat=kind, count=100_000)
    start = time.process_time()
    assert "the file holds more than" in refusal(content)
    assert time.process_time() - start < 5, "0.4 s, and ten times as much while coverage is measured"
    tracemalloc.start()
    try:
        refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content) + 50e6
    finally:
        tracemalloc.stop()
