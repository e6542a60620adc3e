"""The start of a snapshot, as the core writes it."""

from tcnstream.engines.native.layout.record import I64, U32, Bytes8, Record, doc

SNAPSHOT_MAGIC = b"TCNSNAP\n"


class SnapshotHead(Record, c="tcn_snapshot_head"):
    """The start of a snapshot; then the rings of all tensors, each in the order of time, the carries, and a CRC-32.

    Frames of a ring that were never there are anything. Sums that follow from the rings are made again from them, so a
    snapshot of another engine fits as well.
    """

    magic: Bytes8 = doc("TCN_SNAPSHOT_MAGIC", default=SNAPSHOT_MAGIC)
    plan_crc32: U32 = doc("of the plan's header")
    ended: U32
    frames: I64 = doc("pushed since the start")
