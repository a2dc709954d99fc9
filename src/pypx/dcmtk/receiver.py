"""A listener that has DCMTK's storescp receive, and takes in what it writes.

In: where to listen, an archive. Out: files and index rows, and a summary when an association is
over, as of ``pypx.receiver.receiver``.

What cannot be the same: storescp answers when its file is written, which is before that is durable,
in the archive and indexed. It binds all addresses, and takes from anybody.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pypx.address import DEFAULT_AE_TITLE, check_ae_title
from pypx.archive import Archive
from pypx.dcmtk.arguments import server_tls_arguments
from pypx.dcmtk.child import Child
from pypx.dcmtk.folder import PrivateFolder
from pypx.dcmtk.intake import Intake, Sender, check_leases
from pypx.dcmtk.programs import Programs
from pypx.dcmtk.said import strip
from pypx.errors import ArchiveError, AssociationAbortedError, ConfigError, PypxError
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.tls_settings import ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import (
    AssociationBegan,
    AssociationSummary,
    InstanceReceived,
    Observer,
    Totals,
)

__all__ = ["FOLDER", "StorescpReceiver"]

FOLDER = "storescp"
"""What storescp writes into, below ``incoming/`` of the archive."""

_LOOK = 0.1  # seconds between looks into the folder
_POLL = 0.25
_START = 20.0  # seconds for storescp to listen
_AGAIN = 1.0  # seconds until one that died is started again
_KILL = 2.0
_LAST_LINES = 10
_LINE = re.compile(r"(\d+) ([DIWEF]: .*)")

_LOG_CONFIG = """\
log4cplus.rootLogger = DEBUG, lines
log4cplus.appender.lines = log4cplus::FileAppender
log4cplus.appender.lines.File = /dev/stderr
log4cplus.appender.lines.Append = true
log4cplus.appender.lines.ImmediateFlush = true
log4cplus.appender.lines.layout = log4cplus::PatternLayout
log4cplus.appender.lines.layout.ConversionPattern = %i %P: %m%n
"""
"""Each line with the number of the process that says it, since storescp forks for each association;
and as a file, which is written a message at a time: to the console it writes a word at a time, and
the words of several processes mix.

