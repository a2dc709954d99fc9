"""Audit messages against the schema and the tables of PS3.15 A.5."""

from __future__ import annotations

from base64 import b64decode

import pytest

from pypx.audit.messages import (
    Outcome,
    Party,
    Study,
    application_activity,
    begin_transferring,
    instances_transferred,
    query,
    security_alert,
)
from pypx.values import replace
from tests.audit.schema import codes, parsed

US = Party("US", "10.1.2.3", "me:17", is_requestor=True)
PEER = Party('PEER<&"', "fe80::1")
STUDY = Study("1.2.3", {"1.2.840.10008.5.1.4.1.1.2": 3}, "4711", "Doe^J\xe4ne\x1b[31m\ud800")


@pytest.mark.parametrize(("started", "code"), [(True, "110120"), (False, "110121")])
def test_application_activity(started: bool, code: str) -> None:
    root = parsed(application_activity(1.5, US, started=started))
    assert codes(root, ".//EventID") == [("110100", "DCM")]
    assert codes(root, ".//EventTypeCode") == [(code, "DCM")]
    assert codes(root, ".//RoleIDCode") == [("110150", "DCM")]
    us = replace(US, is_requestor=False)
    root = parsed(application_activity(1.5, us, started=started, launcher="me@host"))
    assert codes(root, ".//RoleIDCode") == [("110150", "DCM"), ("110151", "DCM")]
    assert [e.get("UserID") for e in root.iter("ActiveParticipant")] == ["me:17", "me@host"]


def test_the_time_is_that_of_the_event() -> None:
    event = parsed(application_activity(1.5, US, started=True)).find("EventIdentification")
    assert event is not None
    assert event.get("EventDateTime") == "1970-01-01T00:00:01.500+00:00"


def test_begin_transferring() -> None:
    studies = [STUDY, Study("1.2.4", {})]
    destination = Party("OTHER", "")
    root = parsed(begin_transferring(1.5, US, PEER, destination, studies, [US]))
    assert codes(root, ".//EventID") == [("110102", "DCM")]
    assert [e.get("UserIsRequestor") for e in root.iter("ActiveParticipant")] == [
        "false",
        "false",
        "true",
    ]
    ids = [e.get("ParticipantObjectID") for e in root.iter("ParticipantObjectIdentification")]
    assert ids == ["1.2.3", "1.2.4", "4711"]
    assert len(root.findall(".//ParticipantObjectDescription")) == 1


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
    [sop_class] = root.findall(".//ParticipantObjectDescription/SOPClass")
    assert sop_class.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "3"}
    names = [e.text or "" for e in root.iter("ParticipantObjectName")]
    assert names == ["", "Doe^J\xe4ne\ufffd[31m\ufffd"]


def test_a_study_of_which_nothing_is_known() -> None:
    root = parsed(instances_transferred(1.5, US, PEER, US, Study("1.2.3", {"": 1})))
    assert [e.text for e in root.iter("ParticipantObjectName")] == [None, None]
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
