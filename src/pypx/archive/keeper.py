"""Who looks after the index while objects are stored: a thread that costs the others nothing.

In: what to do. Out: an index that is made again when it is found damaged or gone, and brought to
the disk now and then. Not here: how either is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from pypx.errors import PypxError

__all__ = ["Keeper", "StoppedError"]

_LOOK_EVERY = 5.0  # seconds
_SYNC_EVERY = 60.0
_LONGEST_PAUSE = 60.0


class StoppedError(PypxError):
    """The archive is being closed: what was begun is left to the next start."""


class Keeper:
    """Looks every few seconds, or when it is told that something is wrong.

    Args:
        defect: Says what is wrong with the index; empty where nothing is.
        mend: Makes it again, and calls ``check`` once in a while.
        sync: Brings the index to the disk.
        tell: Gets a sentence when mending failed.
    """

    def __init__(
        self,
        *,
        defect: Callable[[], str],
        mend: Callable[[str], None],
        sync: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self._defect = defect
        self._mend = mend
        self._sync = sync
        self._tell = tell
        self._lock = Lock()
        self._woken = Event()
        self._stopped = False
        self._failures = 0
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to look; more than once is fine."""
        with self._lock:
            if self._thread is None and not self._stopped:
                thread = Thread(target=self._run, name="px-index-keeper", daemon=True)
                with suppress(RuntimeError):  # no thread can be had now: the next call tries again
                    thread.start()
                    self._thread = thread

    def wake(self) -> None:
        """Look now."""
        self._woken.set()
        self.start()

    def check(self, _: object = None) -> None:
        """Go on, unless the archive is being closed.

        Raises:
            StoppedError: It is.
        """
        if self._stopped:
            raise StoppedError("The archive is being closed.")

    def stop(self) -> None:
        """Stop looking, and wait for what is under way to notice."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        self._woken.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        synced = time.monotonic()
        while True:
            self._woken.wait(min(_LOOK_EVERY * 2**self._failures, _LONGEST_PAUSE))
            if self._stopped:
                return
            self._woken.clear()
            if self._look() and time.monotonic() - synced >= _SYNC_EVERY:
                synced = time.monotonic()
                self._sync()

    def _look(self) -> bool:
        """Mend the index if need be; gives whether it is in order."""
        try:
            if reason := self._defect():
                self._mend(reason)
        except StoppedError:
            return False
        except (PypxError, OSError) as error:
            if not self._failures:
                self._tell(f"The index could not be made again, and will be later: {error}")
            self._failures += 1
            return False
        self._failures = 0
        return True
