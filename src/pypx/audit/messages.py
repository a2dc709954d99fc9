"""Audit messages (PS3.15 A.5): who did what to which study, as XML of the schema in A.5.1.

In: what happened, and when. Out: text of one line. Not here: where it goes, nor what is worth a
message.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from pypx.values import frozen

__all__ = [
    "Activity",
    "Code",
    "Outcome",
    "Party",
    "Study",
    "application_activity",
    "begin_transferring",
    "instances_transferred",
    "query",
    "security_alert",
]


class Outcome:
    """Values of EventOutcomeIndicator (PS3.15 A.5.2.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


class Activity:
    """Values of EventActionCode (PS3.15 A.5.1)."""

    CREATE = "C"
    READ = "R"
    EXECUTE = "E"


@frozen
class Code:
    """A coded value (``CodedValueType`` of A.5.1)."""

    code: str
    text: str
    system: str = "DCM"


# PS3.16 CID 400, 401, 402, 404, 405; RFC 3881 §5.5.4
APPLICATION_ACTIVITY = Code("110100", "Application Activity")
APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
APPLICATION = Code("110150", "Application")
LAUNCHER = Code("110151", "Application Launcher")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
STUDY_UID = Code("110180", "Study Instance UID")
CLASS_UID = Code("110181", "SOP Class UID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
NODE_ID = Code("110182", "Node ID")

_PERSON, _SYSTEM = "1", "2"
_PATIENT_ROLE, _REPORT_ROLE, _RESOURCE_ROLE = "1", "3", "13"
_IP_ADDRESS, _MACHINE_NAME = "2", "1"
_UNKNOWN = "unknown"


@frozen
class Party:
    """An application that takes part.

    Attributes:
        ae_title: Its AE title.
        host: Its address or name.
        user: The process or user behind it, where that is known; of a peer the name of the user
            whose password it had, or that it claimed to be where it was turned away.
        is_requestor: Whether it began.
    """

    ae_title: str
    host: str
    user: str = ""
    is_requestor: bool = False


@frozen
class Study:
    """Instances of one study.

    Attributes:
        uid: Its Study Instance UID.
        instances: How many there were of each SOP Class UID, which is empty where not known.
        patient_id: Empty where not known.
        patient_name: Empty where not known.
    """

    uid: str
    instances: Mapping[str, int]
    patient_id: str = ""
    patient_name: str = ""


def application_activity(at: float, us: Party, *, started: bool, launcher: str = "") -> str:
    """Say that pypx began or ended (A.5.3.1).

    Args:
        at: Seconds of the epoch.
        us: The process.
        started: Whether it began.
        launcher: Who started it, as ``login@host``; empty where that is not known.
    """
    kind = APPLICATION_START if started else APPLICATION_STOP
    root = _message(at, APPLICATION_ACTIVITY, Activity.EXECUTE, Outcome.SUCCESS, kind)
    _participant(root, us, APPLICATION)
    if launcher:
        facts = {"UserID": _clean(launcher), "UserIsRequestor": "true"}
        _coded(SubElement(root, "ActiveParticipant", facts), "RoleIDCode", LAUNCHER)
    return _line(_source(root, us))


def begin_transferring(
    at: float,
    us: Party,
    source: Party,
    destination: Party,
    studies: Sequence[Study],
    others: Iterable[Party] = (),
) -> str:
    """Say that instances of studies of one patient are about to be sent (A.5.3.6).

    Args:
        at: Seconds of the epoch.
        us: Who says it.
        source: Who sends.
        destination: Who receives.
        studies: What they are; the patient is that of the first.
        others: Who else takes part, as who asked for it.
    """
    root = _message(at, BEGIN_TRANSFERRING, Activity.EXECUTE, Outcome.SUCCESS)
    _participant(root, source, SOURCE)
    _participant(root, destination, DESTINATION)
    for other in others:
        _participant(root, other, None)
    _subject(_source(root, us), studies)
    return _line(root)


def instances_transferred(
    at: float,
    us: Party,
    source: Party,
    destination: Party,
    study: Study,
    *,
    activity: str = Activity.CREATE,
    outcome: str = Outcome.SUCCESS,
    reason: str = "",
) -> str:
    """Say that instances of a study were sent (A.5.3.7).

    What succeeded and what failed are two messages (A.5.2).

    Args:
        at: Seconds of the epoch.
        us: Who says it.
        source: Who sent them.
        destination: Who received them.
        study: What they are.
        activity: Create at a receiver that had none of them, else read.
        outcome: Of :class:`Outcome`.
        reason: Why it is not success.
    """
    root = _message(at, INSTANCES_TRANSFERRED, activity, outcome, reason=reason)
    _participant(root, source, SOURCE)
    _participant(root, destination, DESTINATION)
    _subject(_source(root, us), [study])
    return _line(root)


def query(
    at: float, us: Party, peer: Party, sop_class_uid: str, keys: bytes, transfer_syntax_uid: str
) -> str:
    """Say that a peer was asked (A.5.3.10).

    Args:
        at: Seconds of the epoch.
        us: Who asks.
        peer: Who answers.
        sop_class_uid: Of the query service.
        keys: The identifier as it was sent.
        transfer_syntax_uid: Of the identifier.
    """
    root = _message(at, QUERY, Activity.EXECUTE, Outcome.SUCCESS)
    _participant(root, us, SOURCE)
    _participant(root, peer, DESTINATION)
    facts = _object(
        _source(root, us), sop_class_uid, _SYSTEM, _REPORT_ROLE, CLASS_UID, b64encode(keys).decode()
    )
    syntax = b64encode(transfer_syntax_uid.encode()).decode()
    SubElement(facts, "ParticipantObjectDetail", {"type": "TransferSyntax", "value": syntax})
    return _line(root)


def security_alert(at: float, us: Party, peer: Party, reason: str) -> str:
    """Say that a peer was turned away (A.5.3.11)."""
    kind = NODE_AUTHENTICATION
    root = _message(at, SECURITY_ALERT, Activity.EXECUTE, Outcome.MINOR_FAILURE, kind, reason)
    _participant(root, us, None)
    _participant(root, peer, None)
    found = _object(_source(root, us), peer.host or "unknown", _SYSTEM, _RESOURCE_ROLE, NODE_ID)
    detail = b64encode(_clean(reason).encode()).decode()
    SubElement(found, "ParticipantObjectDetail", {"type": "Alert Description", "value": detail})
    return _line(root)


def _message(
    at: float,
    what: Code,
    activity: str,
    outcome: str,
    kind: Code | None = None,
    reason: str = "",
) -> Element:
    root = Element("AuditMessage")
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    event = SubElement(
        root,
        "EventIdentification",
        {"EventActionCode": activity, "EventDateTime": moment, "EventOutcomeIndicator": outcome},
    )
    _coded(event, "EventID", what)
    if kind is not None:
        _coded(event, "EventTypeCode", kind)
    if reason:
        SubElement(event, "EventOutcomeDescription").text = _clean(reason)
    return root


def _participant(root: Element, party: Party, role: Code | None) -> None:
    facts = {
        "UserID": _clean(party.user or f"{party.ae_title}@{party.host}"),
        "AlternativeUserID": f"AETITLES={_clean(party.ae_title)}",
        "UserIsRequestor": "true" if party.is_requestor else "false",
    }
    if party.host:
        is_address = set(party.host) <= set("0123456789.") or ":" in party.host
        facts["NetworkAccessPointID"] = _clean(party.host)
        facts["NetworkAccessPointTypeCode"] = _IP_ADDRESS if is_address else _MACHINE_NAME
    element = SubElement(root, "ActiveParticipant", facts)
    if role is not None:
        _coded(element, "RoleIDCode", role)


def _source(root: Element, us: Party) -> Element:
    """Add who tells; objects come after it. Gives the message back."""
    SubElement(
        root, "AuditSourceIdentification", {"AuditSourceID": _clean(f"{us.ae_title}@{us.host}")}
    )
    return root


def _subject(root: Element, studies: Sequence[Study]) -> None:
    """Add studies and their patient."""
    for study in studies:
        found = _object(root, study.uid or _UNKNOWN, _SYSTEM, _REPORT_ROLE, STUDY_UID)
        if study.instances:
            description = SubElement(found, "ParticipantObjectDescription")
            for uid, number in sorted(study.instances.items()):
                facts = {"UID": _clean(uid)} if uid else {}
                SubElement(description, "SOPClass", {**facts, "NumberOfInstances": str(number)})
    patient = next((study for study in studies if study.patient_id or study.patient_name), None)
    identifier = patient.patient_id if patient else ""
    name = patient.patient_name if patient else ""
    found = _object(root, identifier or _UNKNOWN, _PERSON, _PATIENT_ROLE, PATIENT_NUMBER)
    found[1].text = _clean(name)


def _object(
    root: Element, identifier: str, kind: str, role: str, code: Code, query: str = ""
) -> Element:
    """Add an object. The schema wants a name or a query in each: a name may be empty."""
    facts = {
        "ParticipantObjectID": _clean(identifier),
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    element = SubElement(root, "ParticipantObjectIdentification", facts)
    _coded(element, "ParticipantObjectIDTypeCode", code)
    name = SubElement(element, "ParticipantObjectQuery" if query else "ParticipantObjectName")
    name.text = query
    return element


def _coded(parent: Element, name: str, code: Code) -> None:
    facts = {"csd-code": code.code, "codeSystemName": code.system, "originalText": code.text}
    SubElement(parent, name, facts)


def _line(root: Element) -> str:
    return tostring(root, encoding="unicode")


def _clean(text: str) -> str:
    """Give a text that XML 1.0 can have, on one line."""
    return "".join(_allowed(character) for character in text)


def _allowed(character: str) -> str:
    code = ord(character)
    is_bad = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code >= 0xFFFE
    return "\ufffd" if is_bad and code < 0x10000 else character
