"""``tcnstream sources``: what is connected, by names that stay."""

from __future__ import annotations

from dataclasses import asdict

from tcnstream.cli.options import JsonOption
from tcnstream.cli.show import note, out, print_json


def sources(as_json: JsonOption = False) -> None:
    """List microphones, serial ports, LSL streams and boards, ready to paste into a configuration.

    Example: `tcnstream sources --json`
    """
    from tcnstream.live.sources import find_sources

    found = find_sources()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        note("nothing is connected that can be a source; files, standard input and tcp:HOST:PORT always are")
        return
    for each in found:  # whole lines, however long: they are there to be pasted
        out.print(each.uri, soft_wrap=True, highlight=False, markup=False)
        out.print(f"    {each.says}", soft_wrap=True, highlight=False, markup=False)
