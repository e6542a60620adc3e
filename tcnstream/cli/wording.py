"""Sentences of the library as a person at a command line reads them: arguments are options there."""

from __future__ import annotations

import re

_NAMED_OTHERWISE = {"channels": "channel", "duration_s": "duration", "rate_hz": "rate"}
_PARAMETER = re.compile(
    # Behind ? or & it is an option of a source of the daemon, which has its own words.
    r"""(?<![?&\w])(?P<name>calibration|channels|duration_s|engine|gain|hold_gaps|rate_hz|raw_channels|raw_format"""
    r"""|rounding|signature|time_axis|time_pooling|units)="""
    r"""(?:['"](?P<value>[^'"]*)['"]|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|True)?"""
)
_MAPPING = re.compile(r"""\b(?P<name>states|static)=\{(?P<pairs>[^}]*)\}""")
_PAIR = re.compile(r"""['"](?P<name>[^'"]*)['"]: (['"](?P<value>[^'"]*)['"])?""")


def as_options(sentence: str) -> str:
    """A sentence with the options of the command line where the library names its arguments."""
    return _MAPPING.sub(_options, _PARAMETER.sub(_option, sentence))


def _option(parameter: re.Match[str]) -> str:
    """An argument of the library, as a person gives it here: ``time_axis=`` is ``--time-axis``."""
    name, value = parameter["name"], parameter["value"] or parameter["number"] or ""
    said = f'"{value}"' if " " in value else value
    return f"--{_NAMED_OTHERWISE.get(name, name).replace('_', '-')} {said}".rstrip()


def _options(parameter: re.Match[str]) -> str:
    """A mapping of the library as a person gives it here: ``states={'h': 'o'}`` is ``--states h=o``."""
    pairs = [(pair["name"], pair["value"] or "...") for pair in _PAIR.finditer(parameter["pairs"])]
    return " ".join(f"--{parameter['name']} {name}={value}" for name, value in pairs) or f"--{parameter['name']} none"
