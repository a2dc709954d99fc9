"""What upstream's functions give back: dictionaries, one of which can be awaited.

In: results and errors. Out: dictionaries with ``status``, ``data``, ``command``, ``returncode``.
Nothing is asked of anybody here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from pypx.errors import PypxError, error_object

if TYPE_CHECKING:
    from pypx.client.requestor import Requestor
    from pypx.client.sending import Sent
    from pypx.client.store import Instance
    from pypx.config import Node

__all__ = ["Answer", "Caller", "answer", "failed", "line", "no_value", "synthetic", "value_of"]


_NO_VALUE = "no value provided for "


class Answer(dict[str, Any]):
    """A dictionary that is there at once, and that ``await`` gives as well.

    ``find`` and ``status`` of 1.x were called plainly, those of 3.x awaited. It is also what
    ``asyncio.run`` and ``asyncio.create_task`` take for a coroutine. The work is done when it
    is made: in an event loop that must not stand still, ``await asyncio.to_thread(pypx.find, …)``.
    """

    # asyncio.gather keeps what it waits for in a dictionary, as it can with every coroutine.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        """Give itself as a plain dictionary, at once."""
        return dict(self)
        yield  # makes this a generator

    def send(self, value: None) -> NoReturn:
        """End as a coroutine does that returns itself as a plain dictionary (PEP 492)."""
        raise StopIteration(dict(self))

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> NoReturn:
        """Raise what is thrown into it, as a coroutine does."""
        raise kind if value is None else value

    def close(self) -> None:
        """End it; nothing runs."""


class Account(Protocol):
    """Hears of what is sent, for the audit trail."""

    def begin(self, instance: Instance) -> None:
        """Hear of an instance before it is sent."""

    def sent(self, result: Sent) -> None:
        """Hear what became of it."""

    def end(self, reason: str) -> None:
        """Hear of the end, and why it came too soon, if it did."""


class Caller:
    """Who called, as far as it wants to hear of the work or to end it.

    Attributes:
        cancelled: The work is to end after what is under way.
        polite: What was done so far is to be told, also when it is ended now.
    """

    cancelled = False
    polite = False

    def tell(self, sentence: str) -> None:
        """Hear of a step, where feedback was asked for."""
        import logging

        logging.getLogger("pypx").info(sentence)

    def reaching(self, node: Node, client: Requestor) -> None:
        """Hear of a peer, and of what will ask it, before anything is asked."""

    def sending(self, client: Requestor) -> Account | None:
        """Give who hears of what is sent to a peer; None if nobody wants to."""
        return None

    def doing(self, cancel: Callable[[], None] | None) -> None:
        """Hear what cancels the operation that begins now; None when it is over."""


def answer(
    status: str, data: Any, command: str, returncode: int, error: PypxError | None = None
) -> dict[str, Any]:
    """Give upstream's four keys, and ``error`` where there is one.

    Args:
        status: ``success``, ``partial`` (done, but not all of it) or ``error``.
        data: What came, or a sentence.
        command: The line of DCMTK that does the same.
        returncode: 0, or the exit code of our own commands.
        error: What went wrong.
    """
    found = {"status": status, "data": data, "command": command, "returncode": returncode}
    return found if error is None else {**found, "error": error_object(error)}


def failed(error: PypxError, command: str = "") -> dict[str, Any]:
    """Give the answer of what failed; the data are the sentence then, as upstream's were."""
    return answer("error", error.message, command, error.exit_code, error)


def line(program: str, node: Node, calling: str, options: list[str], *rest: str) -> str:
    """Write the command line of a DCMTK program, quoted for a shell (POSIX).

    Args:
        program: The program.
        node: The peer.
        calling: Our AE title.
        options: Those besides the AE titles.
        rest: What follows host and port.
    """
    where = (node.address.host, str(node.address.port))
    titles = ("-aet", calling, "-aec", node.address.ae_title)
    return shlex.join([program, *titles, *options, *where, *rest])


def no_value(tag: str) -> str:
    """Give what stands for a value that the PACS does not give."""
    return f"{_NO_VALUE}{tag}"


def value_of(entry: Mapping[str, Any], keyword: str) -> str:
    """Give a value out of what ``find`` gave; empty where the PACS gave none."""
    found = entry.get(keyword)
    text = str(found.get("value", "")) if isinstance(found, Mapping) else ""
    return "" if text.startswith(_NO_VALUE) else text


def synthetic(value: object, label: str) -> dict[str, Any]:
    """Give an entry that is no element of the PACS: its tag is 0."""
    return {"tag": 0, "value": value, "label": label}
