"""Which deliveries of a channel are settled, so that acks of one turn go out in as few frames as possible."""

from __future__ import annotations

from funcatron.brokers.amqp import codec


class Tags:
    """Settled delivery tags of one channel. Tags count up from 1 without gaps (AMQP 0-9-1, section 1.1).

    A run of settled tags from the lowest unsettled one on is acked by one frame with `multiple`; what is settled
    above a gap is acked one by one.
    """

    __slots__ = ("_done", "_low", "_sent", "_upto", "channel", "dirty")

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.dirty = False  # whether something is to be taken
        self._low = 0  # all tags up to this one are settled
        self._upto = 0  # the highest of them that is still to be acked; 0 for none
        self._done: set[int] = set()  # settled above a gap, to be acked
        self._sent: set[int] = set()  # settled above a gap, and the broker knows

    def ack(self, tag: int) -> None:
        """Count a delivery as done; `take` makes the frames."""
        if tag == self._low + 1:
            self._low = self._upto = tag
        else:
            self._done.add(tag)

    def nack(self, tag: int, requeue: bool) -> bytes:
        """Count a delivery as given back, and return the frame that says so."""
        self._sent.add(tag)
        return codec.nack(self.channel, tag, requeue)

    def take(self) -> list[bytes]:
        """Return the frames that ack what was done since the last call."""
        self.dirty = False
        self._close_gaps()
        frames = []
        if self._upto:
            frames.append(codec.ack(self.channel, self._upto, True))
            self._upto = 0
        if self._done:
            frames += [codec.ack(self.channel, tag, False) for tag in sorted(self._done)]
            self._sent |= self._done
            self._done.clear()
        return frames

    def _close_gaps(self) -> None:
        low = self._low
        while self._done or self._sent:
            low += 1
            if low in self._done:
                self._done.remove(low)
                self._upto = low
            elif low in self._sent:
                self._sent.remove(low)
            else:
                break
            self._low = low
