"""Which records come from the same person, and what a fold leaves out: no person is on both sides.

The QT database took its records sel100 to sel233 from MIT-BIH, where 201 and 202 are one person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tcnstream.errors import SignalError


def person_of(database: str, record: str) -> str:
    """A name that records of the same person share."""
    name = record.removeprefix("sel") if database == "qtdb" else record
    if database == "mitdb" or (database == "qtdb" and len(name) == 3 and name[0] in "12"):
        return f"mitdb/{'201' if name == '202' else name}"
    return f"{database}/{record}"


def of_persons(records: Mapping[str, Sequence[str]], held: Iterable[str]) -> frozenset[str]:
    """All records of the persons that ``held`` ("mitdb/119") names; ``records`` are the names by database.

    Raises SignalError if one of ``held`` is not said in full.
    """
    parts = [each.partition("/") for each in held]
    for database, _, name in parts:
        if not name:
            raise SignalError(f"{database!r} is no record of a database: say it as mitdb/119")
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
