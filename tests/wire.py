"""Two protocol machines joined without a socket, by a good wire or a faulty one.

In: two ends, each an :class:`~pypx.ul.association.Association` or something with its
five methods that has one as ``association`` (a :class:`~pypx.dimse.session.Session`).
Out: the events of each end. Time is the number ``wire.now``; nothing sleeps.

What a wire delivers is overwritten as soon as the end has made its events, as the
buffer of a driver is, and views in events are replaced by copies just before. So an
end that keeps a view for later is found out.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any, Protocol

from pypx.values import replace

__all__ = ["LEFT", "RIGHT", "End", "FaultyWire", "Wire", "pass_in"]

LEFT, RIGHT = 0, 1
_END_OF_STREAM = b""
_ENDLESS = 100_000  # moves of one run: more means that the two ends never come to rest


class End(Protocol):
    """What a wire needs of an end."""

    def receive_data(self, data: memoryview, now: float) -> list[Any]: ...

    def data_to_send(self) -> list[bytes | memoryview]: ...

    def next_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float) -> list[Any]: ...


def pass_in(end: End, data: bytes, now: float) -> list[Any]:
    """Give data to an end in a buffer that is overwritten at once; events keep copies."""
    buffer = bytearray(data)
    events = [
        replace(event, data=bytes(event.data)) if isinstance(data_of(event), memoryview) else event
        for event in end.receive_data(memoryview(buffer), now)
    ]
    buffer[:] = b"\xdd" * len(buffer)
    return events


def data_of(event: Any) -> Any:
    return getattr(event, "data", None)


class Wire:
    """A transport connection that loses nothing and keeps the order.

    Attributes:
        ends: Left and right.
        events: What each end has told, in order.
        sent: All bytes that each end has sent.
        open: Whether each end still has its side of the connection open.
        now: The time for both ends; the tests move it by :meth:`elapse`.
    """

    def __init__(self, left: End, right: End, *, now: float = 0.0) -> None:
        self.ends = (left, right)
        self.events: tuple[list[Any], list[Any]] = ([], [])
        self.sent = (bytearray(), bytearray())
        self.open = [True, True]
        self.now = now
        # For each receiving end: when the bytes are there, and the bytes.
        self._flying: tuple[deque[tuple[float, bytes]], deque[tuple[float, bytes]]] = (
            deque(),
            deque(),
        )

    def connect(self) -> Wire:
        """Tell both ends that the connection is there, and run."""
        for end in self.ends:
            upper(end).transport_connected(self.now)
        return self.run()

    def run(self) -> Wire:
        """Move bytes until nothing is under way; time passes only as far as delays need it."""
        for _ in range(_ENDLESS):
            self.collect()
            if not self.deliver():
                due = [queue[0][0] for queue in self._flying if queue]
                if not due:
                    return self
                self.now = max(self.now, min(due))
        raise AssertionError("the two ends never come to rest")

    def elapse(self, seconds: float) -> Wire:
        """Let time pass, with the timers that end on the way."""
        until = self.now + seconds
        while True:
            self.run()
            timers = [t for end in self.ends if (t := end.next_timeout()) is not None]
            if not timers or min(timers) > until:
                break
            self.now = max(self.now, min(timers))
            for side, end in enumerate(self.ends):
                self.events[side].extend(end.handle_timeout(self.now))
        self.now = max(self.now, until)
        return self

    def collect(self) -> None:
        """Take what both ends have to send, and close the side of an end that wants it."""
        for side, end in enumerate(self.ends):
            for chunk in end.data_to_send():
                if self.open[side]:
                    self.sent[side].extend(chunk)
                    self.transmit(1 - side, bytes(chunk))
            if self.open[side] and upper(end).should_close:
                self.close(side)

    def transmit(self, to: int, data: bytes) -> None:
        """Put bytes on the way; a faulty wire does its harm here."""
        self._flying[to].append((self.now, data))

    def deliver(self, most: int | None = None) -> bool:
        """Hand over what is there by now.

        Args:
            most: How many bytes at most, to either end; None for all.

        Returns:
            Whether there was anything.
        """
        moved = False
        for side in (LEFT, RIGHT):
            queue = self._flying[side]
            while queue and queue[0][0] <= self.now:
                due, data = queue.popleft()
                moved = True
                if data == _END_OF_STREAM:
                    self.lose(side)
                    break
                if most is not None and len(data) > most:
                    queue.appendleft((due, data[most:]))
                    data = data[:most]
                if self.open[side]:
                    self.events[side].extend(pass_in(self.ends[side], data, self.now))
                if most is not None:
                    break
        return moved

    def close(self, side: int) -> None:
        """Close the connection from one side; the other hears of it behind all that was sent."""
        self.open[side] = False
        self._flying[1 - side].append((self.now, _END_OF_STREAM))

    def lose(self, side: int) -> None:
        """Let one side hear that the connection has ended, and close its own."""
        self._flying[side].clear()
        end = upper(self.ends[side])
        if self.open[side]:
            self.events[side].extend(end.transport_closed(self.now))
            self.close(side)

    def cut(self) -> None:
        """End the connection for both sides; what is under way is lost."""
        for side in (LEFT, RIGHT):
            self.lose(side)


class FaultyWire(Wire):
    """A transport connection that does harm, the same for the same seed.

    Args:
        left: One end.
        right: The other end.
        seed: Of all that happens by chance.
        split: The chance of a chunk to arrive in pieces.
        delay: The chance of a piece to be late, by up to ``longest_delay`` seconds.
        flip: The chance of a piece to have one bit turned over.
        cut: The chance of a piece to be the end of the connection.
        longest_delay: In seconds.
    """

    def __init__(
        self,
        left: End,
        right: End,
        *,
        seed: int,
        split: float = 0.5,
        delay: float = 0.0,
        flip: float = 0.0,
        cut: float = 0.0,
        longest_delay: float = 1.0,
    ) -> None:
        super().__init__(left, right)
        self.faults: list[str] = []
        self._random = random.Random(seed)
        self._chances = {"split": split, "delay": delay, "flip": flip, "cut": cut}
        self._longest_delay = longest_delay
        self._last_due = [0.0, 0.0]

    def transmit(self, to: int, data: bytes) -> None:
        for piece in self._pieces(data):
            if not self.open[to]:
                return
            if self._happens("flip"):
                turned = bytearray(piece)
                turned[self._random.randrange(len(piece))] ^= 1 << self._random.randrange(8)
                piece = bytes(turned)
            if self._happens("cut"):
                self.cut()
                return
            due = max(self.now, self._last_due[to])
            if self._happens("delay"):
                due += self._random.random() * self._longest_delay
            self._last_due[to] = due
            self._flying[to].append((due, piece))

    def close(self, side: int) -> None:
        self.open[side] = False
        due = max(self.now, self._last_due[1 - side])
        self._flying[1 - side].append((due, _END_OF_STREAM))

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self._happens("split"):
            return [data]
        cuts = {self._random.randrange(1, len(data)) for _ in range(self._random.randint(1, 5))}
        edges = [0, *sorted(cuts), len(data)]
        return [data[a:b] for a, b in itertools.pairwise(edges)]

    def _happens(self, fault: str) -> bool:
        if self._random.random() >= self._chances[fault]:
            return False
        self.faults.append(fault)
        return True


def upper(end: Any) -> Any:
    """Give the association of an end."""
    return getattr(end, "association", end)
