from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.errors import LocalProtocolError, RemoteProtocolError
from pypx.ul.codec import decode_pdu, encode_p_data_header, encode_pdu
from pypx.ul.pdu import (
    PDV,
    AAbort,
    AAssociateRJ,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)
from pypx.ul.user_information import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from pypx.values import replace
from tests.ul.strategies import pdus
from tests.ul.vectors import DECODED, ECHO_RQ, FIXED_ECHO, VECTORS, Vector, octets


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_encode(vector: Vector) -> None:
    assert encode_pdu(vector.pdu) == vector.octets


@pytest.mark.parametrize("vector", VECTORS + DECODED, ids=str)
def test_decode(vector: Vector) -> None:
    assert int.from_bytes(vector.octets[2:6]) == len(vector.octets) - 6, "the vector is wrong"
    assert decode_pdu(vector.octets[0], vector.octets[6:]) == vector.pdu


@given(pdus)
def test_decode_is_the_inverse_of_encode(pdu) -> None:
    encoded = encode_pdu(pdu)
    assert int.from_bytes(encoded[2:6]) == len(encoded) - 6
    assert decode_pdu(encoded[0], encoded[6:]) == pdu


@given(st.integers(0, 255), st.binary(max_size=300))
def test_any_body_is_a_pdu_or_an_error_of_the_peer(pdu_type: int, body: bytes) -> None:
    try:
        decode_pdu(pdu_type, body)
    except RemoteProtocolError as error:
        assert error.abort_reason in (1, 6)
        assert error.message.endswith(".")


