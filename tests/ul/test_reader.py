from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.errors import RemoteProtocolError
from pypx.ul.codec import encode_pdu
from pypx.ul.pdu import AAbort, AReleaseRQ, PDataTF
from pypx.ul.reader import Limits, PDUHeader, PDUReader, PDVFragment
from tests.ul.strategies import pdus
from tests.ul.vectors import DECODED, ECHO_RQ, ECHO_RQ_OCTETS, VECTORS, Vector, octets

HEADER = PDUHeader.P_DATA_TF
RELEASE = octets("05 00 00000004 00000000")
KiB, MiB = 1024, 1024 * 1024


def read(pieces, *, reader: PDUReader | None = None) -> list:
    """Feed pieces, each in a buffer of its own, and give items that do not depend on the split."""
    reader = reader or PDUReader()
    items = []
    for piece in pieces:
        items += frozen(reader.feed(memoryview(bytearray(piece))))
    return joined(items)


def frozen(items: list) -> list:
    """Replace what is compared by identity, or is a view, by a tuple."""
    result = []
    for item in items:
        match item:
            case PDVFragment(context_id, is_command, is_last, data):
                assert isinstance(data, memoryview)
                result.append((context_id, is_command, is_last, bytes(data)))
            case RemoteProtocolError():
                result.append(("error", item.abort_reason, item.message))
            case _:
                result.append(item)
    return result


def joined(items: list) -> list:
    """Put the fragments of one command set or data set together."""
    result: list = []
    for item in items:
        last = result[-1] if result else None
        if (
            isinstance(item, tuple)
            and isinstance(last, tuple)
            and len(item) == len(last) == 4
            and item[:2] == last[:2]
            and not last[2]
        ):
            result[-1] = (*item[:3], last[3] + item[3])
        else:
            result.append(item)
    return result


def expected(pdu) -> list:
    if not isinstance(pdu, PDataTF):
        return [pdu]
    pdvs = [(p.context_id, p.is_command, p.is_last, bytes(p.data)) for p in pdu.pdvs]
    return [HEADER, *joined(pdvs)]


@pytest.mark.parametrize("vector", VECTORS + DECODED, ids=str)
def test_whole(vector: Vector) -> None:
    assert read([vector.octets]) == expected(vector.pdu)


@pytest.mark.parametrize("vector", VECTORS + DECODED, ids=str)
def test_byte_by_byte(vector: Vector) -> None:
    reader = PDUReader()
    assert not reader.pdu_in_progress
    for octet in vector.octets[:-1]:
        reader.feed(bytes([octet]))
        assert reader.pdu_in_progress
    reader.feed(vector.octets[-1:])
    assert not reader.pdu_in_progress
    pieces = [bytes([octet]) for octet in vector.octets]
    assert read(pieces) == expected(vector.pdu)


@pytest.mark.parametrize("vector", VECTORS + DECODED, ids=str)
def test_split_in_two_at_every_byte(vector: Vector) -> None:
    for at in range(len(vector.octets) + 1):
        assert read([vector.octets[:at], vector.octets[at:]]) == expected(vector.pdu)


@pytest.mark.parametrize("vector", VECTORS + DECODED, ids=str)
def test_with_trailing_bytes(vector: Vector) -> None:
    assert read([vector.octets + RELEASE]) == [*expected(vector.pdu), AReleaseRQ()]
    assert read([vector.octets + RELEASE[:-1]]) == expected(vector.pdu)


def test_fifty_pdus_in_one_segment() -> None:
    stream = b"".join(vector.octets for vector in VECTORS) * 5
    wanted = [item for vector in VECTORS for item in expected(vector.pdu)] * 5
    assert read([stream]) == wanted


@given(st.lists(pdus, min_size=1, max_size=4), st.data())
def test_the_split_changes_nothing(values, data) -> None:
    stream = bytearray(b"".join(map(encode_pdu, values)))
    for _ in range(data.draw(st.integers(0, 2))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    pieces = [stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(stream)])]
    assert read(pieces) == read([stream])
    assert read(bytes([octet]) for octet in stream) == read([stream])


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_any_bytes_give_items(pieces: list[bytes]) -> None:
    items = read(pieces)
    errors = [item for item in items if isinstance(item, tuple) and item[0] == "error"]
    assert errors in ([], items[-1:])


