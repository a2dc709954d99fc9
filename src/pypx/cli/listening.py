"""A listener that runs: receive, tell, serve metrics, take another configuration, stop.

In: flags and a configuration. Out: an exit code, after a stop. What flags there are stands in
``listen``, what is in force in ``terms``, what is told of associations in ``associations``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pypx.archive import Archive
from pypx.cli.associations import Associations
from pypx.cli.auditing import audited
from pypx.cli.line_limit import LineLimit
from pypx.cli.live import LiveLine
from pypx.cli.options import Invocation
from pypx.cli.orders import Order, Orders
from pypx.cli.reception import log_to, tell_notes
from pypx.cli.terms import Flags, Terms, changed, terms
from pypx.config import load
from pypx.engine import NATIVE
from pypx.errors import ConfigError
from pypx.net.server import can_share_port
from pypx.net.service_manager import ServiceManager
from pypx.receiver.allow import is_loopback
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hooks import HOOKS_FOLDER, Hooks
from pypx.receiver.observers import Observers
from pypx.receiver.receiver import Receiver
from pypx.receiver.watch import Watch
from pypx.values import replace

if TYPE_CHECKING:
    import socket

    from pypx.dcmtk.receiver import StorescpReceiver
    from pypx.receiver.workers import Workers

__all__ = ["listen"]

_TICK = 1.0  # seconds between looks at the archive's notes
_SLOWEST_BEAT = 3.0  # seconds that a worker that is well may take to say so
_LOOK = 0.2  # seconds between looks for orders, while one association lasts
_LONG = 2.0  # seconds after which opening the archive is worth a word


def listen(invocation: Invocation, flags: Flags) -> int:
    """Receive until told to stop.

    Raises:
        ConfigError: The terms make no sense, or an address cannot be bound.
        ArchiveError: The archive cannot be opened.
    """
    orders = Orders()
    out = invocation.out
    connection = None
    if flags.inetd is not None:
        from pypx.cli import inetd

        if flags.inetd.logdir is not None:
            with suppress(ConfigError):  # which says who may read the log; told below, in there
                _ = invocation.config
            inetd.log_elsewhere(flags.inetd.logdir)
        connection, host = inetd.connection()
        flags = replace(flags, host=host)
    manager = ServiceManager(os.environ, listens=connection is None)
    bound = _most_open(manager.sockets)
    held = terms(flags, invocation.config, out, idle_timeout=invocation.timeout, bound=bound)
    with closing(LineLimit(out.warn)) as limit:
        log_to(out, limit)
        with _opened(invocation, flags, held) as archive, Associations(out, limit) as lines:
            orders.heed_stops(invocation.interrupts)
            listening = _Listening(
                invocation, flags, held, archive, lines, limit, manager, connection
            )
            started = time.monotonic()
            listening.run(orders)
    lines.tell_totals(listening.receiver.totals, time.monotonic() - started)
    return int(lines.broken)


def _most_open(sockets: Sequence[socket.socket]) -> tuple[str, int] | None:
    """Give host and port of the socket that most peers reach; None where there is none."""
    addresses = [one.getsockname()[:2] for one in sockets]
    return min(addresses, key=lambda one: is_loopback(one[0]), default=None)


@contextmanager
def _opened(invocation: Invocation, flags: Flags, held: Terms) -> Iterator[Archive]:
    """Open the archive, which puts it in order; say so when that takes long."""
    out = invocation.out
    slow = threading.Timer(
        _LONG,
        out.say,
        ("Opening the archive takes long: it is put in order, or its index is made again.",),
    )
    slow.daemon = True
    slow.start()
    try:
        archive = invocation.open_archive(
            create=flags.create, durability=flags.durability, index_wait=held.index_wait
        )
    finally:
        slow.cancel()
    with archive:
        yield archive


class _Listening:
    """What belongs to one listener while it runs.

    Attributes:
        receiver: A receiver in this process, or workers.
    """

    def __init__(
        self,
        invocation: Invocation,
        flags: Flags,
        held: Terms,
        archive: Archive,
        lines: Associations,
        limit: LineLimit,
        manager: ServiceManager,
        connection: socket.socket | None = None,
    ) -> None:
        self._connection = connection
        self._invocation = invocation
        self._out = invocation.out
        self._flags = flags
        self._held = held
        self._archive = archive
        self._limit = limit
        self._manager = manager
        self._files = _files_of_tls(held)
        self._told = 0
        self._observers = Observers(lines)
        self._workers = self._make_workers() if self._is_shared() else None
        self.receiver = self._workers or (
            self._make_receiver() if held.engine == NATIVE else self._make_storescp()
        )

    def _is_shared(self) -> bool:
        if self._held.workers > 1 and self._held.engine != NATIVE:
            raise ConfigError(
                "DCMTK's storescp forks by itself: --workers is for --engine native.",
                hint="Leave --workers out.",
            )
        if self._connection is not None:
            return False
        if self._held.workers > 1 and not can_share_port():
            self._out.warn("Only Linux spreads a port over processes: one process receives.")
            return False
        return self._held.workers > 1

    def _make_receiver(self) -> Receiver:
        held = self._held
        return Receiver(
            self._archive,
            host=held.host,
            port=held.port,
            ae_title=held.aet,
            allow=held.allow,
            allow_any=self._flags.allow_any,
            limits=held.limits,
            tls=held.tls,
            users=held.users,
            min_free=held.min_free,
            observer=self._observers,
            sockets=self._manager.sockets,
            heartbeat=self._manager.beat,
            connection=self._connection,
        )

    def _make_storescp(self) -> StorescpReceiver:
        """Have DCMTK's storescp receive, if it does not have to do what it cannot.

        Raises:
            ConfigError: It has to.
        """
        from pypx.dcmtk.receiver import StorescpReceiver
        from pypx.engine import Engine

        held, flags = self._held, self._flags
        if self._connection is not None:
            raise ConfigError("--inetd is for --engine native.", hint="Leave --engine out.")
        if self._manager.sockets:
            raise ConfigError(
                "DCMTK's storescp cannot take the socket that the service manager opened.",
                hint="Leave its socket unit out, or take --engine native.",
            )
        if held.users is not None:
            raise ConfigError(
                "DCMTK's storescp verifies no passwords, and users are configured.",
                hint="Take --engine native.",
            )
        if not flags.allow_any:
            raise ConfigError(
                "DCMTK's storescp binds all addresses and takes files from anybody.",
                hint="Say that this is meant, with --allow-any, and let a firewall choose; or take "
                "--engine native.",
            )
        if flags.host not in (None, "", "0.0.0.0"):
            raise ConfigError(
                f"DCMTK's storescp binds all addresses, and not only {flags.host}.",
                hint="Leave --host out, or take --engine native.",
            )
        return StorescpReceiver(
            self._archive,
            programs=Engine(held.engine, self._invocation.config.dcmtk).installed(),
            port=held.port,
            ae_title=held.aet,
            limits=held.limits,
            tls=held.tls,
            min_free=held.min_free,
            observer=self._observers,
            on_trouble=self._out.warn,
            heartbeat=self._manager.beat,
        )

    def _make_workers(self) -> Workers:
        import logging

        from pypx.receiver.relay import Task
        from pypx.receiver.workers import Workers

        held = self._held
        task = Task(
            root=str(self._archive.root),
            layout=held.layout,
            durability=cast(Literal["full", "none"], self._flags.durability),
            index_wait=held.index_wait,
            host=held.host,
            port=held.port,
            ae_title=held.aet,
            allow=held.allow,
            allow_any=self._flags.allow_any,
            limits=held.limits,
            tls=held.tls,
            users=held.users,
            min_free=held.min_free,
            grace=self._flags.grace,
            umask=self._invocation.config.umask,
            log_level=logging.getLogger("pypx").level,
            beats=self._manager.watchdog > 0,
        )
        return Workers(
            task,
            held.workers,
            observer=self._observers,
            on_note=self._out.say,
            sockets=self._manager.sockets,
        )

    def run(self, orders: Orders) -> None:
        """Receive until told to stop; then end what began here, in the order of its need."""
        with ExitStack() as stack:
            stack.callback(self.receiver.stop, 0)  # when something else cannot be had
            self._tell_notes()
            trail = stack.enter_context(audited(self._invocation, self._archive))
            if trail is not None:
                self._observers.add(trail)
            hooks = self._watch(stack)
            metrics = self._serve_metrics(stack, hooks)
            if self._out.form == "text" and self._out.live and os.environ.get("TERM") != "dumb":
                live = stack.enter_context(LiveLine(self._out))
                self._observers.add(live)
            stack.callback(self.receiver.stop, self._flags.grace)
            self.receiver.start()
            if isinstance(self.receiver, Receiver) and self._connection is not None:
                self._serve_one(self.receiver, orders)
                return
            self._announce(metrics)
            self._manager.tell("READY=1", f"STATUS=Receiving on {self._where()}")
            while (order := orders.wait(_TICK)) is not Order.STOP:
                self._beat()
                self._tell_notes()
                self._limit.tell_due()
                if order is Order.RELOAD:
                    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                    self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={now}")
                    self._reload()
                    self._manager.tell("READY=1")
            self._manager.tell("STOPPING=1")

    def _beat(self) -> None:
        """Let the service manager know that all workers live; one process does so by itself."""
        workers, watchdog = self._workers, self._manager.watchdog
        if workers and watchdog and workers.are_alive(max(watchdog / 2, _SLOWEST_BEAT)):
            self._manager.beat()

    def _serve_one(self, receiver: Receiver, orders: Orders) -> None:
        """Serve the one connection to its end, or until told to stop."""
        where = f"{receiver.host}:{receiver.port}"
        self._out.detail(f"serving one association on {where} as {receiver.ae_title}")
        while not receiver.wait(_LOOK):
            if orders.wait(0) is Order.STOP:
                break
        self._tell_notes()

    def _watch(self, stack: ExitStack) -> Hooks:
        """Let hooks be told of each series that is whole."""
        held, out = self._held, self._out
        folder = self._archive.root / HOOKS_FOLDER
        hooks = stack.enter_context(Hooks.from_config(held.hooks, folder, out.warn))
        watch = Watch(
            self._archive,
            settle=held.settle,
            hooks=hooks,
            companions=self._invocation.companions(self._archive),
            on_series=self._tell_series,
            on_trouble=out.warn,
        )
        self._observers.add(stack.enter_context(watch))
        return hooks

    def _tell_series(self, event: SeriesComplete) -> None:
        sentence = f"The series {event.series_instance_uid} is whole: {event.instances} images."
        if self._out.log_json:
            facts = event.document()
            self._out.record(facts.pop("event"), sentence, facts)
        else:
            self._out.detail(sentence)

    def _tell_notes(self) -> None:
        notes = self._archive.notes[self._told :]
        self._told += len(notes)
        tell_notes(self._out, notes)

    def _announce(self, metrics: str) -> None:
        out, receiver, held = self._out, self.receiver, self._held
        shared = f", with {held.workers} workers" if self._workers else ""
        if held.engine != NATIVE:
            shared = ", received by DCMTK's storescp"
        given = ""
        if self._manager.sockets:
            given = "; the service manager opened this port, the configured one is not bound"
        where = self._where()
        out.say(f"Listening on {where} as {receiver.ae_title}, into {held.archive}{shared}{given}.")
        if metrics:
            out.say(metrics)
        if all(is_loopback(host) for host, _ in receiver.addresses):
            out.say(
                "Only this machine reaches it; for others: "
                "px listen --host 0.0.0.0 --allow AET@NETWORK (or nodes in the configuration)."
            )
        elif self._flags.allow_any:
            out.warn("Whoever reaches the port may send.")
        else:
            out.detail(f"{len(held.allow)} rules say who may send")
        if held.users is not None and held.tls is None and not is_loopback(receiver.host):
            out.warn(
                "Passwords of users come without TLS: who listens on the way reads them.",
                "Give certificates in [listen.tls].",
            )

    def _where(self) -> str:
        return " and ".join(_shown(host, port) for host, port in self.receiver.addresses)

    # Another configuration

    def _reload(self) -> None:
        """Take over what can change; a configuration that is wrong changes nothing."""
        invocation, out, old = self._invocation, self._out, self._held
        bound = _most_open(self._manager.sockets)
        try:
            config = load(invocation.config_file, aet=invocation.aet, archive=invocation.archive)
            new = terms(self._flags, config, out, idle_timeout=invocation.timeout, bound=bound)
            taken, fixed = changed(old, new)
            # Certificates are renewed in their files, which keep their names.
            files = _files_of_tls(new) if "tls" not in fixed else self._files
            tls = new.tls if files != self._files or new.tls != old.tls else None
            if "tls" in fixed:
                tls = None
            self.receiver.configure(
                allow=new.allow, min_free=new.min_free, limits=new.limits, tls=tls
            )
        except ConfigError as error:
            out.warn(
                f"The configuration stays as it was: {error.message}",
                error.hint or "Mend it and send SIGHUP again.",
            )
            return
        self._files = files
        self._held = replace(
            old, allow=new.allow, min_free=new.min_free, limits=new.limits, tls=tls or old.tls
        )
        taken += ["TLS has other certificates or settings"] if tls else []
        rules = f"{len(new.allow)} rules say who may send" if new.allow else "no rule is needed"
        changes = f"changed: {', '.join(taken)}" if taken else "nothing else has changed"
        out.say(f"The configuration was read again: {rules}; {changes}.")
        if fixed:
            out.warn(f"Only a new start changes {', '.join(fixed)}: the old values stay in force.")

    # Metrics

    def _serve_metrics(self, stack: ExitStack, hooks: Hooks) -> str:
        """Serve metrics if they are wanted; give the sentence that says where."""
        if self._held.metrics is None or self._connection is not None:
            return ""
        from pypx.receiver.metrics import Metrics, MetricsServer, Numbers  # heavy, and an extra

        shared = self._workers
        numbers = Numbers(
            free_bytes=self._archive.free_bytes,
            index_waiting=lambda: self.receiver.waiting,
            workers=lambda: len(shared.processes) if shared else 1,
            restarts=lambda: shared.restarts if shared else 0,
            hooks_queued=lambda: hooks.queued,
            hooks_failed=lambda: hooks.failed,
        )
        metrics = Metrics(numbers)
        server = stack.enter_context(MetricsServer(*self._held.metrics, metrics, self._trouble))
        self._observers.add(metrics)
        where = _shown(server.host, server.port)
        return f"Metrics are at http://{where}/metrics, health at /healthz."

    def _trouble(self) -> str:
        """Say why nothing can be received; empty when all is well."""
        try:
            free = self._archive.free_bytes()
        except OSError as error:
            return f"The archive cannot be reached: {error.strerror or error}."
        if free < self._held.min_free:
            return f"The disk has less than {self._held.min_free} bytes left."
        if not os.access(self._archive.root / ".pypx" / "incoming", os.W_OK):
            return "The archive cannot be written."
        if self._workers and not self._workers.processes:
            return "No worker receives."
        return ""


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _files_of_tls(held: Terms) -> tuple[bytes, ...]:
    """Give what the files of TLS have; nothing for those that cannot be read, which others tell."""
    found = []
    for name in (held.tls.certificate, held.tls.key, held.tls.ca) if held.tls else ():
        try:
            found.append(sha256(Path(name).read_bytes()).digest() if name else b"")
        except OSError:
            found.append(b"")
    return tuple(found)
