"""Storage commitment: what is asked, what reports make of it, and peers that do not report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pypx.client.client import Client
from pypx.client.commit import ReportListener
from pypx.client.commitment import CommitmentResult, NotCommitted, Reference, Reports
from pypx.dicom.data_set import DataSet
from pypx.dicom.encoding import Encoding
from pypx.errors import (
    AssociationRejectedError,
    CancelledError,
    ConnectionLostError,
    NoPresentationContextError,
    StatusError,
)
from pypx.net.connection import Timeouts
from tests.client.committing import CommitScp, information
from tests.objects import CT_IMAGE

ENCODING = Encoding.IMPLICIT_LITTLE
COMMITMENT = "1.2.840.10008.1.20.1"
SHORT = 0.2  # seconds; where nothing is to come


def references(count: int) -> list[Reference]:
    return [Reference(CT_IMAGE, f"1.2.3.4.{number}") for number in range(1, count + 1)]


def uid(number: int) -> str:
    return f"1.2.3.4.{number}"


# What reports make of it -------------------------------------------------------------------


def take(reports: Reports, *content: object) -> int:
    (transaction,) = reports.transactions
    report = information(transaction.uid, *content)  # type: ignore[arg-type]
    return reports.take(report.to_bytes(ENCODING), ENCODING)


def test_the_action_information_names_every_instance_once() -> None:
    reports = Reports([*references(3), *references(2)])
    (transaction,) = reports.transactions
    asked = DataSet.from_bytes(transaction.action_information().to_bytes(ENCODING), ENCODING)
    assert asked["TransactionUID"] == transaction.uid
    assert [item.to_dict() for item in asked.items_of("ReferencedSOPSequence")] == [
        {"ReferencedSOPClassUID": CT_IMAGE, "ReferencedSOPInstanceUID": uid(number)}
        for number in (1, 2, 3)
    ]


def test_large_sets_are_split() -> None:
    reports = Reports(references(2500))
    assert [len(one.wanted) for one in reports.transactions] == [1000, 1000, 500]
    assert len({one.uid for one in reports.transactions}) == 3


CASES = {
    "all": (([uid(1), uid(2), uid(3)],), "1 2 3", "", "", False),
    "with failures": (
        ([uid(1)], [(uid(2), 0x0112), (uid(3), 0x0213)]),
        "1",
        "2 no such object instance (0112H), 3 resource limitation (0213H)",
        "",
        False,
    ),
    "a part": (([uid(1)],), "1", "", "2 3", True),
    "nothing": ((), "", "", "1 2 3", True),
    "an instance that was not asked for": (([uid(1), uid(9)],), "1", "", "2 3", True),
    "both committed and failed": (
        ([uid(1), uid(2), uid(3)], [(uid(2), 0x0110)]),
        "1 3",
        "2 processing failure (0110H)",
        "",
        False,
    ),
    "a reason of its own": (
        ([uid(1), uid(2)], [(uid(3), 0xA700)]),
        "1 2",
        "3 a reason that the standard does not name (A700H)",
        "",
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_report(name: str) -> None:
    content, committed, failed, missing, is_open = CASES[name]
    reports = Reports(references(3))
    assert take(reports, *content) == 0
    result = reports.result()

    def numbers(uids: tuple[str, ...]) -> str:
        return " ".join(one.rpartition(".")[2] for one in uids)

    assert numbers(result.committed) == committed
    said = [f"{one.sop_instance_uid.rpartition('.')[2]} {one.meaning}" for one in result.failed]
    assert ", ".join(said) == failed
    assert numbers(result.missing) == missing
    assert reports.is_open is is_open


def test_reports_of_a_part_add_up() -> None:
    reports = Reports(references(2))
    take(reports, [uid(1)])
    take(reports, [], [(uid(2), 0x0112)])
    assert not reports.is_open
    assert reports.received == 2


def test_a_failure_without_a_reason() -> None:
    reports = Reports(references(1))
    (transaction,) = reports.transactions
    failed = [{"ReferencedSOPInstanceUID": uid(1)}]
    report = DataSet.from_keywords({"TransactionUID": transaction.uid, "FailedSOPSequence": failed})
    reports.take(report.to_bytes(ENCODING), ENCODING)
    assert reports.result().failed == (NotCommitted(uid(1), None),)
    assert NotCommitted(uid(1), None).meaning == "the peer gives no reason"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (information("1.2.999", [uid(1)]).to_bytes(ENCODING), 0x0110),
        (b"", 0x0110),
        (None, 0x0110),
        (b"\x08\x00\x95\x11\xff\x00\x00\x00", 0x0115),
    ],
)
def test_what_is_none_of_our_reports_is_refused(data: bytes | None, status: int) -> None:
    reports = Reports(references(1))
    assert reports.take(data, ENCODING) == status
    assert reports.result().missing == (uid(1),)


# Over the network --------------------------------------------------------------------------


def listener(reports: Reports, *, allowed: bool = True) -> ReportListener:
    return ReportListener(reports, "127.0.0.1", 0, allowed=lambda aet, host: allowed)


def run(
    scp: CommitScp, reports: Reports, *, timeout: float = 10.0, listening: bool = False
) -> tuple[CommitmentResult, Exception | None]:
    with Client(scp.address, timeouts=Timeouts(5, 5, 5, 1)) as client:
        commit = client.commit(reports, timeout=timeout, listening=listening)
        return commit.run(), commit.error


def test_the_report_comes_over_our_own_association() -> None:
    with CommitScp(lambda one: 0x0112 if one == uid(2) else 0) as scp:
        result, error = run(scp, Reports(references(3)))
    assert error is None
    assert result.committed == (uid(1), uid(3))
    assert result.failed == (NotCommitted(uid(2), 0x0112),)
    assert scp.transactions == {result.transaction_uids[0]: [uid(1), uid(2), uid(3)]}
    assert scp.answers == [0]


def test_the_report_comes_over_an_association_of_the_peer() -> None:
    reports = Reports(references(3))
    with listener(reports) as listening, CommitScp(to=listening.port) as scp:
        result, error = run(scp, reports, listening=True)
    assert error is None
    assert result.committed == (uid(1), uid(2), uid(3))
    assert scp.answers == [0]


@pytest.mark.parametrize("to_us", [True, False])
def test_several_transactions(to_us: bool) -> None:
    reports = Reports(references(25), per_transaction=10)
    with listener(reports) as listening, CommitScp(to=None if to_us else listening.port) as scp:
        result, error = run(scp, reports, listening=True)
    assert error is None
    assert len(result.committed) == 25
    assert len(scp.transactions) == len(scp.answers) == 3


def test_a_peer_that_reports_a_part_and_no_more() -> None:
    with CommitScp(lambda one: 0 if one == uid(1) else None) as scp:
        result, error = run(scp, Reports(references(3)), timeout=SHORT)
    assert error is None
    assert (result.committed, result.missing) == ((uid(1),), (uid(2), uid(3)))


def test_a_peer_that_never_reports() -> None:
    with CommitScp(lambda one: None) as scp:
        result, error = run(scp, Reports(references(2)), timeout=SHORT)
    assert error is None
    assert result.missing == (uid(1), uid(2))


def test_a_peer_that_refuses_the_request() -> None:
    with CommitScp(status=0x0213) as scp:
        result, error = run(scp, Reports(references(25), per_transaction=10))
    assert isinstance(error, StatusError)
    assert "refused storage commitment with status 0213H: resource limitation" in error.message
    assert len(result.missing) == 25
    assert len(scp.transactions) == 1


def test_a_peer_that_does_not_offer_it() -> None:
    with (
        CommitScp(refuse=[COMMITMENT]) as scp,
        Client(scp.address) as client,
        pytest.raises(NoPresentationContextError, match="but not Storage Commitment") as caught,
    ):
        client.commit(Reports(references(1)))
    assert "model" not in caught.value.hint


class ClosesAfter(CommitScp):
    """Answers the N-ACTION and closes, to report elsewhere or not at all."""

    def _commit(self, association, received):  # type: ignore[no-untyped-def]
        super()._commit(association, received)
        association.close()


def test_the_end_of_our_association_is_the_end_if_nobody_listens() -> None:
    with ClosesAfter(lambda one: None) as scp:
        result, error = run(scp, Reports(references(1)))
    assert isinstance(error, ConnectionLostError)
    assert result.missing == (uid(1),)


def test_the_end_of_our_association_is_no_end_if_somebody_listens() -> None:
    reports = Reports(references(1))
    with listener(reports) as listening, ClosesAfter(to=listening.port) as scp:
        result, error = run(scp, reports, listening=True)
    assert error is None
    assert result.committed == (uid(1),)


def test_the_wait_can_be_stopped() -> None:
    class Stops(CommitScp):
        def _commit(self, association, received):  # type: ignore[no-untyped-def]
            super()._commit(association, received)
            commit.stop()

    with Stops(lambda one: None) as scp, Client(scp.address) as client:
        commit = client.commit(Reports(references(2)))
        result = commit.run()
    assert isinstance(commit.error, CancelledError)
    assert result.missing == (uid(1), uid(2))


# Our listener ------------------------------------------------------------------------------


@pytest.fixture
def closed() -> Iterator[ReportListener]:
    with listener(Reports(references(1)), allowed=False) as listening:
        yield listening


def test_who_is_not_allowed_is_rejected(closed: ReportListener) -> None:
    with Client(f"PYPX@127.0.0.1:{closed.port}") as client, pytest.raises(AssociationRejectedError):
        client.echo()


def test_a_listener_for_reports_answers_echo_and_takes_no_images() -> None:
    with (
        listener(Reports(references(1))) as listening,
        Client(f"PYPX@127.0.0.1:{listening.port}") as client,
    ):
        client.echo()
        assert client.connect([(CT_IMAGE, ("1.2.840.10008.1.2",))]).contexts == {}
