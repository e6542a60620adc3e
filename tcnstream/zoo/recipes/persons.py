"""Which records come from the same person, and what a fold leaves out: no person is on both sides.

The QT database took its records sel100 to sel233 from MIT-BIH, where 201 and 202 are one person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tcnstream.errors import SignalError

DATABASES = ("ludb", "mitdb", "qtdb")


def record_list(text: str) -> list[str]:
    """The names of "mitdb/119,4", or of "@FILE" what that file holds, with commas or one a line; each once.

    Raises SignalError for a database that is none of DATABASES and for a file without text, OSError for none.
    """
    if text.startswith("@"):
        file = Path(text[1:])
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SignalError(f"{file} is no text, so no list of records: give one such as mitdb/119,ludb/4") from error
    names = list(dict.fromkeys(name for name in re.split(r"[,\s]+", text) if name))
    for name in names:
        database, slash, _ = name.rpartition("/")
        if slash and database not in DATABASES:
            raise SignalError(f"there is no database {database!r}: say {name!r} with {', '.join(DATABASES)}")
    return names


def refuse_unknown(known: Mapping[str, Sequence[str]], places: Iterable[str], name: str) -> None:
    """Raises SignalError if the folders of none of the databases ``places`` have the record."""
    if not any(name in known[place] for place in places):
        have = "; ".join(f"{place} has {', '.join(known[place])}" for place in places)
        raise SignalError(f"there is no record {name} in the folder given: {have}")


def person_of(database: str, record: str) -> str:
    """A name that records of the same person share."""
    name = record.removeprefix("sel") if database == "qtdb" else record
    if database == "mitdb" or (database == "qtdb" and len(name) == 3 and name[0] in "12"):
        return f"mitdb/{'201' if name == '202' else name}"
    return f"{database}/{record}"


def of_persons(records: Mapping[str, Sequence[str]], held: Iterable[str]) -> frozenset[str]:
    """All records of the persons that ``held`` ("mitdb/119") names; ``records`` are the names by database.

    Of a database that is not among ``records`` any name will do: its persons may be in another one. Raises SignalError
    if one of ``held`` is not said in full, or is not there.
    """
    parts = [each.partition("/") for each in held]
    for database, _, name in parts:
        if not name:
            raise SignalError(f"{database!r} is no record of a database: say it as mitdb/119")
        if database in records:
            refuse_unknown(records, [database], name)
    persons = {person_of(database, name) for database, _, name in parts}
    return frozenset(f"{d}/{n}" for d, names in records.items() for n in names if person_of(d, n) in persons)


def fold_of(records: Mapping[str, Sequence[str]], fold: str) -> frozenset[str]:
    """The records of fold "2/5": of each database's persons in their order, every fifth, beginning with the second.

    A person that an earlier database has already is in the fold where that one put them. Raises SignalError if
    ``fold`` is not of that form.
    """
    number, slash, count = fold.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) > 1):
        raise SignalError(f"{fold!r} is no fold: say the second of five as 2/5")
    place: dict[str, int] = {}
    for database, names in records.items():
        new = [p for p in dict.fromkeys(person_of(database, n) for n in names) if p not in place]
        place |= {person: i % int(count) + 1 for i, person in enumerate(new)}
    return frozenset(f"{d}/{n}" for d, names in records.items() for n in names if place[person_of(d, n)] == int(number))
