"""PDUs as bytes and as values, written down by hand from the tables of PS3.8 §9.3.

No byte of a vector comes from the encoder under test: lengths are counted. Each of
``VECTORS`` holds in both directions; ``DECODED`` holds for decoding only, since we
would not send such bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pypx.ul.pdu import (
    PDU,
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)
from pypx.ul.user_information import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)


@dataclass(frozen=True)
class Vector:
    name: str
    octets: bytes
    pdu: PDU

    def __str__(self) -> str:
        return self.name


def octets(*parts: str | bytes) -> bytes:
    """Join hex digits (str) and characters (bytes)."""
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


VERIFICATION = "1.2.840.10008.1.1"  # 17 characters
IMPLICIT = "1.2.840.10008.1.2"  # 17
EXPLICIT = "1.2.840.10008.1.2.1"  # 19
CT = "1.2.840.10008.5.1.4.1.1.2"  # 25
STORAGE_SERVICE = "1.2.840.10008.4.2"  # 17

APPLICATION_CONTEXT_ITEM = octets("10 00 0015", b"1.2.840.10008.3.1.1.1")  # 25 bytes
FIXED_ECHO = octets(  # Table 9-11, bytes 7 to 74: 68 bytes
    "0001 0000", b"ANY-SCP         ", b"ECHOSCU         ", "00" * 32
)
ECHO_CONTEXT = octets(  # 50 bytes
    *("20 00 002E", "01 00 00 00"),
    *("30 00 0011", b"1.2.840.10008.1.1"),
    *("40 00 0011", b"1.2.840.10008.1.2"),
)
USER_INFORMATION = octets(  # 41 bytes
    "50 00 0025",
    "51 00 0004 00004000",
    *("52 00 000D", b"1.2.3.4.5.6.7"),
    *("55 00 0008", b"TEST_1.0"),
)
INFORMATION = UserInformation(16384, "1.2.3.4.5.6.7", "TEST_1.0")
ECHO_RQ = AAssociateRQ(
    "ANY-SCP", "ECHOSCU", (PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),), INFORMATION
)

# 68 + 25 + 50 + 41 = 184 = B8H
ECHO_RQ_OCTETS = (
    octets("01 00 000000B8")
    + FIXED_ECHO
    + APPLICATION_CONTEXT_ITEM
    + ECHO_CONTEXT
    + USER_INFORMATION
)

RARE_SUB_ITEMS = octets(
    # Asynchronous operations window, PS3.7 Table D.3-7: 8 bytes
    "53 00 0004 0003 0005",
    # Role selection, Table D.3-9: SCU no, SCP yes: 4 + 2 + 25 + 2 = 33
    *("54 00 001D 0019", b"1.2.840.10008.5.1.4.1.1.2", "00 01"),
    # Extended negotiation, Table D.3-11: 4 + 2 + 25 + 6 = 37
    *("56 00 0021 0019", b"1.2.840.10008.5.1.4.1.1.2", "02 00 01 00 00 00"),
    # Common extended negotiation, Table D.3-12, sub-item version 0: value
    # 2 + 25 + 2 + 17 + 2 + (2 + 3 + 2 + 5) = 60 = 3CH; 64 with its header
    *("57 00 003C 0019", b"1.2.840.10008.5.1.4.1.1.2"),
    *("0011", b"1.2.840.10008.4.2", "000C", "0003", b"1.2", "0005", b"1.2.3"),
    # User identity, Table D.3-14: value 1 + 1 + 2 + 4 + 2 + 6 = 16; 20 with its header
    *("58 00 0010 02 01 0004", b"user", "0006", b"secret"),
)  # 8 + 33 + 37 + 64 + 20 = 162

FULL_INFORMATION = UserInformation(
    maximum_length=0,
    implementation_class_uid="1.2.3",
    implementation_version_name="",
    asynchronous_operations_window=AsynchronousOperationsWindow(3, 5),
    role_selections=(RoleSelection(CT, False, True),),
    extended_negotiations=(SOPClassExtendedNegotiation(CT, b"\2\0\1\0\0\0"),),
    common_extended_negotiations=(
        SOPClassCommonExtendedNegotiation(CT, STORAGE_SERVICE, ("1.2", "1.2.3")),
    ),
    user_identity=UserIdentityRQ(2, b"user", b"secret", True),
)

VECTORS = [
    Vector("A-ASSOCIATE-RQ", ECHO_RQ_OCTETS, ECHO_RQ),
    Vector(
        "A-ASSOCIATE-RQ with all user information and three contexts",
        # 68 + 25 + 81 + 58 + 32 + (4 + 8 + 9 + 162) = 447 = 1BFH
        octets(
            *("01 00 000001BF", "0001 0000", b"SIXTEEN CHARS OK", b"A               ", "00" * 32),
            APPLICATION_CONTEXT_ITEM,
            # 4 + 29 + 21 + 23 = 77 = 4DH; 81 with its header
            *("20 00 004D", "01 00 00 00", "30 00 0019", b"1.2.840.10008.5.1.4.1.1.2"),
            *("40 00 0011", b"1.2.840.10008.1.2", "40 00 0013", b"1.2.840.10008.1.2.1"),
            # 4 + 29 + 21 = 54 = 36H; 58
            *("20 00 0036", "03 00 00 00", "30 00 0019", b"1.2.840.10008.5.1.4.1.1.2"),
            *("40 00 0011", b"1.2.840.10008.1.2"),
            # 4 + 9 + 15 = 28 = 1CH; 32
            *("20 00 001C", "FF 00 00 00", "30 00 0005", b"1.2.3", "40 00 000B", b"1.2.3.4.5.6"),
            # 8 + 9 + 162 = 179 = B3H
            *("50 00 00B3", "51 00 0004 00000000", "52 00 0005", b"1.2.3"),
            RARE_SUB_ITEMS,
        ),
        AAssociateRQ(
            "SIXTEEN CHARS OK",
            "A",
            (
                PresentationContextRQ(1, CT, (IMPLICIT, EXPLICIT)),
                PresentationContextRQ(3, CT, (IMPLICIT,)),
                PresentationContextRQ(255, "1.2.3", ("1.2.3.4.5.6",)),
            ),
            FULL_INFORMATION,
        ),
    ),
    Vector(
        "A-ASSOCIATE-AC",
        # 68 + 25 + 29 + 29 + 41 = 192 = C0H
        octets(
            "02 00 000000C0",
            FIXED_ECHO,
            APPLICATION_CONTEXT_ITEM,
            *("21 00 0019", "01 00 00 00", "40 00 0011", b"1.2.840.10008.1.2"),
            *("21 00 0019", "03 00 04 00", "40 00 0011", b"1.2.840.10008.1.2"),
            USER_INFORMATION,
        ),
        AAssociateAC(
            "ANY-SCP",
            "ECHOSCU",
            (PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 4, IMPLICIT)),
            INFORMATION,
        ),
    ),
    Vector(
        "A-ASSOCIATE-AC with a server response",
        # 68 + 25 + 29 + 4 + 8 + 9 = 143 = 8FH
        octets(
            "02 00 0000008F",
            FIXED_ECHO,
            APPLICATION_CONTEXT_ITEM,
            *("21 00 0019", "01 00 00 00", "40 00 0011", b"1.2.840.10008.1.2"),
            *("50 00 0011", "51 00 0004 00100000", "59 00 0005 0003", b"tok"),
        ),
        AAssociateAC(
            "ANY-SCP",
            "ECHOSCU",
            (PresentationContextAC(1, 0, IMPLICIT),),
            UserInformation(0x100000, user_identity=UserIdentityAC(b"tok")),
        ),
    ),
    Vector("A-ASSOCIATE-RJ", octets("03 00 00000004 00 02 03 01"), AAssociateRJ(2, 3, 1)),
    Vector(
        "P-DATA-TF",
        octets("04 00 00000008 00000004 01 03 ABCD"),
        PDataTF((PDV(1, True, True, b"\xab\xcd"),)),
    ),
    Vector(
        "P-DATA-TF with four PDVs, one of them empty",
        octets(
            "04 00 00000020",
            "00000004 05 01 0001",
            "00000002 05 03",
            "00000006 05 00 00020003",
            "00000004 05 02 0004",
        ),
        PDataTF(
            (
                PDV(5, True, False, b"\0\1"),
                PDV(5, True, True, b""),
                PDV(5, False, False, b"\0\2\0\3"),
                PDV(5, False, True, b"\0\4"),
            )
        ),
    ),
    Vector("A-RELEASE-RQ", octets("05 00 00000004 00000000"), AReleaseRQ()),
    Vector("A-RELEASE-RP", octets("06 00 00000004 00000000"), AReleaseRP()),
    Vector("A-ABORT by the user", octets("07 00 00000004 00 00 00 00"), AAbort(0, 0)),
    Vector("A-ABORT by the provider", octets("07 00 00000004 00 00 02 06"), AAbort(2, 6)),
]

DECODED = [
    Vector(
        "all reserved fields set, two version bits, titles padded on both sides",
        octets(
            *("01 FF 000000B8", "0003 FFFF", b"\0 ANY-SCP   \0\0\0\0", b"  ECHOSCU \0\0\0\0\0\0"),
            "FF" * 32,
            *("10 FF 0015", b"1.2.840.10008.3.1.1.1"),
            *("20 FF 002E", "01 FF FF FF"),
            *("30 FF 0011", b"1.2.840.10008.1.1"),
            *("40 FF 0011", b"1.2.840.10008.1.2"),
            *("50 FF 0025", "51 FF 0004 00004000"),
            *("52 FF 000D", b"1.2.3.4.5.6.7", "55 FF 0008", b"TEST_1.0"),
        ),
        AAssociateRQ(
            "ANY-SCP",
            "ECHOSCU",
            (PresentationContextRQ(1, VERIFICATION, (IMPLICIT,)),),
            INFORMATION,
            protocol_version=3,
        ),
    ),
    Vector(
        "UIDs padded with NUL, unknown items at every level, nothing mandatory but bytes",
        # 68 + 26 + 8 + 51 + 4 + 7 + 4 + 9 + 8 = 185 = B9H
        octets(
            "01 00 000000B9",
            FIXED_ECHO,
            *("10 00 0016", b"1.2.840.10008.3.1.1.1", "00"),
            "99 00 0004 DEADBEEF",
            # 4 + 22 + 4 + 17 = 47
            *("20 00 002F", "07 00 00 00", "30 00 0012", b"1.2.840.10008.1.1", "00"),
            *("77 00 0000", "40 00 000D", b"1.2.840.10008"),
            *("11 00 0000", "21 00 0003", "010203"),
            *("50 00 0011", "5F 00 0005 0102030405", "51 00 0004 00000007"),
        ),
        AAssociateRQ(
            "ANY-SCP",
            "ECHOSCU",
            (PresentationContextRQ(7, VERIFICATION, ("1.2.840.10008",)),),
            UserInformation(7),
        ),
    ),
    Vector(
        "nothing but the fixed fields, with titles of hostile bytes",
        octets(
            "01 00 00000044",
            "0001 0000",
            b"../secret/VICTIM",
            b"\x1b[2J\xff\n'; rm -rf.",
            "00" * 32,
        ),
        AAssociateRQ("../secret/VICTIM", "\x1b[2J\xff\n'; rm -rf.", (), UserInformation(16384), ""),
    ),
    Vector(
        "an A-ASSOCIATE-AC that rejects without a transfer syntax",
        # 68 + 8
        octets("02 00 0000004C", FIXED_ECHO, "21 00 0004 01 00 03 00"),
        AAssociateAC(
            "ANY-SCP", "ECHOSCU", (PresentationContextAC(1, 3, ""),), UserInformation(16384), ""
        ),
    ),
    Vector(
        "an A-ASSOCIATE-RJ with codes that no table has",
        octets("03 FF 00000004 FF 09 08 07"),
        AAssociateRJ(9, 8, 7),
    ),
    Vector(
        "a P-DATA-TF with the reserved bits of its control header set",
        octets("04 FF 00000006 00000002 01 FE"),
        PDataTF((PDV(1, False, True, b""),)),
    ),
    Vector("an A-RELEASE-RQ with reserved bytes", octets("05 FF 00000004 FFFFFFFF"), AReleaseRQ()),
    Vector("an A-ABORT with reserved bytes", octets("07 FF 00000004 FF FF 01 03"), AAbort(1, 3)),
]
