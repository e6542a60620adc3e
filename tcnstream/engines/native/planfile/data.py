"""What the records of a plan file refer to, each in its place: data, names, running sums, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tcnstream.engines.native.layout.codes import Family
from tcnstream.engines.native.layout.file import ALIGNMENT, FAMILY_ALIGNMENT

WORD_BYTES = 4


class Data:
    """The ``Placement`` of the records of one file: sections that grow as records are packed.

    What is aligned to more than a word comes first, so that there is no gap among the words behind. Where the words
    begin is known once all that is ``wide``, (content, alignment), is given: the ``wide_contents`` of a first round.
    The longest are placed first, so that what another one holds as a part is not written again.
    """

    def __init__(
        self, records_end: int, numbers: Mapping[int, int], family: Family, wide: Iterable[tuple[bytes, int]] = ()
    ) -> None:
        self.names = bytearray()
        self.wide, self.words = bytearray(), bytearray()
        self.wide_contents: dict[tuple[bytes, int], int] = {}
        self.carry_bytes = 0
        self._name_at: dict[str, int] = {}
        self._numbers = numbers
        self._is_portable = family == Family.PORTABLE
        alignment = ALIGNMENT if self._is_portable else FAMILY_ALIGNMENT
        self.wide_at = -(-records_end // alignment) * alignment
        for content, alignment in sorted(wide, key=lambda blob: (blob[1], len(blob[0])), reverse=True):
            self.blob(content, alignment)
        self.wide += bytes(-len(self.wide) % WORD_BYTES)
        self.words_at = self.wide_at + len(self.wide)

    @property
    def end(self) -> int:
        return self.words_at + len(self.words)

    def blob(self, content: bytes, alignment: int) -> int:
        """The offset of ``content`` in the file; what is there already is not written again."""
        if alignment > WORD_BYTES:
            alignment = ALIGNMENT if self._is_portable else alignment
            if (content, alignment) not in self.wide_contents:
                self.wide_contents[content, alignment] = self.wide_at + _place(self.wide, content, alignment)
            return self.wide_contents[content, alignment]
        return self.words_at + _place(self.words, content, WORD_BYTES)

    def text(self, text: str) -> int:
        """The place of ``text`` among the names; equal texts are kept once."""
        if text not in self._name_at:
            self._name_at[text] = len(self.names)
            self.names += text.replace("\0", " ").encode() + b"\0"
        return self._name_at[text]

    def tensor(self, i: int) -> int:
        """The number in the file of a tensor of the plan."""
        return self._numbers[i]

    def carry(self, size_bytes: int) -> int:
        """The place of a node's running sums in the carries of a state."""
        place = self.carry_bytes
        self.carry_bytes += size_bytes
        return place


def _place(data: bytearray, content: bytes, alignment: int) -> int:
    """Where ``content`` begins in ``data``, at a multiple of ``alignment``: where it was, or else at the end."""
    found = data.find(content)
    while found >= 0 and found % alignment:
        found = data.find(content, found + 1)
    if found < 0:
        data += bytes(-len(data) % alignment)
        found = len(data)
        data += content
    return found