@given(st.sampled_from(VECTORS[:4]), st.data())
def test_any_change_of_a_good_pdu_is_a_pdu_or_an_error_of_the_peer(vector, data) -> None:
    body = bytearray(vector.octets[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    try:
        decode_pdu(vector.octets[0], bytes(body))
    except RemoteProtocolError as error:
        assert error.abort_reason == 6


@pytest.mark.parametrize("vector", VECTORS[:4], ids=str)
def test_no_prefix_of_an_associate_pdu_that_cuts_an_item_is_accepted(vector: Vector) -> None:
    body = vector.octets[6:]
    # The fixed fields, and what ends with a whole top-level item.
    whole = {68}
    position = 68
    while position < len(body):
        position += 4 + int.from_bytes(body[position + 2 : position + 4])
        whole.add(position)
    for size in range(len(body)):
        if size in whole:
            decode_pdu(vector.octets[0], body[:size])
        else:
            with pytest.raises(RemoteProtocolError):
                decode_pdu(vector.octets[0], body[:size])


def context(*sub_items: str | bytes) -> bytes:
    value = octets("01 00 00 00", *sub_items)
    return octets("20 00") + len(value).to_bytes(2) + value


def user_information(*sub_items: str | bytes) -> bytes:
    value = octets(*sub_items)
    return octets("50 00") + len(value).to_bytes(2) + value


MALFORMED_ITEMS = {
    "an item beyond its PDU": octets("10 00 0016", b"1.2.840.10008.3.1.1.1"),
    "a header of three bytes": octets("10 00 00"),
    "two application contexts": octets("10 00 0001 31 10 00 0001 31"),
    "two user informations": octets("50 00 0000 50 00 0000"),
    "a context of three bytes": octets("20 00 0003 01 00 00"),
    "a sub-item beyond its context": context("30 00 0004", b"1.2"),
    "two abstract syntaxes": context("30 00 0001 31 30 00 0001 32"),
    "a sub-item beyond the user information": user_information("52 00 0004", b"1.2"),
    "a maximum length of 2 bytes": user_information("51 00 0002 4000"),
    "a maximum length of 8 bytes": user_information("51 00 0008 0000000000004000"),
    "a window of 3 bytes": user_information("53 00 0003 000100"),
    "a role selection with one role": user_information("54 00 0006 0003", b"1.2", "01"),
    "a role selection with three roles": user_information("54 00 0008 0003", b"1.2", "010101"),
    "a role selection with a UID beyond it": user_information("54 00 0005 0004", b"1.2"),
    "a role selection of one byte": user_information("54 00 0001 00"),
    "an extended negotiation without UID": user_information("56 00 0000"),
    "a common negotiation without service class": user_information("57 00 0005 0003", b"1.2"),
    "a related class beyond its field": user_information(
        "57 00 000F 0003", b"1.2", "0003", b"1.2", "0003 0002 31"
    ),
    "a user identity of one byte": user_information("58 00 0001 01"),
    "a user identity without secondary length": user_information("58 00 0005 01 00 0001", b"u"),
    "a primary field beyond the identity": user_information("58 00 0005 01 00 0002", b"u"),
    "a server response beyond its item": user_information("59 00 0003 0002", b"u"),
}


@pytest.mark.parametrize("items", MALFORMED_ITEMS.values(), ids=MALFORMED_ITEMS)
def test_malformed_items(items: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pdu(1, FIXED_ECHO + items)
    assert caught.value.abort_reason == 6


MALFORMED_BODIES = {
    "A-ASSOCIATE-RQ without its fixed fields": (1, FIXED_ECHO[:-1]),
    "A-ASSOCIATE-AC without its fixed fields": (2, b""),
    "an accepted context with two transfer syntaxes": (
        2,
        FIXED_ECHO + octets("21 00 000E 01 00 00 00 40 00 0001 31 40 00 0001 32"),
    ),
    "A-ASSOCIATE-RJ of 3 bytes": (3, bytes(3)),
    "A-RELEASE-RQ of 5 bytes": (5, bytes(5)),
    "A-RELEASE-RP of 0 bytes": (6, b""),
    "A-ABORT of 3 bytes": (7, bytes(3)),
    "P-DATA-TF without PDV": (4, b""),
    "P-DATA-TF with a PDV of length 0": (4, octets("00000000 0103")),
    "P-DATA-TF with a PDV of length 1": (4, octets("00000001 0103")),
    "P-DATA-TF with a PDV beyond it": (4, octets("00000003 0103")),
    "P-DATA-TF with a PDV of 4 GiB": (4, octets("FFFFFFFF 0103")),
    "P-DATA-TF with 5 bytes left": (4, octets("00000002 0103 0000000201")),
}


@pytest.mark.parametrize(("pdu_type", "body"), MALFORMED_BODIES.values(), ids=MALFORMED_BODIES)
def test_malformed_bodies(pdu_type: int, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pdu(pdu_type, body)
    assert caught.value.abort_reason == 6


@pytest.mark.parametrize("pdu_type", [0, 8, 0x41, 0xFF])
def test_unknown_type(pdu_type: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pdu(pdu_type, bytes(4))
    assert caught.value.abort_reason == 1


UNENCODABLE = {
    "an AE title of 17 characters": replace(ECHO_RQ, called_ae_title="A" * 17),
    "an AE title beyond one byte": replace(ECHO_RQ, calling_ae_title="Ā"),
    "a UID beyond one byte": replace(ECHO_RQ, application_context="1.2.Ā"),
    "a context ID of 256": replace(
        ECHO_RQ, presentation_contexts=(PresentationContextRQ(256, "1", ("1",)),)
    ),
    "a context item of more than 65535 bytes": replace(
        ECHO_RQ, presentation_contexts=(PresentationContextRQ(1, "1", ("1" * 60,) * 1100),)
    ),
    "a UID of more than 65535 characters": replace(
        ECHO_RQ, presentation_contexts=(PresentationContextRQ(1, "1" * 65536, ()),)
    ),
    "a protocol version of 65536": replace(ECHO_RQ, protocol_version=65536),
    "a maximum length of 4 GiB": replace(ECHO_RQ, user_information=UserInformation(1 << 32)),
    "a negative maximum length": replace(ECHO_RQ, user_information=UserInformation(-1)),
    "a window of 65536": replace(
        ECHO_RQ,
        user_information=UserInformation(
            asynchronous_operations_window=AsynchronousOperationsWindow(65536, 1)
        ),
    ),
    "a password of more than 65535 bytes": replace(
        ECHO_RQ,
        user_information=UserInformation(user_identity=UserIdentityRQ(2, b"u", bytes(65536))),
    ),
    "application information of more than 65535 bytes": replace(
        ECHO_RQ,
        user_information=UserInformation(
            extended_negotiations=(SOPClassExtendedNegotiation("1.2", bytes(65535)),)
        ),
    ),
    "user information of more than 65535 bytes": replace(
        ECHO_RQ,
        user_information=UserInformation(
            role_selections=(RoleSelection("1.2", True, True),) * 7000
        ),
    ),
    "a reason of 256": AAbort(0, 256),
    "a negative result": AAssociateRJ(-1, 0, 0),
    "a PDV in context -1": PDataTF((PDV(-1, True, True, b""),)),
}


@pytest.mark.parametrize("pdu", UNENCODABLE.values(), ids=UNENCODABLE)
def test_what_does_not_fit_is_not_sent(pdu) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode_pdu(pdu)
    assert caught.value.message.endswith(".")


def test_p_data_header() -> None:
    assert encode_p_data_header(1, True, True, 2) == octets("04 00 00000008 00000004 01 03")
    assert encode_p_data_header(255, False, True, 0) == octets("04 00 00000006 00000002 FF 02")
    assert encode_p_data_header(3, True, False, 70000) == octets("04 00 00011176 00011172 03 01")
    assert encode_p_data_header(3, False, False, 0xFFFFFFF9) == octets(
        "04 00 FFFFFFFF FFFFFFFB 03 00"
    )


@pytest.mark.parametrize(
    ("context_id", "size"), [(0, 1), (2, 1), (257, 1), (-1, 1), (1, 0xFFFFFFFA), (1, -9)]
)
def test_p_data_header_of_nothing_that_can_be_sent(context_id: int, size: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_p_data_header(context_id, True, True, size)


def test_a_flood_of_items_is_decoded_or_refused_fast() -> None:
    floods = [
        octets("99 00 0000") * 100_000,
        octets("20 00 0004 01 00 00 00") * 100_000,
        octets("10 00 0000") * 100_000,
        (octets("20 00 FFFC 01 00 00 00") + octets("40 00 0000") * 16382) * 15,
        user_information("99 00 FFF8", bytes(0xFFF8)),
    ]
    for flood in floods:
        began = time.process_time()
        try:
            decode_pdu(1, FIXED_ECHO + flood)
        except RemoteProtocolError as error:
            assert error.abort_reason == 6
        assert time.process_time() - began < 0.5


def test_three_hundred_contexts_are_decoded_to_be_refused_with_a_reason() -> None:
    pdu = decode_pdu(1, FIXED_ECHO + octets("20 00 0004 01 00 00 00") * 300)
    assert len(pdu.presentation_contexts) == 300


def test_more_contexts_than_any_mistake_explains_are_not_decoded() -> None:
    decode_pdu(1, FIXED_ECHO + octets("20 00 0004 01 00 00 00") * 1024)
    with pytest.raises(RemoteProtocolError):
        decode_pdu(1, FIXED_ECHO + octets("20 00 0004 01 00 00 00") * 1025)


def test_the_transfer_syntaxes_of_a_rejected_context_are_not_tested() -> None:
    pdu = decode_pdu(2, FIXED_ECHO + octets("21 00 000E 01 00 03 00 40 00 0001 31 40 00 0001 32"))
    assert pdu.presentation_contexts == (PresentationContextAC(1, 3, "1"),)


def test_the_repr_of_an_identity_has_no_credential() -> None:
    shown = repr(
        replace(
            ECHO_RQ,
            user_information=UserInformation(user_identity=UserIdentityRQ(2, b"doe", b"hunter2")),
        )
    )
    assert "doe" in shown
    assert "hunter2" not in shown
    for identity_type in (3, 4, 5, 9):
        assert "token" not in repr(UserIdentityRQ(identity_type, b"token"))
    assert "token" not in repr(UserIdentityAC(b"token"))
