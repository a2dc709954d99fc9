"""What DCMTK's programs say, as lines that they wrote: 3.6.4, 3.6.7 and 3.6.9 differ in words."""

from __future__ import annotations

import pytest

from pypx.address import Address
from pypx.client.client import Peer
from pypx.dcmtk.failure import failure
from pypx.dcmtk.said import Dimse, Said
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    NameLookupError,
    NoPresentationContextError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    TlsError,
)
from pypx.net.connection import Timeouts

ADDRESS = Address("PACS", "10.1.2.3", 104)

ACCEPTED = """\
I: Requesting Association
D: Association Parameters Negotiated:
D: ====================== BEGIN A-ASSOCIATE-AC =====================
D: Our Implementation Class UID:      1.2.276.0.7230010.3.0.3.6.7
D: Their Implementation Class UID:    1.2.3
D: Their Implementation Version Name: SOME_PACS
D: Our Max PDU Receive Size:    131072
D: Their Max PDU Receive Size:  16384
D: Presentation Contexts:
D:   Context ID:        1 (Accepted)
D:     Abstract Syntax: =VerificationSOPClass
D:     Accepted Transfer Syntax: =LittleEndianImplicit
D: ======================= END A-ASSOCIATE-AC ======================
"""

MOVE = """\
I: Received Final Move Response
D: ===================== INCOMING DIMSE MESSAGE ====================
D: Message Type                  : C-MOVE RSP
D: Message ID Being Responded To : 1
D: Affected SOP Class UID        : MOVEStudyRootQueryRetrieveInformationModel
D: Remaining Suboperations       : none
D: Completed Suboperations       : 4
D: Failed Suboperations          : 2
D: Warning Suboperations         : 0
D: Data Set                      : present
D: DIMSE Status                  : {status}
D: ======================= END DIMSE MESSAGE =======================
D: Response Identifiers:
D:
D: # Dicom-Data-Set
D: # Used TransferSyntax: Little Endian Explicit
D: (0008,0058) UI [1.2.3\\1.2.4]                              #  12, 2 FailedSOPInstanceUIDList
D:
D: Status Detail:
D: (0000,0902) LO [Disk full]                              #  10, 1 ErrorComment
"""


def hear(text: str) -> tuple[Said, list[Dimse]]:
    said = Said()
    heard = [said.hear(line) for line in text.splitlines()]
    return said, [one for one in heard if isinstance(one, Dimse)]


def test_what_the_peer_says_of_itself() -> None:
    said, _ = hear(ACCEPTED)
    assert said.peer == Peer("1.2.3", "SOME_PACS", 16384)
    assert said.transfer_syntax == "LittleEndianImplicit"
    assert not said.accepted, "it may have accepted no presentation context"
    assert hear(f"{ACCEPTED}I: Association Accepted (Max Send PDV: 16372)")[0].accepted


@pytest.mark.parametrize(
    "status",
    [
        "0xb000: Warning: Suboperations complete, one or more failures",  # 3.6.4
        "0xb000: Warning: Sub-operations complete - One or more failures or warnings",  # 3.6.7
        "0xb000",
    ],
)
def test_a_final_response_in_the_words_of_several_versions(status: str) -> None:
    said, (message,) = hear(MOVE.format(status=status))
    assert (message.kind, message.is_outgoing, message.status) == ("C-MOVE RSP", False, 0xB000)
    numbers = [message.number(what) for what in ("Remaining", "Completed", "Failed", "Warning")]
    assert numbers == [None, 4, 2, 0]
    assert said.failed_uids == ("1.2.3", "1.2.4")
    assert said.comment == "Disk full"


def test_a_message_without_a_status() -> None:
    _, (message,) = hear(MOVE.format(status="none"))
    assert message.status is None


REJECTED = """\
{0}: Association Rejected:
{0}: Result: Rejected Permanent, Source: Service User
{0}: Reason: Called AE Title Not Recognized
"""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (REJECTED.format("F"), AssociationRejectedError),
        (REJECTED.format("E"), AssociationRejectedError),
        (
            REJECTED.format("D") + "F: Could not negotiate association: DUL Association Rejected",
            AssociationRejectedError,  # getscu since 3.6.6
        ),
        (
            "F: Association Request Failed: 0006:0320 Attempt to connect to unknown host: pacs",
            NameLookupError,
        ),
        (
            (
                "F: Association Request Failed:\n"
                "F: 0006:031c TCP Initialization Error: Connection refused"
            ),
            ConnectError,
        ),
        (
            (
                "F: Association Request Failed: 0006:031c TCP Initialization Error: "
                "Connection timed out"
            ),
            PeerTimeoutError,
        ),
        ("F: Association Request Failed: 0006:031a DUL network read timeout", PeerTimeoutError),
        (
            "F: Association Request Failed: 000b:0886 TLS error: certificate verify failed",
            TlsError,
        ),
        ("F: No Acceptable Presentation Contexts", NoPresentationContextError),
        ("F: No adequate Presentation Contexts for sending C-GET", NoPresentationContextError),
        (
            (
                "F: Association Request Failed: 0006:0317 Peer aborted Association "
                "(or never connected)"
            ),
            AssociationAbortedError,
        ),
        (
            (
                "F: Association Request Failed: 0006:031d TCP I/O Error (Connection reset by peer) "
                "occurred in routine: sendAssociationRQTCP"
            ),
            ConnectionLostError,
        ),
        ("E: Find Failed\nE: 0006:0208 DIMSE Badly formed message", RemoteProtocolError),
        ("", ConfigError),
    ],
)
def test_what_went_wrong(text: str, kind: type[PypxError]) -> None:
    error = failure("findscu", hear(text)[0], ADDRESS, "PYPX", Timeouts())
    assert type(error) is kind
    assert error.hint
    assert "0006:" not in error.message


def test_why_we_were_rejected() -> None:
    error = failure("findscu", hear(REJECTED.format("F"))[0], ADDRESS, "PYPX", Timeouts())
    assert isinstance(error, AssociationRejectedError)
    assert (error.result, error.source, error.reason) == (1, 1, 7)
    assert "'PACS'" in error.hint
