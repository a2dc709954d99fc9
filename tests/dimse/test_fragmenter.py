"""Messages cut for what the peer receives (PS3.8 Annex D, Annex E)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.dimse.fragmenter import SEND_LIMIT, fragment, fragment_size
from pypx.errors import RemoteProtocolError
from pypx.ul.pdu import PDV

SIZES = [
    (0, SEND_LIMIT - 6),  # any length
    (4_294_967_295, SEND_LIMIT - 6),
    (16384, 16378),
    (16383, 16376),  # a fragment has an even length
    (8, 2),
    (9, 2),
]


@pytest.mark.parametrize(("maximum", "size"), SIZES)
def test_a_fragment_fits_and_is_even(maximum: int, size: int) -> None:
    assert fragment_size(maximum) == size


@pytest.mark.parametrize("maximum", range(1, 8))
def test_a_peer_that_takes_nothing_is_an_error_and_not_a_loop(maximum: int) -> None:
    with pytest.raises(RemoteProtocolError):
        fragment_size(maximum)


CUTS = [
    (b"", 4, True, [PDV(1, False, True, b"")]),
    (b"abcd", 4, True, [PDV(1, False, True, b"abcd")]),
    (b"abcde", 4, True, [PDV(1, False, False, b"abcd"), PDV(1, False, True, b"e")]),
    (b"abcd", 4, False, [PDV(1, False, False, b"abcd")]),
]


@pytest.mark.parametrize(("data", "size", "is_last", "pdvs"), CUTS)
def test_only_the_last_fragment_of_all_is_last(
    data: bytes, size: int, is_last: bool, pdvs: list[PDV]
) -> None:
    assert list(fragment(1, False, data, size, is_last=is_last)) == pdvs


@given(st.binary(max_size=100), st.integers(1, 20).map(lambda n: 2 * n))
def test_fragments_are_the_data(data: bytes, size: int) -> None:
    pdvs = list(fragment(3, True, data, size))
    assert b"".join(pdv.data for pdv in pdvs) == data
    assert [pdv.is_last for pdv in pdvs] == [False] * (len(pdvs) - 1) + [True]
    assert all(len(pdv.data) <= size and pdv.is_command for pdv in pdvs)