Even so, what is said here is only told: whether a file is whole is not read from it.
"""


@dataclass(slots=True)
class _Caller:
    """One association, which is one process of storescp."""

    pid: int
    host: str = ""
    calling_ae_title: str = ""
    called_ae_title: str = ""
    association_id: str = ""  # empty until it is accepted
    started: float = field(default_factory=time.monotonic)
    totals: Totals = field(default_factory=Totals)
    is_over: bool = False
    error: PypxError | None = None


class StorescpReceiver:
    """Have storescp listen; a context manager that starts and stops.

    Args:
        archive: Where what it receives goes; the caller closes it.
        programs: Where storescp is.
        port: 0 takes a free one.
        ae_title: What we are called; storescp takes any other as well.
        limits: ``idle_timeout`` and ``artim_timeout`` of these are passed on.
        tls: Certificates, for a listener that speaks only TLS.
        min_free: Bytes that the disk must have left; with less, nothing is taken in.
        observer: Who hears of associations and instances.
        on_trouble: Takes a sentence of what is wrong.
        heartbeat: Called by the loop that takes files in, several times a second.

    Attributes:
        addresses: Host and port that are bound.
        host: What is bound: all addresses.
        port: The port that is bound.
        totals: Running numbers over all associations.

    Raises:
        ConfigError: The port is taken, or storescp is missing.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        programs: Programs,
        port: int,
        ae_title: str = DEFAULT_AE_TITLE,
        limits: AcceptorLimits = DEFAULT_LIMITS,
        tls: ServerTls | None = None,
        min_free: int = 0,
        observer: Observer | None = None,
        on_trouble: Callable[[str], None] = lambda _: None,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self.ae_title = check_ae_title(ae_title)
        self.host, self.port = "0.0.0.0", _free(port)
        self.addresses = [(self.host, self.port)]
        self._limits = limits
        self._heartbeat = heartbeat
        self.totals = Totals()
        self._archive = archive
        self._observer = observer
        self._on_trouble = on_trouble
        self._command = self._make_command(programs, limits, tls)
        self._folder = archive.root / ".pypx" / "incoming" / FOLDER
        self._private: PrivateFolder | None = None
        self._child: Child | None = None
        self._callers: dict[int, _Caller] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._stopping = threading.Event()
        self._ended = threading.Event()  # storescp has, and nothing more will be written
        self._threads: list[threading.Thread] = []
        self._intake = Intake(
            archive,
            self._folder,
            sender_of=self._sender_of,
            on_instance=self._hear_of,
            on_trouble=on_trouble,
            ae_title=self.ae_title,
            min_free=min_free,
        )

    def _make_command(
        self, programs: Programs, limits: AcceptorLimits, tls: ServerTls | None
    ) -> list[str]:
        if self.ae_title.startswith(("-", "+", "@")):
            raise ConfigError(f"DCMTK's storescp would take {self.ae_title!r} for an option.")
        command = [programs.path("storescp"), "-aet", self.ae_title, "-dhl", "--fork"]
        # As it came (+B), in all transfer syntaxes (+xa) and SOP classes (-pm), each in a file
        # of its own (+uf): the same object may come over two associations at once.
        command += ["+B", "+xa", "-pm", "+uf", "-pdu", "131072"]
        command += ["-ta", str(max(1, math.ceil(limits.artim_timeout)))]
        command += ["-td", str(max(1, math.ceil(limits.idle_timeout)))]
        return command + (server_tls_arguments(tls) if tls is not None else [])

    def __enter__(self) -> StorescpReceiver:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to receive.

        Raises:
            ConfigError: Storescp does not listen, or its folder has no leases.
            ArchiveError: Its folder cannot be made.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ArchiveError(
                f"{self._folder} cannot be made: {error.strerror or error}."
            ) from None
        check_leases(self._folder)
        self._private = PrivateFolder()
        config = self._private.write("log.cfg", _LOG_CONFIG.encode("ascii"))
        self._command += ["-lc", str(config), "-od", str(self._folder), str(self.port)]
        started: threading.Event = threading.Event()
        failure: list[PypxError] = []
        # The system ends storescp with the thread that started it, so that is one that stays.
        self._run(self._serve, started, failure)
        started.wait()
        if failure:
            self.stop(0)
            raise failure[0]
        self._run(self._take_in)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="px storescp", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Stop accepting; associations under way have ``grace`` seconds to end."""
        self._stopping.set()
        child = self._child
        if child is not None:
            child.terminate()  # its children, one an association, go on
            deadline = time.monotonic() + grace
            while self._are_open() and time.monotonic() < deadline:
                time.sleep(_POLL / 5)
            child.end(_KILL)
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if child is not None:
            child.close(_KILL)
        if self._private is not None:
            self._private.remove()

    def configure(
        self,
        *,
        allow: Sequence[AllowRule],
        min_free: int,
        limits: AcceptorLimits | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        """Take another ``min_free``; storescp knows no rules.

        Raises:
            ConfigError: Limits or certificates are others, which storescp is told at its start.
        """
        if tls is not None or (limits is not None and limits != self._limits):
            raise ConfigError(
                "DCMTK's storescp takes other limits and certificates only when it is started.",
                hint="Start px listen anew.",
            )
        self._intake.min_free = min_free

    @property
    def waiting(self) -> int:
        """How many files are not in the archive yet, or wait for its index."""
        return len(self._intake.waiting()) + self._archive.waiting

    def last_activity(self) -> float:
        """Give the monotonic time at which storescp last said something."""
        return self._last

    # What storescp says

    def _serve(self, started: threading.Event, failure: list[PypxError]) -> None:
        """Have storescp running, and hear it."""
        while not self._stopping.is_set():
            last: list[str] = []
            try:
                self._child = child = Child(self._command)
                if not started.is_set():
                    self._await_port(child, last)
            except PypxError as error:
                failure.append(error)
                started.set()
                return
            started.set()
            self._listen_to(child, last)
            self._all_are_over()
            if not self._stopping.is_set():
                self._on_trouble(f"storescp ended, and is started again. It said: {_said(last)}")
                child.close(_KILL)
                self._stopping.wait(_AGAIN)

    def _await_port(self, child: Child, last: list[str]) -> None:
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            while (line := child.line(0.0)) is not None:
                self._hear(line, last)
            if child.over or not child.is_running:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            time.sleep(0.02)
        child.close(_KILL)
        raise ConfigError(
            f"storescp does not listen on port {self.port}: {_said(last)}",
            hint="Is the port taken, or below 1024?",
        )

    def _listen_to(self, child: Child, last: list[str]) -> None:
        while not child.over:
            line = child.line(_POLL)
            if line is not None:
                self._hear(line, last)
            elif not child.is_running and not self._are_open():
                return

    def _hear(self, line: str, last: list[str]) -> None:
        found = _LINE.match(line)
        if found is None:
            last.append(line)
            del last[:-_LAST_LINES]
            return
        self._last = time.monotonic()
        pid, said = int(found[1]), found[2]
        text = strip(said)
        if said.startswith(("E: ", "F: ")):
            last.append(text)
            del last[:-_LAST_LINES]
        with self._lock:
            self._hear_of_association(pid, said, text)

    def _hear_of_association(self, pid: int, said: str, text: str) -> None:
        if text.startswith("Association Received: "):
            host = text.partition(": ")[2].strip()
            self._callers[pid] = _Caller(pid, host)
            return
        caller = self._callers.get(pid)
        if caller is None or caller.is_over:
            return
        if text.startswith("Calling Application Name:"):
            caller.calling_ae_title = text.partition(":")[2].strip()
        elif text.startswith("Called Application Name:"):
            caller.called_ae_title = text.partition(":")[2].strip()
        elif text.startswith("Association Acknowledged") and not caller.association_id:
            self._began(caller)
        elif text.startswith("Association Release"):
            caller.is_over = True
        elif said.startswith(("E: ", "F: ")) or text.startswith("Association Aborted"):
            reason = text.partition(": ")[2] or text
            caller.error = AssociationAbortedError(
                f"The association with {caller.calling_ae_title or 'a peer'} did not end as it "
                f"should: storescp says: {reason.rstrip('.')}.",
                source=0,
                reason=0,
            )
            caller.is_over = not text.startswith("Store SCP Failed") or caller.is_over

    def _began(self, caller: _Caller) -> None:
        self._number += 1
        caller.association_id = f"{os.getpid()}-storescp-{self._number}"
        if self._observer is not None:
            self._observer.association_began(
                AssociationBegan(
                    caller.association_id,
                    caller.host,
                    caller.calling_ae_title,
                    caller.called_ae_title,
                )
            )

    def _are_open(self) -> bool:
        with self._lock:
            return any(not caller.is_over for caller in self._callers.values())

    def _all_are_over(self) -> None:
        with self._lock:
            for caller in self._callers.values():
                caller.is_over = True

    # What it wrote

    def _take_in(self) -> None:
        while not self._ended.wait(_LOOK):
            self._heartbeat()
            self._drop_the_dead()
            while self._intake.look() and not self._ended.is_set():
                self._tell_of_ends()
            self._tell_of_ends()
        self._all_are_over()
        self._intake.look(at_once=True)
        self._tell_of_ends(even_with_files=True)

    def _drop_the_dead(self) -> None:
        """Notice processes that ended without a word."""
        with self._lock:
            for caller in self._callers.values():
                if not caller.is_over and not _is_alive(caller.pid):
                    caller.is_over = True

    def _tell_of_ends(self, *, even_with_files: bool = False) -> None:
        """Tell of associations that are over, once all that they brought is taken in."""
        pids = {_pid_of(name) for name in self._intake.waiting()}
        with self._lock:
            over = [
                caller
                for caller in self._callers.values()
                if caller.is_over and (even_with_files or caller.pid not in pids)
            ]
            for caller in over:
                del self._callers[caller.pid]
        for caller in over:
            if self._observer is not None and caller.association_id:
                self._observer.association_ended(
                    AssociationSummary(
                        association_id=caller.association_id,
                        host=caller.host,
                        calling_ae_title=caller.calling_ae_title,
                        called_ae_title=caller.called_ae_title,
                        totals=replace(caller.totals),
                        seconds=time.monotonic() - caller.started,
                        error=caller.error,
                    )
                )

    def _sender_of(self, name: str) -> Sender:
        with self._lock:
            caller = self._callers.get(_pid_of(name))
            if caller is None:
                return Sender()
            return Sender(
                caller.association_id, caller.host, caller.calling_ae_title, caller.called_ae_title
            )

    def _hear_of(self, event: InstanceReceived) -> None:
        with self._lock:
            self.totals.add(event)
            for caller in self._callers.values():
                if caller.association_id and caller.association_id == event.association_id:
                    caller.totals.add(event)
        if self._observer is not None:
            self._observer.instance_received(event)


def _free(port: int) -> int:
    """Give the port, or a free one for 0.

    Raises:
        ConfigError: It is taken.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigError(
            f"The port {port} cannot be bound: {error.strerror or error}.",
            hint="Another listener may have it: stop that, or take another port with --port.",
        ) from None


def _pid_of(name: str) -> int:
    """Give the process that wrote a file: its name ends with process, time and counter."""
    parts = name.split(".")
    return int(parts[-3]) if len(parts) > 2 and parts[-3].isdigit() else 0


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for counts as ended, on Linux."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        return text.rpartition(")")[2].split()[:1] != ["Z"]
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _said(lines: list[str]) -> str:
    return " ".join(line.rstrip(".") + "." for line in lines[-2:]) or "nothing."
