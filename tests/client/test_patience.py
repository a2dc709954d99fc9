"""When a C-MOVE or C-GET is given up; the time is a number."""

from __future__ import annotations

import pytest

from pypx.address import Address
from pypx.client.patience import Patience
from pypx.errors import CancelledError, PeerTimeoutError
from pypx.net.connection import Timeouts

PEER = Address("PACS", "host", 104)
START = 1000.0


@pytest.fixture
def patience() -> Patience:
    return Patience(PEER, "C-MOVE", Timeouts(response=60, release=5), START, hint="Ask it.")


def test_silence(patience: Patience) -> None:
    patience.check_silence(START + 60, 0.0)
    patience.check_silence(START + 110, START + 50)
    with pytest.raises(PeerTimeoutError) as caught:
        patience.check_silence(START + 110.1, START + 50)
    assert caught.value.message == f"{PEER} was silent for 60 s in the middle of a C-MOVE."
    assert caught.value.phase == "response"
    assert "--timeout" in caught.value.hint
    assert caught.value.hint.endswith("Ask it.")


def test_while_we_keep_an_object_the_peer_waits_for_us(patience: Patience) -> None:
    patience.advanced(START + 100)
    patience.check_silence(START + 160, START + 1)
    patience.check_pending(START + 160, changed=False)
    with pytest.raises(PeerTimeoutError):
        patience.check_silence(START + 160.1, START + 1)


def test_pending_for_ever(patience: Patience) -> None:
    for second in range(1, 61):
        patience.check_pending(START + second, changed=False)
    with pytest.raises(PeerTimeoutError) as caught:
        patience.check_pending(START + 61, changed=False)
    said = f"{PEER} said for 60 s that the C-MOVE is pending, and sent nothing."
    assert caught.value.message == said
    assert "--timeout" in caught.value.hint


@pytest.mark.parametrize(("changed", "arrived"), [(True, 0.0), (False, START + 300)])
def test_progress_begins_the_time_anew(patience: Patience, changed: bool, arrived: float) -> None:
    patience.check_pending(START + 300, changed=changed, arrived=arrived)
    patience.check_pending(START + 360, changed=False)
    with pytest.raises(PeerTimeoutError):
        patience.check_pending(START + 361, changed=False)


def test_a_gap_between_two_numbers_may_be_as_long_as_a_silence(patience: Patience) -> None:
    patience.check_pending(START + 50, changed=False)
    patience.check_silence(START + 109, START + 50)
    patience.check_pending(START + 109, changed=True)


def test_a_cancel_is_due_once(patience: Patience) -> None:
    assert not patience.is_cancel_due(START)
    patience.cancel()
    assert patience.is_cancel_due(START)
    patience.cancel()
    assert not patience.is_cancel_due(START)


def test_without_a_cancel_none_is_missed(patience: Patience) -> None:
    patience.check_cancelled(START + 1e6, START)
    patience.cancel()
    patience.check_cancelled(START + 1e6, START)  # not sent yet


@pytest.mark.parametrize("last_read", [0.0, START + 5, START + 5.1])
def test_a_peer_that_talks_on_is_not_excused(patience: Patience, last_read: float) -> None:
    patience.cancel()
    assert patience.is_cancel_due(START)
    patience.check_cancelled(START + 5, last_read)
    with pytest.raises(CancelledError, match="did not heed the C-CANCEL within 5 s"):
        patience.check_cancelled(START + 5.1, last_read)


def test_an_object_that_is_under_way_may_be_ended(patience: Patience) -> None:
    patience.cancel()
    assert patience.is_cancel_due(START, in_object=True)
    patience.check_cancelled(START + 20, START + 15)
    patience.object_ended(START + 20)
    patience.check_cancelled(START + 25, START + 25)
    with pytest.raises(CancelledError):
        patience.check_cancelled(START + 25.1, START + 25)


def test_only_that_object(patience: Patience) -> None:
    patience.cancel()
    assert patience.is_cancel_due(START, in_object=True)
    patience.object_ended(START + 1)
    patience.object_ended(START + 4)  # the next one
    with pytest.raises(CancelledError):
        patience.check_cancelled(START + 6.1, START + 6)


def test_an_object_that_stops_in_the_middle_is_no_excuse(patience: Patience) -> None:
    patience.cancel()
    assert patience.is_cancel_due(START, in_object=True)
    with pytest.raises(CancelledError):
        patience.check_cancelled(START + 8.1, START + 3)
