"""Audit messages against the schema of PS3.15 A.5.1, transcribed by hand."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pypx.audit.messages import (
    Outcome,
    Party,
    Study,
    application_activity,
    instances_transferred,
    query,
    security_alert,
)

US = Party("US", "10.1.2.3", "me:17", is_requestor=True)
PEER = Party('PEER<&"', "fe80::1")
STUDY = Study("1.2.3", {"1.2.840.10008.5.1.4.1.1.2": 3}, "4711", "Doe^J\xe4ne\x1b[31m\ud800")

CODED = {"csd-code", "codeSystemName", "originalText"}
# Name: required attributes, optional ones, and the children in their order with how many of each.
SCHEMA: dict[str, tuple[set[str], set[str], list[tuple[str, int, int]]]] = {
    "AuditMessage": (
        set(),
        set(),
        [
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, 99),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, 99),
        ],
    ),
    "EventIdentification": (
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
        [("EventID", 1, 1), ("EventTypeCode", 0, 99), ("EventOutcomeDescription", 0, 1)],
    ),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {
            "AlternativeUserID",
            "UserName",
            "NetworkAccessPointID",
            "NetworkAccessPointTypeCode",
        },
        [("RoleIDCode", 0, 99), ("MediaIdentifier", 0, 1)],
    ),
    "AuditSourceIdentification": (
        {"AuditSourceID"},
        {"AuditEnterpriseSiteID"},
        [("AuditSourceTypeCode", 0, 99)],
    ),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID"},
        {
            "ParticipantObjectTypeCode",
            "ParticipantObjectTypeCodeRole",
            "ParticipantObjectDataLifeCycle",
            "ParticipantObjectSensitivity",
        },
        [
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, 99),
            ("ParticipantObjectDescription", 0, 99),
            ("MPPS", 0, 99),
            ("Accession", 0, 99),
            ("SOPClass", 0, 99),
        ],
    ),
    "ParticipantObjectDetail": ({"type", "value"}, set(), []),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}, [("Instance", 0, 99)]),
    "ParticipantObjectName": (set(), set(), []),
    "ParticipantObjectQuery": (set(), set(), []),
    "EventOutcomeDescription": (set(), set(), []),
    **{
        name: (CODED, {"displayName"}, [])
        for name in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode")
    },
}
VALUES = {
    "EventActionCode": set("CRUDE"),
    "EventOutcomeIndicator": {"0", "4", "8", "12"},
    "UserIsRequestor": {"true", "false"},
    "NetworkAccessPointTypeCode": set("12345"),
    "ParticipantObjectTypeCode": set("1234"),
    "ParticipantObjectTypeCodeRole": {str(number) for number in range(1, 25)},
}


def check(element: Element) -> None:
    required, optional, children = SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | optional, element.tag
    for name, value in element.attrib.items():
        assert value in VALUES.get(name, {value}), name
    names = [child.tag for child in element]
    order = [name for name, _, _ in children]
    assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)
    for name, least, most in children:
        assert least <= names.count(name) <= most, name
    for child in element:
        check(child)


def codes(root: Element, path: str) -> list[tuple[str, str]]:
    return [(e.get("csd-code", ""), e.get("codeSystemName", "")) for e in root.iterfind(path)]


def parsed(message: str) -> Element:
    assert "\n" not in message
    assert "\x1b" not in message
    root = ElementTree.fromstring(message.encode())
    check(root)
    moment = root.find("EventIdentification")
    assert moment is not None
    assert datetime.fromisoformat(moment.get("EventDateTime", "")).timestamp() == 1.5
    return root


@pytest.mark.parametrize(("started", "code"), [(True, "110120"), (False, "110121")])
def test_application_activity(started: bool, code: str) -> None:
    root = parsed(application_activity(1.5, US, started=started))
    assert codes(root, ".//EventID") == [("110100", "DCM")]
    assert codes(root, ".//EventTypeCode") == [(code, "DCM")]
    assert codes(root, ".//RoleIDCode") == [("110150", "DCM")]


def test_instances_transferred() -> None:
    outcome, reason = Outcome.MINOR_FAILURE, "The link\nbroke."
    root = parsed(instances_transferred(1.5, US, PEER, US, STUDY, outcome=outcome, reason=reason))
    assert codes(root, ".//EventID") == [("110104", "DCM")]
    assert codes(root, ".//RoleIDCode") == [("110153", "DCM"), ("110152", "DCM")]
    assert [e.get("AlternativeUserID") for e in root.iter("ActiveParticipant")] == [
        'AETITLES=PEER<&"',
        "AETITLES=US",
    ]
    objects = list(root.iter("ParticipantObjectIdentification"))
    assert [
        (e.get("ParticipantObjectID"), e.get("ParticipantObjectTypeCode")) for e in objects
    ] == [
        ("1.2.3", "2"),
        ("4711", "1"),
    ]
    assert codes(root, ".//ParticipantObjectIDTypeCode") == [("110180", "DCM"), ("2", "RFC-3881")]
    assert root.find(".//SOPClass[@NumberOfInstances='3']") is not None
    assert root.findtext(".//ParticipantObjectName") == "Doe^J\xe4ne\ufffd[31m\ufffd"


def test_a_study_of_which_nothing_is_known() -> None:
    root = parsed(instances_transferred(1.5, US, PEER, US, Study("1.2.3", {"": 1})))
    assert root.find(".//ParticipantObjectName") is None
    assert codes(root, ".//ParticipantObjectIDTypeCode")[1] == ("2", "RFC-3881")


def test_query() -> None:
    root = parsed(query(1.5, US, PEER, "1.2.840.10008.5.1.4.1.2.2.1", b"keys", "1.2.840.10008.1.2"))
    assert codes(root, ".//EventID") == [("110112", "DCM")]
    assert b64decode(root.findtext(".//ParticipantObjectQuery") or "") == b"keys"
    detail = root.find(".//ParticipantObjectDetail[@type='TransferSyntax']")
    assert detail is not None
    assert b64decode(detail.get("value", "")) == b"1.2.840.10008.1.2"


def test_security_alert() -> None:
    root = parsed(security_alert(1.5, US, PEER, "We rejected the association."))
    assert codes(root, ".//EventID") == [("110113", "DCM")]
    assert codes(root, ".//EventTypeCode") == [("110126", "DCM")]
    assert root.findtext(".//EventOutcomeDescription") == "We rejected the association."
