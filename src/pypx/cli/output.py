"""The only place that prints: results to stdout or a file, everything else to stderr.

In: rows, documents, sentences and errors. Out: bytes. Text that came over the network
is made harmless here before a terminal sees it. What is said is decided elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC

from pypx.errors import ConfigError, PypxError, error_object
from pypx.outfile import OutFile
from pypx.pseudonym import IDENTIFIERS, Pseudonyms
from pypx.text import cell, json_text, visible

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any, BinaryIO

__all__ = [
    "Output",
    "OutputError",
    "cell",
    "error_object",
    "json_text",
    "may_colour",
    "visible",
]

_RED, _YELLOW, _DIM, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[2m", "\x1b[0m"
_SHOW_CURSOR = "\x1b[?25h"
_USUAL_WIDTH = 80


class OutputError(PypxError):
    """The results could not be written to stdout or the file."""

    kind = "output"


class Output:
    """Where a command's words go, and in which form.

    Attributes:
        form: ``text``, ``json``, ``jsonl`` or ``csv``.
        quiet: Only errors go to stderr.
        verbose: Details go to stderr too.
        log_json: Lines on stderr are JSON objects.
        identifiers: What stands for identifiers of patients on stderr.
        room: Gives what makes room on the terminal for a line: one that moves steps aside.
    """

    def __init__(self) -> None:
        self.form = "text"
        self.quiet = False
        self.verbose = False
        self.log_json = False
        self.room: Callable[[], AbstractContextManager[None]] = nullcontext
        self.identifiers = Pseudonyms()
        self._file: OutFile | None = None

    # Results ------------------------------------------------------------------------------

    def open_file(self, path: str) -> None:
        """Send results to a file, which gets its name when :meth:`close` is called.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            self._file = OutFile(path)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror or error}.",
                hint="Give -o a file in a folder where you may write.",
            ) from None

    @property
    def terminal_width(self) -> int | None:
        """The width of the terminal that results go to; None if they go elsewhere."""
        if self._file or not _is_terminal(sys.stdout):
            return None
        try:
            return int(os.environ["COLUMNS"])
        except (KeyError, ValueError):
            pass
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_WIDTH
        except (OSError, ValueError):
            return _USUAL_WIDTH

    @property
    def colour(self) -> bool:
        """Whether results may have colours."""
        return not self._file and may_colour(sys.stdout)

    @property
    def to_file(self) -> bool:
        """Whether results go to a file."""
        return self._file is not None

    @property
    def live(self) -> bool:
        """Whether a bar may move on stderr."""
        return not (self.quiet or self.log_json) and _is_terminal(sys.stderr)

    def write(self, text: str) -> None:
        """Write a piece of the results.

        Raises:
            BrokenPipeError: The reader has gone.
            OutputError: There is no room, or another failure.
        """
        stream = self._stream
        if stream is None:
            return
        # Tables go out as the terminal wants them; JSON and CSV are UTF-8 (RFC 8259).
        encoding = "utf-8"
        if self.form == "text" and not self._file:
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "backslashreplace"))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from None

    def line(self, text: str) -> None:
        """Write a line of the results, and let the reader have it now."""
        with self.room():
            self.write(f"{text}\n")
            self.flush()

    def document(self, value: object) -> None:
        """Write the JSON document that is the whole result."""
        self.write(json_text(value, indent=2) + "\n")

    def flush(self) -> None:
        """Let the reader have what was written.

        Raises:
            BrokenPipeError, OutputError: As :meth:`write`.
        """
        stream = self._stream
        if stream is None:
            return
        try:
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """End the results: flush them, and give the file its name.

        Raises:
            BrokenPipeError, OutputError: As :meth:`write`.
        """
        self.flush()
        if self._file is None:
            return
        try:
            self._file.commit()
        except OSError as error:
            raise self._failure(error) from None
        self._file = None

    def discard(self) -> str:
        """Leave the file of -o as it was; results go to stdout from now on. Gives its name."""
        if self._file is None:
            return ""
        self._file.discard()
        file, self._file = self._file.path, None
        return file

    def abandon_stdout(self) -> None:
        """Stop using stdout, which is broken; the interpreter would complain at its end."""
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)

    @property
    def _stream(self) -> BinaryIO | None:
        if self._file is not None:
            return self._file.stream
        stdout: Any = sys.stdout
        return getattr(stdout, "buffer", None)  # None when it was closed: px … >&-

    def _failure(self, error: OSError) -> OutputError:
        where = self._file.path if self._file else "the standard output"
        return OutputError(f"Cannot write to {where}: {error.strerror or error}.")

    # Words --------------------------------------------------------------------------------

    def say(self, sentence: str) -> None:
        """Tell the user something, on stderr."""
        if not self.quiet:
            self._tell("info", sentence)

    def detail(self, sentence: str) -> None:
        """Tell something that only ``-v`` asks for."""
        if self.verbose:
            self._tell("debug", sentence)

    def warn(self, sentence: str, hint: str = "") -> None:
        """Warn of something that does not stop the command."""
        if not self.quiet:
            self._tell("warning", sentence, hint=hint)

    def record(self, event: str, message: str, facts: Mapping[str, Any]) -> None:
        """Note an event for programs that read ``--log-json``; others hear of it otherwise."""
        if self.log_json and not self.quiet:
            entry = _log_entry("info", self.identifiers.hide(message), "", "")
            self._stderr(json_text({**entry, "event": event, **self._hidden(facts)}))

    def error(self, error: PypxError) -> None:
        """Say what went wrong, and what to try."""
        self._tell("error", error.message, hint=error.hint, kind=error.kind)

    def failure(self, error: PypxError) -> None:
        """End the command with an error: on stderr, and on stdout where a program reads."""
        self.error(error)
        if self.form == "json":
            self.document({"error": error_object(error)})
        elif self.form == "jsonl":
            self.write(json_text({"error": error_object(error)}) + "\n")

    def _tell(self, level: str, message: str, *, hint: str = "", kind: str = "") -> None:
        message, hint = self.identifiers.hide(message), self.identifiers.hide(hint)
        if self.log_json:
            self._stderr(json_text(_log_entry(level, message, hint, kind)))
            return
        text = visible(message)
        match level:
            case "error":
                text = f"{_paint(_RED, 'error:')} {text}"
            case "warning":
                text = f"{_paint(_YELLOW, 'warning:')} {text}"
            case "debug":
                text = _paint(_DIM, text)
        self._stderr(text)
        if hint:
            self._stderr(f"{_paint(_DIM, 'hint:')} {visible(hint)}")

    def _hidden(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Give the facts of a record without what identifies a patient."""
        shown = self.identifiers
        hidden: dict[str, Any] = {}
        for key, value in facts.items():
            if isinstance(value, Mapping):
                hidden[key] = self._hidden(value)
            elif not isinstance(value, str) or shown.shown:
                hidden[key] = value
            else:
                named = "".join(part.title() for part in key.split("_")).replace("Id", "ID")
                is_secret = key in IDENTIFIERS or named in IDENTIFIERS
                hidden[key] = shown.of(value) if is_secret and value else shown.hide(value)
        return hidden

    def raw(self, text: str) -> None:
        """Write text to stderr as it is: a bar that moves, a traceback that was asked for."""
        self._stderr(text, end="")

    def _stderr(self, text: str, end: str = "\n") -> None:
        stream = sys.stderr
        if stream is None:  # px … 2>&-
            return
        # One write a line, since lines of several threads and processes meet here.
        data = f"{text}{end}"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # RuntimeError: a signal handler speaks while the main thread does.
        with self.room(), suppress(OSError, ValueError, RuntimeError):
            stream.write(data.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()

    def restore_terminal(self) -> None:
        """Show the cursor again, which a bar may have hidden."""
        if self.live:
            self.raw(_SHOW_CURSOR)


def _paint(colour: str, text: str) -> str:
    return f"{colour}{text}{_PLAIN}" if may_colour(sys.stderr) else text


def _log_entry(level: str, message: str, hint: str, kind: str) -> Mapping[str, str]:
    from datetime import datetime

    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "message": message,
    }
    extra = {"kind": kind, "hint": hint}
    return {**entry, **{key: value for key, value in extra.items() if value}}


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # closed
        return False


def may_colour(stream: Any) -> bool:
    """Whether colours may go there: a terminal that has them, and no ``NO_COLOR``."""
    return (
        _is_terminal(stream)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "") != "dumb"
    )
