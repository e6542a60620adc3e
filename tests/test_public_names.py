"""What the package offers, and what it raises."""

from __future__ import annotations

import inspect

import tcnstream
from tcnstream import errors


def test_the_front_door() -> None:
    assert sorted(tcnstream.__all__) == [
        "EngineError",
        "Model",
        "ModelError",
        "NotStreamableError",
        "Pipeline",
        "PipelinePool",
        "Pool",
        "Segment",
        "SignalError",
        "SignalFilter",
        "Stream",
        "StreamError",
        "StreamOptions",
        "TcnStreamError",
        "load",
    ]
    for name in tcnstream.__all__:
        assert inspect.getdoc(getattr(tcnstream, name)), f"{name} has no docstring"


def test_everything_raised_on_purpose_has_one_root() -> None:
    tree = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert set(tree) == {
        "TcnStreamError",
        "ModelError",
        "NotStreamableError",
        "EngineError",
        "StreamError",
        "SignalError",
        "MissingExtraError",
    }
    assert all(issubclass(kind, errors.TcnStreamError) for kind in tree.values())
    assert issubclass(errors.MissingExtraError, ImportError)


def test_the_public_methods_have_docstrings() -> None:
    for kind in (tcnstream.Model, tcnstream.Stream, tcnstream.Pool, tcnstream.SignalFilter, tcnstream.Pipeline):
        for name, member in vars(kind).items():
            if not name.startswith("_") and callable(member):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
