"""Which SOP classes a PACS says it has, and the contexts that follow from it."""

from __future__ import annotations

from typing import Any

import pytest

from pypx.client.client import Client
from pypx.client.sop_classes import SOPClasses, pack
from pypx.dicom import uids
from tests.objects import CT_IMAGE
from tests.scripted import Exchange, Scripted

MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
STUDY = {"StudyInstanceUID": "1.2.3"}
SERIES = {**STUDY, "SeriesInstanceUID": "1.2.3.4"}

Found = dict[str, list[dict[str, Any]]]

CASES: list[tuple[str, dict[str, str], Found, tuple[str, ...], bool]] = [
    (
        "study",
        STUDY,
        {"STUDY": [{**STUDY, "SOPClassesInStudy": [CT_IMAGE, SR]}]},
        (CT_IMAGE, SR),
        True,
    ),
    (
        "patient",
        {"PatientID": "P"},
        {
            "STUDY": [
                {**STUDY, "SOPClassesInStudy": CT_IMAGE},
                {"StudyInstanceUID": "1.5", "SOPClassesInStudy": MR},
            ]
        },
        (CT_IMAGE, MR),
        True,
    ),
    (
        "study",
        STUDY,
        {"STUDY": [STUDY], "SERIES": [SERIES], "IMAGE": [{"SOPClassUID": SR}] * 3},
        (SR,),
        True,
    ),
    ("series", SERIES, {"IMAGE": [{"SOPClassUID": MR}]}, (MR,), True),
    ("image", {**SERIES, "SOPInstanceUID": "1"}, {"IMAGE": [{"SOPClassUID": MR}]}, (MR,), True),
    (
        "study",
        STUDY,
        {"STUDY": [STUDY], "SERIES": [{**SERIES, "Modality": "NM"}]},
        ("1.2.840.10008.5.1.4.1.1.20",),
        False,
    ),
    (
        "study",
        STUDY,
        {"STUDY": [{**STUDY, "ModalitiesInStudy": "RTDOSE"}]},
        ("1.2.840.10008.5.1.4.1.1.481.2",),
        False,
    ),
    ("study", STUDY, {}, (), False),
    (
        "series",
        SERIES,
        {"IMAGE": [{"SOPClassUID": "../x"}, {"SOPClassUID": uids.STUDY_ROOT_FIND}]},
        (),
        False,
    ),
]


@pytest.mark.parametrize(("level", "keys", "answers", "known", "exact"), CASES)
def test_what_the_pacs_says(
    level: str, keys: dict[str, str], answers: Found, known: tuple[str, ...], exact: bool
) -> None:
    def find(exchange: Exchange) -> None:
        for match in answers.get(exchange.identifier["QueryRetrieveLevel"], []):
            exchange.match(**match)
        exchange.end_find()

    with Scripted(find=find) as scripted, Client(scripted.address) as client:
        found = client.sop_classes(keys, level=level)
    assert (found.known, found.exact) == (known, exact)


def test_a_pacs_that_refuses_the_query_leaves_us_to_guess() -> None:
    with (
        Scripted(find=lambda exchange: exchange.end_find(0xA900)) as scripted,
        Client(scripted.address) as client,
    ):
        assert client.sop_classes(STUDY) == SOPClasses((), False)


def test_a_pacs_without_queries_leaves_us_to_guess() -> None:
    refused = [uids.STUDY_ROOT_FIND]
    with Scripted(refuse=refused) as scripted, Client(scripted.address) as client:
        assert client.sop_classes(STUDY) == SOPClasses((), False)


def test_a_cut_answer_is_not_exact() -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(SOPClassUID=MR)
        exchange.end_find(0xB001)

    with Scripted(find=find) as scripted, Client(scripted.address) as client:
        assert client.sop_classes(SERIES, level="series") == SOPClasses((MR,), False)


def test_each_transfer_syntax_of_a_known_class_has_a_context() -> None:
    (group,) = SOPClasses((CT_IMAGE,), True).contexts()
    assert {uid for uid, _ in group} == {CT_IMAGE}
    assert all(len(syntaxes) == 1 for _, syntaxes in group)
    assert group[0] == (CT_IMAGE, (uids.EXPLICIT_VR_LITTLE_ENDIAN,))


def test_where_the_pacs_says_nothing_all_are_proposed_the_common_ones_first() -> None:
    first, *rest = pack(SOPClasses((), False).contexts())
    assert {CT_IMAGE, MR, SR} <= {uid for uid, _ in first}
    assert {uid for batch in (first, *rest) for uid, _ in batch} == set(uids.storage_sop_classes())


@pytest.mark.parametrize("count", [1, 8, 9, 50, 204])
def test_packing_loses_nothing_and_leaves_room_for_the_request(count: int) -> None:
    groups = SOPClasses(uids.storage_sop_classes()[:count], True).contexts()
    batches = pack(groups)
    assert [one for batch in batches for one in batch] == [one for g in groups for one in g]
    assert all(0 < len(batch) <= 127 for batch in batches)
    of_class = [{uid for uid, _ in batch} for batch in batches]
    assert len(set().union(*of_class)) == sum(map(len, of_class)) == count
