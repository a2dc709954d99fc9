"""``px echo``: does the PACS answer?

In: nodes. Out: a line or a JSON object for each, with what it says of itself, or the
step that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.auditing import audited
from pypx.cli.command import PxCommand
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    peer_options,
)
from pypx.cli.output import error_object, json_text, visible
from pypx.errors import (
    AssociationError,
    ConfigError,
    ConnectError,
    NameLookupError,
    PeerTimeoutError,
    PypxError,
)

if TYPE_CHECKING:
    from pypx.client.client import Echo
    from pypx.config import Node
    from pypx.engine import Engine

    Answer = Echo | PypxError
    Try = tuple[Node, Engine]

__all__ = ["command"]

_AT_ONCE = 16  # nodes that are asked at the same time


@click.command("echo", cls=PxCommand, short_help="Does the PACS answer?")
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--all", "all_nodes", is_flag=True, help="All configured nodes.")
@engine_option("both", what="What asks")
@common_options(jsonl=True)
@peer_options
def command(
    invocation: Invocation, *, nodes: tuple[str, ...], all_nodes: bool, peer: PeerFlags
) -> int:
    """Ask each NODE to answer (C-ECHO), and say what it calls itself.

    NODE is a configured name or AET@host:port. Where a node does not answer, the line says
    which step failed: name look-up, TCP connection, association, or echo.

    \b
    px echo ORTHANC@127.0.0.1:4242
    px echo --all
    px echo --aec ORTHANC --serverIP 127.0.0.1 --serverPort 4242
    px echo hospital --engine both

    With --engine both, pypx and DCMTK's echoscu ask one after the other: where one of them gets
    an answer and the other does not, the PACS is there, and it shows whose fault it is.

    Flags of pypx 1.x and 3.x work as well, and are answered as they were: px echo -y.

    The exit code is 0 if all answered, else that of the first that did not.
    """
    chosen = _choose(invocation, nodes, all_nodes, peer)
    out = invocation.out
    documents: list[dict[str, Any]] = []
    with audited(invocation):
        code = _tell(invocation, chosen, documents)
    if out.form == "json":
        out.document(documents)
    return code


def _tell(invocation: Invocation, chosen: list[Node], documents: list[dict[str, Any]]) -> int:
    """Ask, and say what each answered; give the exit code."""
    out = invocation.out
    code = 0
    tries = _tries(invocation, chosen)
    before: Answer | None = None  # of the other engine
    for (node, engine), result in _ask(invocation, tries):
        by = engine.name if invocation.engine == "both" else ""
        if out.form == "text":
            out.line(_sentence(node, result, by))
        elif out.form == "jsonl":
            out.line(json_text(_document(node, result, engine.name)))
        else:
            documents.append(_document(node, result, engine.name))
        if isinstance(result, PypxError):
            code = code or result.exit_code
            out.error(result)
        else:
            said = result.peer.implementation_class_uid
            out.detail(f"{node.address} has implementation class UID {said}")
        if by and not engine.is_native:
            out.say(_comparison(node, before, result))
        before = result
    return code


def _choose(
    invocation: Invocation, nodes: tuple[str, ...], all_nodes: bool, peer: PeerFlags
) -> list[Node]:
    if all_nodes:
        if nodes or peer:
            raise ConfigError("--all and a node exclude each other.")
        configured = list(invocation.config.nodes.values())
        if not configured:
            raise ConfigError(
                f"There are no nodes in {invocation.config.path}.",
                hint="px nodes add NAME AET@host:port",
            )
        return configured
    if len(nodes) > 1 and peer:
        raise ConfigError("--aec, --serverIP and --serverPort go with one NODE, not with several.")
    return [peer.node(invocation, text) for text in nodes or (None,)]


def _tries(invocation: Invocation, nodes: list[Node]) -> list[Try]:
    """Say what asks which node: with --engine both, either engine asks each."""
    from pypx.engine import ENGINES, Engine

    invocation.config  # noqa: B018 - its error is one of all nodes, and comes before any thread
    if invocation.engine != "both":
        return [(node, invocation.engine_for(node)) for node in nodes]
    paths = invocation.config.dcmtk
    return [(node, Engine(name, paths)) for node in nodes for name in ENGINES]


def _ask(invocation: Invocation, nodes: list[Try]) -> Iterator[tuple[Try, Answer]]:
    """Ask the nodes, several at a time, and give the answers in the order of the nodes."""
    if len(nodes) == 1:
        yield nodes[0], _echo(invocation, nodes[0])
        return
    from threading import Semaphore, Thread

    answers: dict[int, Answer] = {}
    free = Semaphore(_AT_ONCE)

    def ask(number: int) -> None:
        with free:
            answers[number] = _echo(invocation, nodes[number])

    threads = [Thread(target=ask, args=(number,), daemon=True) for number in range(len(nodes))]
    for thread in threads:
        thread.start()
    for number, thread in enumerate(threads):
        thread.join()
        yield nodes[number], answers[number]


def _echo(invocation: Invocation, one: Try) -> Answer:
    try:
        with invocation.client(*one) as client:
            return client.echo()
    except PypxError as error:
        return error


def _comparison(node: Node, native: Answer | None, dcmtk: Answer) -> str:
    """Say what it means that one engine has an answer, or both, or neither."""
    match isinstance(native, PypxError), isinstance(dcmtk, PypxError):
        case False, False:
            return f"{node.address} answers both engines."
        case True, True:
            return f"Both engines fail with {node.address}: the reason is there, or on the way."
        case True, False:
            return f"{node.address} answers DCMTK, and not pypx: pypx should mend that; report it."
        case _:
            return f"{node.address} answers pypx, and not DCMTK: what DCMTK says is above."


def _sentence(node: Node, result: Answer, by: str) -> str:
    where = str(node.address) if node.name == str(node.address) else f"{node.name}  {node.address}"
    where = f"{where}  {by}" if by else where
    if isinstance(result, PypxError):
        return visible(f"{where}  failed  {_step(result)}")
    from pypx.dicom.uids import uid_name

    peer = result.peer
    return visible(
        f"{where}  ok  {result.seconds * 1000:.1f} ms  "
        f"{peer.implementation_version_name or peer.implementation_class_uid}, "
        f"PDU {peer.maximum_pdu_length or 'unlimited'}, {uid_name(result.transfer_syntax)}"
    )


def _step(error: PypxError) -> str:
    match error:
        case NameLookupError():
            return "name look-up"
        case ConnectError() | PeerTimeoutError(phase="connect"):
            return "TCP connection"
        case AssociationError() | PeerTimeoutError(phase="association"):
            return "association"
        case _:
            return "echo"


def _document(node: Node, result: Answer, engine: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "node": node.name,
        "address": str(node.address),
        "engine": engine,
    }
    if isinstance(result, PypxError):
        return {
            **document,
            "status": "failure",
            "time_ms": None,
            "peer": None,
            "step": _step(result),
            "error": error_object(result),
        }
    peer = result.peer
    return {
        **document,
        "status": "success",
        "time_ms": round(result.seconds * 1000, 3),
        "peer": {
            "implementation_version_name": peer.implementation_version_name,
            "implementation_class_uid": peer.implementation_class_uid,
            "maximum_pdu_length": peer.maximum_pdu_length,
        },
        "transfer_syntax": result.transfer_syntax,
        "error": None,
    }
