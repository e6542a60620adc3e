"""Fleets: a model as the keyed operator of a distributed engine. ``Keyed`` is what every engine's adapter calls."""

from tcnstream.fleet.keyed import FramesRow, Keyed, Row, SegmentRow

__all__ = ["FramesRow", "Keyed", "Row", "SegmentRow"]
