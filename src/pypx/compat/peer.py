"""``pypx.echo`` and ``pypx.move`` as upstream had them.

In: dictionaries of upstream. Out: ``status``, ``data``, ``command``, ``returncode``, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pypx.compat.answers import Caller, answer, failed, line
from pypx.compat.options import Request, check_uid_keys, read
from pypx.dimse.status import Category
from pypx.errors import CancelledError, PypxError, StatusError

if TYPE_CHECKING:
    from pypx.client.requestor import Moving, Requestor
    from pypx.config import Node

__all__ = ["echo", "move", "move_line", "move_over", "run_echo", "run_move"]

_NOBODY = Caller()


class _PartError(PypxError):
    kind = "partial"


def echo(opt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask a PACS to answer (C-ECHO, PS3.4 Annex A).

    Args:
        opt: ``aet``, ``aec``, ``serverIP``, ``serverPort``, all optional; ``timeout`` in seconds.

    Returns:
        ``status`` (``success`` or ``error``), ``data`` (the steps, or what failed), ``command``,
        and ``returncode``: 0, or the exit code of ``px echo``. With ``error`` where it failed.
    """
    try:
        return run_echo(read("echo", opt))
    except PypxError as error:
        return failed(error)


def run_echo(request: Request, caller: Caller = _NOBODY) -> dict[str, Any]:
    """Do what :func:`echo` does.

    Raises:
        ConfigError: The request makes no sense.
    """
    node = request.node()
    options = ["--timeout", "5", "-v"]
    command = line(request.text("echoscu") or "echoscu", node, request.calling, options)
    try:
        with closing(request.client(node, caller)) as client:
            result = client.echo()
    except PypxError as error:
        return failed(error, command)
    # The lines that echoscu prints, which scripts look for.
    length = result.peer.maximum_pdu_length
    lines = [
        "I: Requesting Association",
        f"I: Association Accepted (Max Send PDV: {max(length - 12, 0) or 'unlimited'})",
        "I: Sending Echo Request (MsgID 1)",
        "I: Received Echo Response (Success)",
        "I: Releasing Association",
    ]
    return answer("success", lines, command, 0)


def move(opt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Have a PACS send a series, or a study where no series is named (C-MOVE, PS3.4 §C.4.2).

    The images go to the AE title ``aet_listener``, or else ``aet``: whoever listens under that
    title, as the PACS knows it, gets them.

    Args:
        opt: ``aet``, ``aec``, ``serverIP``, ``serverPort``, ``StudyInstanceUID`` and
            ``SeriesInstanceUID``, all optional but the study; ``timeout`` in seconds.

    Returns:
        ``status``: ``success`` where all was sent, ``partial`` where some of it was, else
        ``error``; ``data``, ``command``, and ``returncode``: 0, or the exit code of ``px move``.
        Also ``completed``, ``failed``, ``warning`` and ``remaining`` as the PACS counts them,
        ``failed_sop_instance_uids``, and ``error`` where it is no success.
    """
    try:
        return run_move(read("move", opt))
    except PypxError as error:
        return failed(error)


def run_move(request: Request, caller: Caller = _NOBODY) -> dict[str, Any]:
    """Do what :func:`move` does.

    Raises:
        ConfigError: The request makes no sense.
    """
    keys = check_uid_keys(request)
    node = request.node()
    if node.model == "patient" and (patient := request.text("PatientID")):
        keys = {"PatientID": patient, **keys}  # its unique key, too (PS3.4 §C.6.1.1)
    with closing(request.client(node, caller)) as client:
        return move_over(client, request, keys, caller)


def move_line(request: Request, node: Node, keys: Mapping[str, str]) -> str:
    """Give the command line of movescu that does the same."""
    model = "-P" if node.model == "patient" else "-S"
    options = [model, "--move", request.destination, "--timeout", "5"]
    for key, value in {"QueryRetrieveLevel": _level(keys), **keys}.items():
        options += ["-k", f"{key}={value}"]
    return line(request.text("movescu") or "movescu", node, request.calling, options)


def _level(keys: Mapping[str, str]) -> str:
    return "SERIES" if keys.get("SeriesInstanceUID") else "STUDY"


def move_over(
    client: Requestor, request: Request, keys: dict[str, str], caller: Caller
) -> dict[str, Any]:
    """Ask for a series or a study, over an association that may be there already.

    Raises:
        ConfigError: The destination is no AE title.
    """
    command = move_line(request, request.node(), keys)
    try:
        moving = client.move(keys, destination=request.destination, level=_level(keys))
    except PypxError as error:
        return failed(error, command)
    caller.doing(moving.cancel)
    try:
        for _ in moving:
            pass
    except PypxError as error:
        return _told(moving, error, command, request.destination)
    finally:
        caller.doing(None)
    return _told(moving, None, command, request.destination)


def _told(
    moving: Moving, error: PypxError | None, command: str, destination: str
) -> dict[str, Any]:
    """Give the answer of a C-MOVE that is over: its numbers go before its last status."""
    numbers, result = moving.progress, moving.result
    sent = (numbers.completed or 0) + (numbers.warning or 0)
    error = _complaint(moving, error, sent, destination)
    uids = [] if result is None else list(result.failed_sop_instance_uids)
    counts = {
        "completed": numbers.completed or 0,
        "failed": numbers.failed or 0,
        "warning": numbers.warning or 0,
        "remaining": numbers.remaining or 0,
        "failed_sop_instance_uids": uids,
    }
    if error is None:
        return {**answer("success", [], command, 0), **counts}
    status = "partial" if sent else "error"
    return {**answer(status, error.message, command, error.exit_code, error), **counts}


def _complaint(
    moving: Moving, error: PypxError | None, sent: int, destination: str
) -> PypxError | None:
    numbers, result = moving.progress, moving.result
    if error is not None and not (isinstance(error, StatusError) and sent):
        return error
    if result is not None and result.category is Category.CANCEL:
        return CancelledError(f"Interrupted: the PACS had sent {sent} images to {destination}.")
    if numbers.failed:
        every = sent + numbers.failed
        return _PartError(
            f"{numbers.failed} of {every} images were not sent to {destination}.",
            hint="The log of the PACS says why; ask for them again.",
        )
    if error is not None:
        return error
    if result is not None and result.category is Category.WARNING:
        return _PartError(f"The PACS ended the C-MOVE to {destination} with a warning.")
    if numbers.completed is not None and not sent:
        return _PartError(
            f"The PACS reports success, but sent nothing to {destination}.",
            hint="It may not have what was asked for, or be too busy.",
        )
    return None