@given(st.binary(max_size=30))
def test_no_bytes_behind_an_error_are_read(tail: bytes) -> None:
    reader = PDUReader()
    assert len(reader.feed(octets("41 00 00000004"))) == 1
    assert reader.feed(tail) == []


class TestFragments:
    """A P-DATA-TF comes out as it comes in."""

    def test_views_of_the_buffer_not_copies(self) -> None:
        buffer = bytearray(octets("04 00 00000008 00000004 01 03 ABCD"))
        _, fragment = PDUReader().feed(memoryview(buffer))
        buffer[-1] = 0xEE
        assert bytes(fragment.data) == b"\xab\xee"

    def test_pieces_come_at_once_and_only_the_final_one_is_last(self) -> None:
        reader = PDUReader()
        assert reader.feed(octets("04 00 0000000A 00000006 01")) == [HEADER]
        assert reader.feed(octets("02")) == []
        assert frozen(reader.feed(b"a")) == [(1, False, False, b"a")]
        assert frozen(reader.feed(b"bc")) == [(1, False, False, b"bc")]
        assert frozen(reader.feed(b"d" + RELEASE)) == [(1, False, True, b"d"), AReleaseRQ()]

    def test_a_pdv_that_is_not_the_last_has_no_last_piece(self) -> None:
        stream = octets("04 00 00000008 00000004 01 00") + b"ab"
        assert read([stream, stream]) == [
            HEADER,
            (1, False, False, b"ab"),
            HEADER,
            (1, False, False, b"ab"),
        ]

    def test_an_empty_last_fragment(self) -> None:
        assert frozen(PDUReader().feed(octets("04 00 00000006 00000002 01 02"))) == [
            HEADER,
            (1, False, True, b""),
        ]

    def test_an_empty_fragment_that_is_not_the_last(self) -> None:
        assert frozen(PDUReader().feed(octets("04 00 00000006 00000002 01 00"))) == [
            HEADER,
            (1, False, False, b""),
        ]

    def test_one_pdv_a_byte(self) -> None:
        pdv = octets("00000003 01 00 AA")
        stream = octets("04 00 00001B58") + pdv * 1000  # 7000 bytes
        assert read([stream]) == [HEADER, (1, False, False, b"\xaa" * 1000)]

    def test_odd_fragments_are_counted(self) -> None:
        reader = PDUReader()
        read([octets("04 00 0000000D 00000003 01 00 AA 00000002 01 02")], reader=reader)
        assert reader.odd == 1


def error_of(stream: bytes, **options) -> RemoteProtocolError:
    items = PDUReader(**options).feed(stream)
    assert isinstance(items[-1], RemoteProtocolError)
    return items[-1]


