"""Without the extra, the zoo says how to get it."""

import importlib
import sys

import pytest

from tcnstream.errors import MissingExtraError, TcnStreamError
from tcnstream.signal.card import MODELS


@pytest.mark.parametrize("module", ["tcn", "convert", "signal_conv"])
def test_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, f"tcnstream.zoo.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]") as caught:
        importlib.import_module(f"tcnstream.zoo.{module}")
    assert isinstance(caught.value, TcnStreamError)
    assert isinstance(caught.value, ImportError)


def test_a_recipe_names_the_extra_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = pytest.importorskip("tcnstream.zoo.fitting")
    monkeypatch.setitem(sys.modules, "keras", None)
    for module in ("tcn", "convert"):
        monkeypatch.delitem(sys.modules, f"tcnstream.zoo.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install tcnstream\[train\]"):
        fitting.require_keras()
    assert len(fitting.read_stages(MODELS / "ecg.params.json")) > 0


def test_the_package_itself_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keras", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "tcnstream.zoo", raising=False)
    importlib.import_module("tcnstream.zoo")
