"""Command sets against bytes written by hand from PS3.7 §9.3 and Annex E."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.dimse import command
from pypx.dimse.command import decode_command, encode_command
from pypx.dimse.messages import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
    Message,
)
from pypx.dimse.n_services import N_SERVICES
from pypx.errors import RemoteProtocolError


def element(number: int, value: bytes) -> bytes:
    """One element of group 0000, implicit VR little endian."""
    return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


def us(number: int, value: int) -> bytes:
    return element(number, value.to_bytes(2, "little"))


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0x0000, len(body).to_bytes(4, "little")) + body


VERIFICATION = element(0x0002, b"1.2.840.10008.1.1\0")
CT = element(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0")
FIND = element(0x0002, b"1.2.840.10008.5.1.4.1.2.2.1\0")
NO_DATA_SET, DATA_SET = us(0x0800, 0x0101), us(0x0800, 0x0001)

VECTORS: list[tuple[Message, bytes]] = [
    (CEchoRQ(7), command_set(VERIFICATION, us(0x0100, 0x0030), us(0x0110, 7), NO_DATA_SET)),
    (
        CEchoRSP(7, 0),
        command_set(
            VERIFICATION, us(0x0100, 0x8030), us(0x0120, 7), NO_DATA_SET, us(0x0900, 0x0000)
        ),
    ),
    (
        CStoreRQ(
            1,
            "1.2.840.10008.5.1.4.1.1.2",
            "1.2.3",
            move_originator_application_entity_title="PYPX",
            move_originator_message_id=65535,
        ),
        command_set(
            CT,
            us(0x0100, 0x0001),
            us(0x0110, 1),
            us(0x0700, 0),
            DATA_SET,
            element(0x1000, b"1.2.3\0"),
            element(0x1030, b"PYPX"),
            us(0x1031, 65535),
        ),
    ),
    (
        CStoreRSP(
            1,
            0xA700,
            "1.2.840.10008.5.1.4.1.1.2",
            "1.2.3",
            offending_element=(0x0020000D, 0x0020000E),
            error_comment="No room",
        ),
        command_set(
            CT,
            us(0x0100, 0x8001),
            us(0x0120, 1),
            NO_DATA_SET,
            us(0x0900, 0xA700),
            element(0x0901, b"\x20\x00\x0d\x00\x20\x00\x0e\x00"),
            element(0x0902, b"No room "),
            element(0x1000, b"1.2.3\0"),
        ),
    ),
    (
        CFindRQ(2, "1.2.840.10008.5.1.4.1.2.2.1"),
        command_set(FIND, us(0x0100, 0x0020), us(0x0110, 2), us(0x0700, 0), DATA_SET),
    ),
    (
        CFindRSP(2, 0xFF00, has_data_set=True),
        command_set(us(0x0100, 0x8020), us(0x0120, 2), DATA_SET, us(0x0900, 0xFF00)),
    ),
    (
        CMoveRQ(3, "1.2.840.10008.5.1.4.1.2.2.1", "ODD"),
        command_set(
            FIND,
            us(0x0100, 0x0021),
            us(0x0110, 3),
            element(0x0600, b"ODD "),
            us(0x0700, 0),
            DATA_SET,
        ),
    ),
    (
        CMoveRSP(3, 0xFF00, None, 65535, 0, 2, 1),
        command_set(
            us(0x0100, 0x8021),
            us(0x0120, 3),
            NO_DATA_SET,
            us(0x0900, 0xFF00),
            us(0x1020, 65535),
            us(0x1021, 0),
            us(0x1022, 2),
            us(0x1023, 1),
        ),
    ),
    (
        CGetRQ(4, "1.2.840.10008.5.1.4.1.2.2.1", priority=2),
        command_set(FIND, us(0x0100, 0x0010), us(0x0110, 4), us(0x0700, 2), DATA_SET),
    ),
    (
        CGetRSP(4, 0),
        command_set(us(0x0100, 0x8010), us(0x0120, 4), NO_DATA_SET, us(0x0900, 0)),
    ),
    (CCancelRQ(3), command_set(us(0x0100, 0x0FFF), us(0x0120, 3), NO_DATA_SET)),
    *(
        (
            kind(9, **({"status": 0} if field & 0x8000 else {})),
            command_set(
                us(0x0100, field),
                us(0x0120 if field & 0x8000 else 0x0110, 9),
                NO_DATA_SET,
                *([us(0x0900, 0)] if field & 0x8000 else []),
            ),
        )
        for field, kind in sorted(N_SERVICES.items())
    ),
]


@pytest.mark.parametrize(("message", "encoded"), VECTORS, ids=lambda x: type(x).__name__)
def test_a_message_is_its_bytes(message: Message, encoded: bytes) -> None:
    assert encode_command(message) == encoded
    assert decode_command(encoded) == message
    assert type(decode_command(encoded)) is type(message)


def test_none_of_them_needs_the_decoder_of_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(command, "_split_strange")
    assert [decode_command(encoded) for _, encoded in VECTORS] == [one for one, _ in VECTORS]


def test_all_n_services_are_there() -> None:
    assert sorted(N_SERVICES) == sorted(
        base | direction for base in range(0x0100, 0x0151, 0x10) for direction in (0, 0x8000)
    )


ECHO = (VERIFICATION, us(0x0100, 0x0030), us(0x0110, 7), NO_DATA_SET)
TOLERATED = {
    "wrong group length": element(0x0000, b"\1\0\0\0") + b"".join(ECHO),
    "no group length": b"".join(ECHO),
    "an unknown element": command_set(*ECHO, element(0x5010, b"what")),
    "a group length of odd size": element(0x0000, b"\0") + b"".join(ECHO),
    "elements in another order": command_set(*reversed(ECHO)),
    "an empty optional element": command_set(*ECHO, element(0x0902, b"")),
    "an element of another group": command_set(*ECHO) + b"\x08\0\x58\0\2\0\0\x0031",
    "a UID padded with a space": command_set(
        element(0x0002, b"1.2.840.10008.1.1 "), us(0x0100, 0x0030), us(0x0110, 7), NO_DATA_SET
    ),
}


@pytest.mark.parametrize("encoded", TOLERATED.values(), ids=TOLERATED)
def test_what_peers_get_wrong_without_harm_is_tolerated(encoded: bytes) -> None:
    assert decode_command(encoded) == CEchoRQ(7)


REFUSED = {
    "nothing": b"",
    "no command field": command_set(VERIFICATION, us(0x0110, 7), NO_DATA_SET),
    "an empty command field": command_set(
        VERIFICATION, element(0x0100, b""), us(0x0110, 7), NO_DATA_SET
    ),
    "a command field of 1 byte": command_set(element(0x0100, b"\x30"), us(0x0110, 7)),
    "a command field of 100 bytes": command_set(element(0x0100, b"\0" * 100), us(0x0110, 7)),
    "an unknown command field": command_set(us(0x0100, 0xFFFF), us(0x0110, 7), NO_DATA_SET),
    "no message id": command_set(VERIFICATION, us(0x0100, 0x0030), NO_DATA_SET),
    "no SOP instance": command_set(CT, us(0x0100, 0x0001), us(0x0110, 7), DATA_SET),
    "no status": command_set(us(0x0100, 0x8020), us(0x0120, 7), NO_DATA_SET),
    "an element cut short": command_set(*ECHO)[:-1],
    "a header cut short": command_set(*ECHO) + b"\0\0\2",
    "a length of FFFFFFFEH": command_set(*ECHO) + b"\0\0\x02\x09\xfe\xff\xff\xff",
    "explicit VR": b"\0\0\0\0UL\4\0\x10\0\0\0",
}


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED)
def test_what_is_no_command_set_is_a_protocol_error_of_the_peer(encoded: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_command(encoded)
    assert caught.value.abort_reason is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode_command(data)


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
    st.none() | st.tuples(st.integers(0, 0xFFFFFFFF)),
)
def test_what_is_encoded_is_decoded(
    message_id: int, status: int, comment: str, offending: tuple[int, ...] | None
) -> None:
    message = CStoreRSP(
        message_id, status, "1.2", "1.2.3", offending_element=offending, error_comment=comment
    )
    assert decode_command(encode_command(message)) == message


def test_a_comment_outside_ascii_does_not_stop_the_response() -> None:
    encoded = encode_command(CEchoRSP(1, 0x0110, error_comment="voll ünd 満"))
    assert decode_command(encoded) == CEchoRSP(1, 0x0110, error_comment="voll ?nd ?")
