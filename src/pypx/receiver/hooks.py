"""What happens when a series is whole: commands, webhooks and functions are told of it.

In: the configuration, and events. Out: deliveries, each at least once, in the order of the
events where nothing fails. Not here: what a command or a webhook is (``hook_command``,
``hook_webhook``), and the files of the queue (``hook_queue``).

:meth:`Hooks.fire` writes the event into the queue on the disk, once for each hook, and returns.
Each hook has a thread of its own, and one delivery at a time: one that hangs or fails holds up
its own deliveries and nothing else. What fails is tried again after 1, 2, 4 … seconds, at most 5
minutes (each ± half), for 7 days; the waiting is not written down, so a start tries at once.
Several processes may share a queue: each hands over what it has a hook of that name for, and once
a minute looks for what others have left.
"""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery, Ending, Hook, Outcome
from pypx.receiver.hook_queue import HookQueue

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pypx.receiver.hook_settings import HookSettings

__all__ = ["ENTRY_POINTS", "HOOKS_FOLDER", "Hooks", "PythonHook", "backoff", "configured"]

HOOKS_FOLDER = ".pypx/hooks"
"""Where the queue is, in an archive."""

ENTRY_POINTS = "pypx.hooks"
"""The group of entry points: functions that get a :class:`SeriesComplete`."""

_log = logging.getLogger(__name__)

_GRACE = 10.0
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 300.0
_GIVE_UP_AFTER = 7 * 86_400.0
_LOOK_EVERY = 60.0
_PYTHON = "python-"


def backoff(attempts: int, chance: float) -> float:
    """Give the seconds to wait after so many failures; ``chance`` is from 0 to 1."""
    delay = min(_FIRST_DELAY * 2.0 ** min(attempts - 1, 30), _LONGEST_DELAY)
    return delay * (0.5 + chance)


def configured(settings: Iterable[HookSettings]) -> list[Hook]:
    """Make the hooks of a configuration.

    Raises:
        ConfigError: One cannot work: a package or an environment variable is missing.
    """
    hooks: list[Hook] = []
    for one in settings:  # a listener loads what its hooks need
        if one.webhook:
            hooks.append(import_module("pypx.receiver.hook_webhook").WebhookHook(one))
        else:
            hooks.append(import_module("pypx.receiver.hook_command").CommandHook(one))
    return hooks


class PythonHook:
    """Calls a function of an installed package; whatever it raises is final."""

    def __init__(self, entry_point: EntryPoint) -> None:
        safe = "".join(
            c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in entry_point.name
        )
        self.name = f"{_PYTHON}{safe}"
        self._entry_point = entry_point
        self._function: Callable[[SeriesComplete], object] | None = None

    def deliver(self, delivery: Delivery) -> Outcome:
        """Load the function and call it."""
        try:
            if self._function is None:
                self._function = self._entry_point.load()
            self._function(delivery.event)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's code
            _log.debug("the hook %s failed", self.name, exc_info=True)
            return Outcome(Ending.FAILED, f"raised {type(error).__name__}: {error}")
        return Outcome(Ending.DELIVERED)

    def stop(self) -> None:
        """Nobody can end a function."""


def _installed() -> list[Hook]:
    from importlib.metadata import entry_points  # 20 ms, when the first series begins

    return [PythonHook(one) for one in entry_points(group=ENTRY_POINTS)]


