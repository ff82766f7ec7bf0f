"""How far a slot is behind its server, and how much disk it holds there."""

from dataclasses import dataclass

from malacate.sources.cdc.slot_position import shown
from malacate.sources.cdc.slot_server import ServerState, SlotState


@dataclass(frozen=True)
class Lag:
    """``unread_bytes`` of WAL were not read yet, ``retained_bytes`` are kept for the slot alone.

    ``safe_bytes`` are left until the server removes what the slot needs; ``None``: it never does.
    """

    slot: str
    position: str
    unread_bytes: int
    retained_bytes: int
    safe_bytes: int | None
    wal_status: str
    reader_pid: int | None

    @classmethod
    def of(cls, slot: SlotState, server: ServerState, read_to: int = 0) -> "Lag":
        """As the server says now; what is not flushed can be read by nobody.

        ``read_to`` is the end of what was read and published, which the slot may follow later.
        """
        return cls(
            slot.name,
            shown(slot.confirmed),
            max(server.flushed - max(slot.confirmed, read_to), 0),
            max(server.flushed - slot.restart, 0) if slot.restart else 0,
            slot.safe_wal_size,
            slot.wal_status,
            slot.active_pid,
        )

    def keeps_up(self, ceiling: int) -> bool:
        """Whether less than ``ceiling`` bytes wait."""
        return self.unread_bytes <= ceiling

    def is_safe(self, ceiling: int) -> bool:
        """Whether the source neither runs out of disk for the slot, nor is about to drop it."""
        margin = self.safe_bytes is None or self.safe_bytes > self.retained_bytes // 10
        kept = self.wal_status in ("reserved", "extended")
        return kept and margin and self.retained_bytes <= ceiling
