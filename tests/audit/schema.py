"""What PS3.15 says of audit messages, transcribed by hand: the schema of A.5.1.1, and the tables of
A.5.3 for the messages that we send.
"""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

__all__ = ["codes", "parsed", "read", "title"]

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
            ("ParticipantObjectName", 0, 1),  # one of these two, see check()
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, 99),
            ("ParticipantObjectDescription", 0, 99),
        ],
    ),
    "ParticipantObjectDescription": (
        set(),
        set(),
        [
            ("MPPS", 0, 99),
            ("Accession", 0, 99),
            ("SOPClass", 0, 99),
            ("ParticipantObjectContainsStudy", 0, 1),
            ("Encrypted", 0, 1),
            ("Anonymized", 0, 1),
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
    "ParticipantObjectTypeCodeRole": {str(number) for number in range(1, 27)},
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
    if element.tag == "ParticipantObjectIdentification":
        assert len({"ParticipantObjectName", "ParticipantObjectQuery"} & set(names)) == 1
    for child in element:
        check(child)


# Event ID: its action codes, its event types (none where there are none), the roles of active
# participants that it has just once, and how many objects of each kind it has, least and most.
STUDY, PATIENT, SOP_CLASS, NODE = "110180", "2", "110181", "110182"
SOURCE, DESTINATION, APPLICATION = "110153", "110152", "110150"
TRANSFER = {STUDY: (1, 99), PATIENT: (1, 1)}
TABLES: dict[str, tuple[str, set[str], set[str], dict[str, tuple[int, int]]]] = {
    "110100": ("E", {"110120", "110121"}, {APPLICATION}, {}),
    "110102": ("E", set(), {SOURCE, DESTINATION}, TRANSFER),
    "110104": ("CRU", set(), {SOURCE, DESTINATION}, TRANSFER),
    "110112": ("E", set(), {SOURCE, DESTINATION}, {SOP_CLASS: (1, 99)}),
    "110113": ("E", {"110126"}, set(), {NODE: (0, 99)}),
}


def check_table(root: Element) -> None:
    """Hold a message against its table in A.5.3, and A.5.2."""
    [(event, _)] = codes(root, "EventIdentification/EventID")
    actions, types, roles, objects = TABLES[event]
    identification = root.find("EventIdentification")
    assert identification is not None
    assert identification.get("EventActionCode", "") in actions
    found_types = {code for code, _ in codes(root, "EventIdentification/EventTypeCode")}
    assert found_types <= types
    assert bool(found_types) is bool(types)
    found = [code for code, _ in codes(root, "ActiveParticipant/RoleIDCode")]
    assert all(found.count(role) == 1 for role in roles), found
    requestors = root.findall("ActiveParticipant[@UserIsRequestor='true']")
    assert len(requestors) <= 1, "several participants are the requestor"
    kinds = [code for code, _ in codes(root, ".//ParticipantObjectIDTypeCode")]
    assert set(kinds) <= set(objects)
    for kind, (least, most) in objects.items():
        assert least <= kinds.count(kind) <= most, (event, kind)
    if event == "110113":
        [detail] = root.findall(".//ParticipantObjectDetail")
        assert detail.get("type") == "Alert Description"
    for detail in root.iter("ParticipantObjectDetail"):
        b64decode(detail.get("value", ""), validate=True)


def codes(root: Element, path: str) -> list[tuple[str, str]]:
    """Give the codes of all elements at a path, each with its system."""
    return [(e.get("csd-code", ""), e.get("codeSystemName", "")) for e in root.iterfind(path)]


def parsed(message: str) -> Element:
    """Read one message, and hold it against the schema and its table."""
    assert "\n" not in message
    assert "\x1b" not in message
    root = ElementTree.fromstring(message.encode())
    check(root)
    check_table(root)
    moment = root.find("EventIdentification")
    assert moment is not None
    assert datetime.fromisoformat(moment.get("EventDateTime", "")).tzinfo is not None
    return root


def read(text: str) -> list[Element]:
    """Read the messages of a file, and hold each against the schema and its table."""
    return [parsed(line) for line in text.splitlines()]


def title(root: Element) -> str:
    """Give the meaning of the event."""
    code = root.find("EventIdentification/EventID")
    assert code is not None
    return code.get("originalText", "")
