"""Where the tests find their material, wherever they stand themselves."""

from __future__ import annotations

from pathlib import Path

import tcnstream

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
DATA = TESTS / "data"
MODELS = DATA / "models"
STATEFUL = DATA / "stateful"
SHIPPED = Path(tcnstream.__file__).parent / "data"
ECG = SHIPPED / "ecg.csv"
AUDIO = SHIPPED / "audio.ogg"
