"""Whether a PACS can be reached, lets us in, and what it takes: from its name to C-ECHO.

In: a target. Out: findings. Each of them asks only what a requestor asks anyway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING, Any

from pypx.client.client import Client
from pypx.client.query import Model
from pypx.dicom import uids
from pypx.doctor.case import Case
from pypx.doctor.steps import Finding, Status
from pypx.doctor.strangers import speaks_http, speaks_tls
from pypx.errors import AssociationRejectedError, NoPresentationContextError, PypxError
from pypx.net.connection import Connection, connect, look_up
from pypx.ul.pdu import ContextResult

if TYPE_CHECKING:
    from pypx.net.tls import TlsSocket

__all__ = ["Reach"]

_ECHOES = 5
_STRANGER = 2.0  # seconds for a stranger to say something
_SYNTAXES = (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)
_CALLING_UNKNOWN = (1, 3)  # source and reason, PS3.8 Table 9-21
_SERVICES = {
    uids.VERIFICATION: "C-ECHO",
    **{
        uid: f"{service}, {model.value} root"
        for model in (Model.STUDY, Model.PATIENT)
        for service, uid in (
            ("C-FIND", model.find_sop_class),
            ("C-MOVE", model.move_sop_class),
            ("C-GET", model.get_sop_class),
        )
    },
}
_REASONS: Mapping[int, str] = {
    ContextResult.USER_REJECTION: "refused by the PACS",
    ContextResult.NO_REASON: "refused without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "not in an uncompressed transfer syntax",
}


class Reach:
    """Come to a PACS, one layer after the other.

    Args:
        case: Whom to reach; what is learnt goes there.
        client: Of our own engine.
    """

    def __init__(self, case: Case, client: Client) -> None:
        self._client = client
        self._target = case.target
        self._case = case
        self._socket: socket.socket | None = None
        self._connection: Connection | None = None

    def close(self) -> None:
        """End what was opened."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    def name(self) -> Finding:
        """Look the host up."""
        host = self._target.address.host
        found = list(dict.fromkeys(str(where[0]) for *_, where in look_up(self._target.address)))
        is_address = found == [host]
        said = f"{host} is an address." if is_address else f"{host} is {', '.join(found)}."
        return Finding(said, facts={"host": host, "addresses": found})

    def tcp(self) -> Finding:
        """Connect."""
        target = self._target
        self._socket = connect(target.address, target.timeouts.connect)
        where = str(self._socket.getpeername()[0])
        port = target.address.port
        return Finding(f"Port {port} of {where} is open.", facts={"address": where, "port": port})

    def tls(self) -> Finding:
        """Make the connection secure, where the node says that it is."""
        target, plain = self._target, self._socket
        assert plain is not None  # it needs the step before
        self._socket = None
        if target.tls is None:
            plain.close()
            return Finding("The node is configured without TLS.", Status.SKIPPED)
        from pypx.net.tls import TlsSocket, client_context  # heavy, and most peers have none

        with closing(plain):
            context = client_context(target.tls)
            name = target.tls.name or target.address.host
            secure = TlsSocket(plain, context, peer=str(target.address), name=name)
            with closing(secure):
                secure.handshake(target.timeouts.association)
                return self._tls_finding(secure, is_verified=target.tls.verify)

    def _tls_finding(self, secure: TlsSocket, *, is_verified: bool) -> Finding:
        names = list(dict.fromkeys(secure.peer_names))
        facts = {
            "version": secure.version,
            "cipher_suite": secure.suite,
            "certificate_names": names,
            "verified": is_verified,
        }
        said = f"{secure.version} with {secure.suite}"
        if is_verified:
            return Finding(f"{said}; the certificate is for {', '.join(names)}.", facts=facts)
        return Finding(
            f"{said}, but the certificate is not checked: anybody in between can read and change "
            "all of it.",
            Status.WARNING,
            "Get the certificate of its authority, name the file as tls.ca, and take "
            "tls.verify out.",
            facts,
        )

    def association(self) -> Finding:
        """Associate, with all that we may ask for later."""
        target = self._target
        facts: dict[str, Any] = {
            "calling_ae_title": target.calling_ae_title,
            "called_ae_title": target.address.ae_title,
        }
        try:
            self._connection = self._client.connect((uid, _SYNTAXES) for uid in _SERVICES)
        except AssociationRejectedError as error:
            facts |= {"result": error.result, "source": error.source, "reason": error.reason}
            hint = error.hint
            if (error.source, error.reason) == _CALLING_UNKNOWN:
                hint = f"{hint} The entry:\n{target.entry()}"
            return Finding(error.message, Status.FAILED, hint, facts, error.exit_code)
        except PypxError as error:
            said, hint = self._stranger() or ("", error.hint)
            message = f"{error.message} {said}".rstrip()
            return Finding(message, Status.FAILED, hint, facts, error.exit_code)
        return Finding(f"{target.address.ae_title} accepts {target.calling_ae_title}.", facts=facts)

    def _stranger(self) -> tuple[str, str] | None:
        """Find out who answers instead of a PACS, and what to do about it."""
        target = self._target
        if target.tls is not None:
            return None
        if speaks_http(target.address, _STRANGER):
            return (
                "A web server answers on this port.",
                "Take the port on which the PACS has DICOM, often 104, 4242 or 11112.",
            )
        if speaks_tls(target.address, _STRANGER):
            return (
                "TLS is spoken on this port.",
                "Add tls to the node (px nodes add … --tls), or take its port without TLS.",
            )
        return None

    def peer(self) -> Finding:
        """Tell what the PACS says of itself."""
        said = self._accepted.accepted.user_information
        name = said.implementation_version_name
        facts = {
            "implementation_version_name": name,
            "implementation_class_uid": said.implementation_class_uid,
            "maximum_pdu_length": said.maximum_length,
        }
        return Finding(
            f"It calls itself {name or 'nothing'}, implementation class UID "
            f"{said.implementation_class_uid or 'not said'}; it takes PDUs of "
            f"{f'{said.maximum_length} bytes' if said.maximum_length else 'any length'}.",
            facts=facts,
        )

    @property
    def _accepted(self) -> Connection:
        assert self._connection is not None  # who asks for more needs the association
        return self._connection

    def contexts(self) -> Finding:
        """Tell which services it takes from us, and choose the model."""
        connection, case = self._accepted, self._case
        taken = {_SERVICES[one.abstract_syntax]: one for one in connection.contexts.values()}
        answers = {one.context_id: one.result for one in connection.accepted.presentation_contexts}
        refused = {
            service: _REASONS.get(answers.get(2 * number + 1, -1), "not answered")
            for number, service in enumerate(_SERVICES.values())  # the IDs are 1, 3, 5, …
            if service not in taken
        }
        self.close()  # some PACS take only one association at once
        case.accepted = frozenset(one.abstract_syntax for one in connection.contexts.values())
        facts: dict[str, Any] = {
            "accepted": {name: uids.uid_name(one.transfer_syntax) for name, one in taken.items()},
            "refused": refused,
        }
        said = f"It takes {_listed(taken)}"
        said += f"; not {_listed(refused)}." if refused else "."
        return self._judge_contexts(said, facts)

    def _judge_contexts(self, said: str, facts: dict[str, Any]) -> Finding:
        case, configured = self._case, self._case.model
        other = Model.PATIENT if configured is Model.STUDY else Model.STUDY
        if not {configured.find_sop_class, other.find_sop_class} & case.accepted:
            error = NoPresentationContextError("")
            hint = (
                "Its administrator permits query and retrieve to "
                f"{self._target.calling_ae_title}, or this is not the AE title of its archive."
            )
            return Finding(said, Status.FAILED, hint, facts, error.exit_code)
        if configured.find_sop_class not in case.accepted:
            case.model = other
            hint = f"Set model = {other.value!r} for the node, or let px doctor --save do it."
            return Finding(said, Status.WARNING, hint, facts)
        ways = {configured.move_sop_class, configured.get_sop_class}
        if not ways & case.accepted:
            hint = "Images cannot be fetched: its administrator permits C-MOVE or C-GET to us."
            return Finding(said, Status.WARNING, hint, facts)
        return Finding(said, facts=facts)

    def echo(self) -> Finding:
        """Take the time of a few C-ECHOs."""
        if uids.VERIFICATION not in self._case.accepted:
            return Finding("It does not take C-ECHO.", Status.SKIPPED)
        times = []
        for _ in range(_ECHOES):
            times.append(self._case.client.echo().seconds)
        middle = median(times)
        return Finding(
            f"It answers in {middle * 1000:.1f} ms, the median of {_ECHOES}.",
            facts={
                "median_ms": round(middle * 1000, 3),
                "times_ms": [round(one * 1000, 3) for one in times],
            },
        )


def _listed(services: Iterable[str]) -> str:
    """Give services in words, both models of one together."""
    kinds: dict[str, list[str]] = {}
    for service in services:
        kind, _, model = service.partition(", ")
        kinds.setdefault(kind, []).append(model.removesuffix(" root"))
    parts = [
        kind if models == [""] or len(models) > 1 else f"{kind} ({models[0]} root)"
        for kind, models in kinds.items()
    ]
    return ", ".join(parts) or "nothing"
