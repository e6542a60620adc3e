"""Sentences of the library as a person who writes a configuration reads them: arguments are settings there."""

from __future__ import annotations

import re
from urllib.parse import quote

_OF_SOURCES = {"rate_hz": "rate", "units": "units", "raw_format": "raw_format", "raw_channels": "raw_channels"}
"""Options of a source, behind its name."""

_PARAMETER = re.compile(
    rf"""\b(?P<name>{"|".join(_OF_SOURCES)}|channels|engine|gain)=(?:'(?P<value>[^']*)'|(?P<number>[\d.]*\d))?"""
)


def as_settings(sentence: str) -> str:
    """A sentence with the settings of a configuration where the library names its arguments."""
    return _PARAMETER.sub(_setting, sentence)


def _setting(parameter: re.Match[str]) -> str:
    """An argument as it is written there: ``units='mV'`` is ``?units=mV``, ``gain=`` the key ``gain``."""
    name, value = parameter["name"], parameter["value"] or parameter["number"] or ""
    if name in _OF_SOURCES:
        return f"?{_OF_SOURCES[name]}={quote(value)}"
    return f'{name} = "{value}"' if value else f"`{name}`"