class Hooks:
    """All hooks of one process; a context manager that starts and closes them.

    Args:
        hooks: Those that are configured.
        folder: Where the queue is: ``archive.root / HOOKS_FOLDER``.
        on_trouble: Gets a sentence when something fails; called in several threads.
        installed: Gives those of installed packages, when they are first needed.

    Raises:
        ConfigError: Two hooks have one name.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        folder: Path,
        on_trouble: Callable[[str], None],
        *,
        installed: Callable[[], Sequence[Hook]] = _installed,
    ) -> None:
        self._queue = HookQueue(folder)
        self._on_trouble = on_trouble
        self._installed: Callable[[], Sequence[Hook]] | None = installed
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self._add(hooks)

    @classmethod
    def from_config(
        cls, settings: Iterable[HookSettings], folder: Path, on_trouble: Callable[[str], None]
    ) -> Hooks:
        """Make the hooks of a configuration; the arguments are those of the class.

        Raises:
            ConfigError: One cannot work: a package or an environment variable is missing.
        """
        return cls(configured(settings), folder, on_trouble)

    def __enter__(self) -> Hooks:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _add(self, hooks: Sequence[Hook]) -> None:
        for hook in hooks:
            if hook.name in self._lanes:
                raise ConfigError(f"Two hooks have the name {hook.name!r}.")
            self._lanes[hook.name] = _Lane(hook, self._queue, self._on_trouble)

    def _all(self) -> dict[str, _Lane]:
        """Give all hooks, those of installed packages among them."""
        with self._lock:
            if self._installed is not None:
                installed, self._installed = self._installed, None
                for hook in installed():
                    try:
                        self._add([hook])
                    except ConfigError as error:  # too late to refuse to start
                        self._on_trouble(f"{error.message} The second one is left out.")
        return self._lanes

    @property
    def is_empty(self) -> bool:
        """Whether nobody is to be told anything."""
        return not self._all()

    @property
    def queued(self) -> int:
        """How many deliveries wait, of this process and of others on the archive; 0 also where
        the disk does not say."""
        with suppress(OSError):
            return self._queue.queued
        return 0

    @property
    def failed(self) -> int:
        """How many deliveries were given up and are kept in ``failed/``; 0 also where the disk
        does not say."""
        with suppress(OSError):
            return self._queue.failed
        return 0

    def start(self) -> None:
        """Begin to hand over, with what an earlier process left in the queue."""
        self._queue.tidy()
        waiting: dict[str, int] = {}
        try:
            waiting = self._queue.hooks()
        except OSError as error:
            self._on_trouble(f"The queue of the hooks cannot be read: {error.strerror or error}.")
        lanes = self._all() if any(name.startswith(_PYTHON) for name in waiting) else self._lanes
        for name, number in waiting.items():
            if name not in lanes:
                self._on_trouble(
                    f"Deliveries wait for the hook {name}, which is not configured: {number}."
                )
        for lane in lanes.values():
            lane.start()

    def fire(self, event: SeriesComplete) -> None:
        """Tell all hooks of a series; they are told in their own time.

        Args:
            event: What happened; it has an ``id``.

        Raises:
            OSError: The queue cannot be written. Call it again with the same event: its ``id``
                keeps it one event.
        """
        for name, lane in self._all().items():
            lane.put(self._queue.put(Delivery(name, event, time.time())))

    def close(self, grace: float = _GRACE) -> None:
        """Hand over what can be handed over now, and end.

        Args:
            grace: Seconds for all hooks together; a command that runs longer is killed. What is
                not done then stays in the queue for the next start.
        """
        deadline = time.monotonic() + grace
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.finish()
        for lane in lanes:
            lane.join(deadline)


class _Lane:
    """The deliveries of one hook, one after the other, in a thread of their own."""

    def __init__(self, hook: Hook, queue: HookQueue, on_trouble: Callable[[str], None]) -> None:
        self._hook = hook
        self._queue = queue
        self._on_trouble = on_trouble
        self._changed = threading.Condition()
        self._plan: list[tuple[float, int, str]] = []  # a heap: when, which came first, its name
        self._numbers = 0
        self._failures: dict[str, int] = {}  # by name, of all that are known
        self._look_at = 0.0
        self._finishing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._changed:
            if self._thread is None and not self._finishing:
                # Nobody waits for a hook that cannot be ended.
                self._thread = threading.Thread(
                    target=self._run, name=f"hook {self._hook.name}", daemon=True
                )
                self._thread.start()

    def put(self, name: str) -> None:
        with self._changed:
            if name not in self._failures:
                self._failures[name] = 0
                self._plan_at(0.0, name)
            self._changed.notify()
        self.start()

    def finish(self) -> None:
        with self._changed:
            self._finishing = True
            self._changed.notify()

    def join(self, deadline: float) -> None:
        if self._thread is None:
            return
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        if self._thread.is_alive():
            self._hook.stop()
            self._thread.join(1.0)

    def _plan_at(self, when: float, name: str) -> None:
        self._numbers += 1
        heapq.heappush(self._plan, (when, self._numbers, name))

    def _run(self) -> None:
        while self._wait():
            if time.monotonic() >= self._look_at:
                self._look()
            name = self._next()
            if name is not None:
                try:
                    self._attempt(name)
                except Exception as error:  # noqa: BLE001 - reception goes on, and so does this
                    _log.debug("the hook %s failed", self._hook.name, exc_info=True)
                    self._put_off(name, f"{type(error).__name__}: {error}")

    def _wait(self) -> bool:
        """Wait until there is something to do; False when that will not be."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = self._plan[0][0] if self._plan else float("inf")
                if due <= now:
                    return True
                if self._finishing:
                    return False
                if self._look_at <= now:
                    return True
                self._changed.wait(min(due, self._look_at) - now)

    def _look(self) -> None:
        """Look for what others left: a process that ended, or who moves files back."""
        self._look_at = time.monotonic() + _LOOK_EVERY
        with suppress(OSError):  # the next look may see more
            for name in self._queue.names(self._hook.name):
                self.put(name)

    def _next(self) -> str | None:
        with self._changed:
            if self._plan and self._plan[0][0] <= time.monotonic():
                return heapq.heappop(self._plan)[2]
            return None

    def _attempt(self, name: str) -> None:
        with self._queue.claimed(name) as delivery:
            if delivery is None:  # another process has it, or had it
                self._forget(name)
                return
            outcome = self._hook.deliver(delivery)
            if outcome.ending is Ending.AGAIN and self._is_too_old(delivery):
                outcome = Outcome(Ending.FAILED, f"{outcome.reason}; it was tried for 7 days")
            match outcome.ending:
                case Ending.DELIVERED:
                    self._queue.done(name)
                case Ending.FAILED:
                    self._queue.give_up(name, delivery, outcome.reason)
                    series = delivery.event.series_instance_uid
                    self._tell(f"{outcome.reason}. It is not told of the series {series} again")
                case Ending.AGAIN:
                    self._put_off(name, outcome.reason)
                    return
        self._forget(name)

    def _is_too_old(self, delivery: Delivery) -> bool:
        return time.time() - delivery.queued_at > _GIVE_UP_AFTER

    def _put_off(self, name: str, reason: str) -> None:
        with self._changed:
            self._failures[name] += 1
            failures = self._failures[name]
            self._plan_at(time.monotonic() + backoff(failures, random.random()), name)
        if failures == 1:
            self._tell(f"{reason}. It will be tried again")

    def _forget(self, name: str) -> None:
        with self._changed:
            self._failures.pop(name, None)

    def _tell(self, sentence: str) -> None:
        self._on_trouble(f"The hook {self._hook.name} failed: {sentence}.")