class TestLimits:
    """RELIABILITY: decided on the 6 bytes of the header, before a byte is held."""

    @pytest.mark.parametrize("length", ["7FFFFFFF", "FFFFFFFF", "00100001"])
    def test_p_data_beyond_the_limit(self, length: str) -> None:
        error = error_of(octets("04 00", length))
        assert error.abort_reason == 6
        assert str(int(length, 16)) in error.message

    def test_p_data_longer_than_announced_is_tolerated_up_to_the_limit_and_counted(self) -> None:
        reader = PDUReader(maximum_length=16 * KiB)
        header = (16 * KiB + 1).to_bytes(4)
        assert reader.feed(octets("04 00") + header) == [HEADER]
        assert reader.oversized == 1

    def test_p_data_as_long_as_announced_is_not_counted(self) -> None:
        reader = PDUReader(maximum_length=16 * KiB)
        reader.feed(octets("04 00 00004000"))
        assert reader.oversized == 0

    def test_a_larger_announcement_is_the_limit(self) -> None:
        assert PDUReader(maximum_length=16 * MiB).feed(octets("04 00 01000000")) == [HEADER]
        assert error_of(octets("04 00 01000001"), maximum_length=16 * MiB).abort_reason == 6

    def test_no_announced_maximum_has_no_limit_and_holds_nothing(self) -> None:
        reader = PDUReader(maximum_length=0)
        assert reader.feed(octets("04 00 FFFFFFFF FFFFFFFB 01 00")) == [HEADER]
        piece = memoryview(bytes(MiB))
        tracemalloc.start()
        for _ in range(64):
            (fragment,) = reader.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 20 * KiB
        tracemalloc.stop()
        assert len(fragment.data) == MiB

    def test_limits_can_be_set(self) -> None:
        limits = Limits(associate=200, p_data=100)
        assert (
            error_of(octets("04 00 00000065"), limits=limits, maximum_length=10).abort_reason == 6
        )
        assert error_of(octets("01 00 000000C9"), limits=limits).abort_reason == 6
        assert PDUReader(limits).feed(ECHO_RQ_OCTETS) == [ECHO_RQ]

    @pytest.mark.parametrize("length", ["00000000", "00000005"])
    def test_p_data_in_which_no_pdv_fits(self, length: str) -> None:
        assert error_of(octets("04 00", length)).abort_reason == 6

    @pytest.mark.parametrize(
        "pdv",
        [
            "00000000 0103",
            "00000001 0103",
            "00000005 0103",  # one more than the P-DATA-TF of 8 bytes has
            "7FFFFFFF 0103",
            "FFFFFFFE 0103",
            "FFFFFFFF 0103",
            "00000003 0103",  # leaves 1 byte
            "00000002 0103",  # leaves 2 bytes
        ],
    )
    def test_pdv_lengths_that_do_not_fit(self, pdv: str) -> None:
        assert error_of(octets("04 00 00000008", pdv)).abort_reason == 6

    @pytest.mark.parametrize("length", [0, 1])
    @pytest.mark.parametrize("room", [6, 8, 100, 0x4000])
    def test_pdvs_without_their_own_header(self, room: int, length: int) -> None:
        stream = octets("04 00") + room.to_bytes(4) + length.to_bytes(4) + octets("0103")
        error = error_of(stream + bytes(room))
        assert error.abort_reason == 6
        assert "2 are the least" in error.message

    @pytest.mark.parametrize("pdu_type", ["01", "02"])
    @pytest.mark.parametrize("length", ["FFFFFFFF", "00100001", "00000043", "00000000"])
    def test_associate_lengths(self, pdu_type: str, length: str) -> None:
        assert error_of(octets(pdu_type, "00", length)).abort_reason == 6

    @pytest.mark.parametrize("pdu_type", ["03", "05", "06", "07"])
    @pytest.mark.parametrize("length", ["00000000", "00000003", "00000005", "FFFFFFFF"])
    def test_lengths_that_are_fixed(self, pdu_type: str, length: str) -> None:
        assert error_of(octets(pdu_type, "00", length)).abort_reason == 6

    def test_nothing_is_allocated_by_a_declared_length(self) -> None:
        reader = PDUReader()
        tracemalloc.start()
        reader.feed(octets("01 00 00100000"))
        reader.feed(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 20 * KiB
        tracemalloc.stop()

    def test_an_associate_pdu_of_1_mib_byte_by_byte_takes_linear_time(self) -> None:
        reader = PDUReader()
        reader.feed(octets("01 00 00100000"))
        piece = bytes(64)
        began = time.process_time()
        items = [item for _ in range(MiB // 64) for item in reader.feed(piece)]
        assert time.process_time() - began < 1
        assert len(items) == 1


STRANGERS = {
    b"GET / HTTP/1.1\r\n": "HTTP",
    b"POST /x HTTP/1.1\r\n": "HTTP",
    b"OPTIONS * HTTP/1.1\r\n": "HTTP",
    b"PRI * HTTP/2.0\r\n": "HTTP",
    b"HTTP/1.1 400 Bad Request\r\n": "HTTP",
    b"SSH-2.0-OpenSSH_9.2\r\n": "SSH",
    octets("16 03 01 0200 01 0001FC"): "TLS handshake",
    octets("15 03 03 0002 02 28"): "expects TLS",
    octets("41 00 00000004 00000000"): "type 41H",
    bytes(10): "type 00H",
    b"\xff" * 10: "type FFH",
}


@pytest.mark.parametrize(("stream", "words"), STRANGERS.items(), ids=STRANGERS.values())
def test_strangers_are_refused_at_the_header(stream: bytes, words: str) -> None:
    error = error_of(stream[:6])
    assert error.abort_reason == 1
    assert words in error.message
    assert frozen([error_of(stream)]) == frozen([error])


def test_what_came_before_an_error_is_not_lost() -> None:
    stream = octets("04 00 00000008 00000004 01 03 ABCD", "07 00 00000004 00000206", "FF" * 6)
    items = read([stream])
    assert items[:3] == [HEADER, (1, True, True, b"\xab\xcd"), AAbort(2, 6)]
    assert items[3][:2] == ("error", 1)
