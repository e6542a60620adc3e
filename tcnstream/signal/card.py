"""Model cards: a TOML file beside a .tflite that says what goes in, what comes out and how good it is.

A card for a model of three waves::

    name = "ecg"
    file = "ecg.tflite"
    rate_hz = 250
    units = "mV"
    labels = ["none", "p", "qrs", "t"]
    label_delay_frames = 45
    look_ahead_ms = 180
    training_data = "LUDB 1.0.1, 150 records"
    licence = "Apache-2.0"

    [[preprocessing]]
    kind = "sos"
    sections = [[0.991, -1.982, 0.991, 1.0, -1.98222, 0.98238]]
    start = "steady"

    [segments]
    background = "none"
    min_duration_s = { p = 0.04, qrs = 0.04 }
    merge_gap_s = { t = 0.04 }

    [quality]
    qrs_f1 = 0.995
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from tcnstream.errors import SignalError
from tcnstream.signal.filters import Filter
from tcnstream.signal.segments import Segmenter
from tcnstream.tflite.reader import is_readable

MODELS = Path(__file__).resolve().parent.parent / "models"
"""Where the shipped models and their cards live."""


_NO_BACKGROUND = "none"
"""Where it is no label either, all labels make segments."""


class SegmentRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How frames become segments: label -> seconds. ``background`` is the label that makes no segment."""

    background: str = _NO_BACKGROUND
    min_duration_s: dict[str, float] = {}
    merge_gap_s: dict[str, float] = {}


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model card says.

    ``labels[i]`` names output channel i, and ``marks`` the channels behind the labels, which are yes-or-no questions
    for themselves (``segments.MARKS``). ``output`` says whether a softmax, or of a mark the logistic function, is still
    to be taken. Output frame k describes the signal ``label_delay_frames`` output frames earlier. ``look_ahead_ms`` is
    the signal that is needed after an instant to label it, all told. ``limits`` says in words what it cannot do.
    ``signature`` and ``states`` are those of ``tcnstream.load``.
    """

    name: str
    file: str
    rate_hz: float
    labels: tuple[str, ...]
    marks: tuple[Literal["ventricular", "noise"], ...] = ()
    units: str = ""
    label_delay_frames: int = 0
    look_ahead_ms: float = 0.0
    output: Literal["logits", "probabilities"] = "logits"
    preprocessing: tuple[Filter, ...] = ()
    segments: SegmentRules = SegmentRules()
    signature: str = ""
    states: dict[str, str] = {}
    description: str = ""
    limits: str = ""
    training_data: str = ""
    licence: str = ""
    quality: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < float("inf"):
            raise ValueError(f"rate_hz must be above 0, not {self.rate_hz:g}")
        if self.label_delay_frames < 0:
            raise ValueError(f"label_delay_frames must be 0 or more, not {self.label_delay_frames}")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be a list of different names")
        if len(set(self.marks)) != len(self.marks):
            raise ValueError("marks must be a list of different names")
        if Path(self.file).name != self.file:
            raise ValueError(f"file must be the name of a file beside the card, not {self.file!r}")
        if self.segments.background not in (*self.labels, _NO_BACKGROUND):
            raise ValueError(
                f"segments.background is {self.segments.background!r}, which is not one of the labels "
                f"({', '.join(self.labels)})"
            )
        for field in ("min_duration_s", "merge_gap_s"):
            for label, seconds in getattr(self.segments, field).items():
                if label not in self.labels:
                    raise ValueError(f"segments.{field} names {label!r}, which is not one of the labels")
                if not 0 <= seconds < float("inf"):
                    raise ValueError(f"segments.{field}.{label} must be 0 s or more, not {seconds:g}")


# msgspec works out what a type holds at the type's first use, and two threads that do so at once crash in it (0.22).
# A decoder that is made here, while one thread imports, is that first use; all other decoders are made so too.
msgspec.json.Decoder(Card)


def load_card(path: str | Path) -> Card:
    """Reads a card. Raises SignalError that names the field that is unknown, missing or wrong."""
    try:
        fields = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return msgspec.convert(fields, Card)
    except OSError as error:
        raise SignalError(f"the model card {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SignalError(f"the model card {path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        way_out = "add it" if "missing" in str(error) else "mend the field or leave it out"
        raise SignalError(f"the model card {path} is wrong: {error}; {way_out}") from error


def card_segmenter(card: Card, frame_hz: float, start_s: float = 0.0, not_before_s: float = 0.0) -> Segmenter:
    """The Segmenter that a card describes, for output frames at ``frame_hz``; the first one begins at ``start_s``."""
    return Segmenter(
        card.labels,
        frame_hz,
        marks=card.marks,
        probabilities=card.output == "probabilities",
        background=card.segments.background,
        min_duration_s=card.segments.min_duration_s,
        merge_gap_s=card.segments.merge_gap_s,
        label_delay_frames=card.label_delay_frames,
        start_s=start_s,
        not_before_s=not_before_s,
    )


def shipped_models() -> dict[str, Path]:
    """Name -> card of every model that the package ships."""
    return {path.stem: path for path in sorted(MODELS.glob("*.toml"))}


def find_model(model: str | Path) -> tuple[Path, Card | None]:
    """The .tflite file and the card for a shipped model's name, a .tflite file or a card's path.

    A file's card is the .toml beside it that has the same stem, or whose ``file`` names it.
    """
    path, toml = _model_and_card(Path(model), str(model))
    if toml is None:
        return path, None
    card = load_card(toml)
    if path == toml:
        path = toml.parent / card.file
        if not path.is_file():
            raise SignalError(f"the model card {toml} names {card.file}, which is not beside it")
    return path, card


def model_files(model: str | Path) -> list[Path]:
    """The files that a model is read from: the .tflite and its card."""
    toml = _model_and_card(Path(model), str(model))[1]
    return [find_model(model)[0], *([] if toml is None else [toml])]


def _model_and_card(path: Path, name: str) -> tuple[Path, Path | None]:
    """What ``name`` means, and the card's path: the same one where a card is given."""
    if name in shipped_models() and not path.is_file():
        path = shipped_models()[name]
    if not is_readable(path):
        known = ", ".join(shipped_models()) or "none"
        what = f"there is no model {name!r}"
        if name and path.exists():
            what = f"{path} is a {'folder' if path.is_dir() else 'device'}"
        raise SignalError(f"{what}: give a .tflite file or a shipped model ({known})")
    if path.suffix.lower() == ".toml":
        return path, path
    for beside in sorted(path.parent.glob("*.toml"), key=lambda card: card.stem != path.stem):
        if beside.stem == path.stem or _names(beside, path.name):
            return path, beside
    return path, None


def _names(card: Path, file: str) -> bool:
    try:
        return tomllib.loads(card.read_text(encoding="utf-8")).get("file") == file
    except (OSError, ValueError):
        return False
