"""Hostile associations, section C of ``docs/reliability.md``: data sets, identity and names."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from pypx.archive.layout import Layout
from pypx.cli.output import cell, visible
from pypx.dicom import uids
from pypx.dicom.part10 import decode_preamble_and_meta
from tests.hostile import (
    ECHO,
    EXPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    Scene,
    context,
    p_data,
    pdv,
    response_elements,
    status_of,
    store_rq,
)
from tests.objects import CT_IMAGE, data_set, keywords
from tests.receiver.test_receiver import stored_data_set

DEFLATED = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
UNDEFINED = 0xFFFFFFFF


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + struct.pack("<HL", 0, size) + value
    return head + struct.pack("<H", size) + value


def with_value(tag: int, vr: str, value: bytes) -> bytes:
    """Give the data set of the tests with other bytes for one element."""
    whole = data_set(1)
    needle = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    start = whole.index(needle)
    (size,) = struct.unpack_from("<H", whole, start + 6)
    return whole[:start] + explicit(tag, vr, value) + whole[start + 8 + size :]


def send(
    scene: Scene,
    data: bytes,
    uid: str | bytes = "1.2.3.4.1",
    *,
    expected: tuple[int, ...] = (0,),
    syntax: str = EXPLICIT,
    check: bool = True,
) -> int:
    """Store an object, then a good one over the same association; give the status of the first."""
    contexts = context(1, CT_IMAGE, syntax) + ECHO + context(5)
    with scene.peer() as peer:
        peer.associate(contexts)
        peer.send(p_data(pdv(1, store_rq(uid))))
        for position in range(0, len(data) or 1, 100_000):
            piece = data[position : position + 100_000]
            peer.send(p_data(pdv(1, piece, command=False, last=position + 100_000 >= len(data))))
        answer = peer.receive()
        status = status_of(answer)
        assert status in expected, hex(status)
        raw = uid if isinstance(uid, bytes) else uid.encode("latin-1")
        assert response_elements(answer)[0x1000].rstrip(b"\0 ") == raw.rstrip(b"\0 ").lstrip(b" ")
        good = data_set(9, SOPInstanceUID="1.2.3.9")
        peer.send(p_data(pdv(5, store_rq("1.2.3.9"))), p_data(pdv(5, good, command=False)))
        assert status_of(peer.receive()) == 0
        scene.note("1.2.3.9", good)
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    for path in scene.archive.root.rglob("*"):
        assert path.resolve().is_relative_to(scene.archive.root.resolve())
        assert not set(path.name) & set("\\\0\n\x1b")
    if status == 0:
        assert data in [stored_data_set(path) for path in scene.tree()]
    if check:
        scene.check()
    return status


HOSTILE_UIDS = [
    "../../x",
    "/etc/x",
    "..\\x",
    ".",
    "..",
    "1.2\0.3",
    "1.2\n.3",
    "\xff",
    "1.2.3/../../x",
    "%2e%2e",
    "1.2\xe2\x88\x95x",
    "1" * 65,
    "1." * 37,
    "1" * 256,
    "01.02.003",
    "1" * 64,
    " 1.2.3 ",
]


def test_c1_c2_uids_that_are_none(scene: Scene) -> None:
    """As they would be in a path, they name nothing outside; they are answered as they came."""
    for uid in HOSTILE_UIDS:
        raw = uid.encode("latin-1")
        raw += b"\0" * (len(raw) % 2)
        data = with_value(0x00080018, "UI", raw)
        send(scene, data, uid, expected=(0, 0xC000), check=False)
    scene.check()


@pytest.mark.parametrize(
    ("study", "series"), [("..", "../.."), (".", "."), ("1.2\\3.4", "1\\2"), ("/", "\0")]
)
def test_c3_folders_of_hostile_uids(scene: Scene, study: str, series: str) -> None:
    data = data_set(1, StudyInstanceUID=study, SeriesInstanceUID=series, PatientID="")
    send(scene, data, expected=(0, 0xC000))


def test_c3_the_probe(scene: Scene) -> None:
    data = data_set(1, StudyInstanceUID="..", SeriesInstanceUID="../..", PatientID="")
    assert send(scene, data) == 0


HOSTILE_TEXTS = [
    b"../../x",
    b"/etc/passwd",
    b"A\0B",
    b"\x1b[2J\x1b[31m",
    "\u202etxt.exe".encode(),
    b"CON",
    b"x" * 10_000,
    b"=cmd|'/c calc'!A1",
    b"<script>alert(1)</script>",
    b"'; DROP TABLE instances; --",
    b"$(touch pwned)`touch pwned`",
    b"\xff\xfe",
    b"trailing.",
]
TAGS = {"PatientName": (0x00100010, "PN"), "PatientID": (0x00100020, "LO")} | {
    "StudyDescription": (0x00081030, "LO"),
    "SeriesNumber": (0x00200011, "IS"),
    "StudyDate": (0x00080020, "DA"),
    "Modality": (0x00080060, "CS"),
}


@pytest.mark.parametrize("keyword", TAGS)
def test_c4_any_text_makes_a_harmless_name(scene: Scene, keyword: str) -> None:
    for value in HOSTILE_TEXTS:
        data = with_value(*TAGS[keyword], value + b" " * (len(value) % 2))
        assert send(scene, data, check=False) == 0
    scene.check()
    for path in scene.tree():
        assert len(str(path)) < 1000 and path.name.isprintable()
        assert all(part not in ("..", ".") for part in path.parts)
    for row in scene.archive.find("image", {}):
        shown = str(row.get(keyword) or "")
        assert visible(shown).isprintable()
        assert not cell(shown).startswith(("=", "+", "-", "@"))


def test_c5_names_that_are_cleaned_to_the_same(scene: Scene) -> None:
    for uid in ("1.2/3", "1.2\\3"):
        data = with_value(0x00080018, "UI", uid.encode() + b"\0")
        send(scene, data, uid, expected=(0,))
    assert len(scene.tree()) >= 3


@pytest.mark.parametrize("depth", [0, 1, 2], ids=["patient", "study", "series"])
def test_c6_a_link_is_not_followed(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory, depth: int
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folder, _ = Layout.parse("pypx").place(keywords())
    parts = folder.split("/")
    link = scene.archive.root.joinpath(*parts[: depth + 1])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, store_rq())), p_data(pdv(1, data_set(1), command=False)))
        assert status_of(peer.receive()) == 0xA700
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("value", [None, b"", b"garbage!"], ids=["absent", "empty", "garbage"])
def test_c7_what_may_be_missing(scene: Scene, value: bytes | None) -> None:
    for keyword, element in TAGS.items():
        data = data_set(1, **{keyword: None}) if value is None else with_value(*element, value)
        assert send(scene, data, check=False) == 0
    scene.check()


BODY = data_set(1, PixelData=None)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (BODY + explicit(0x7FE00010, "OW", b"12", length=0xFFFFFFFE), 0xC000),
        (BODY + explicit(0x7FE00010, "OW", b"12", length=3), 0xC000),
        (BODY + b"".join(explicit(0x00410000 + n, "LO", b"") for n in range(0x1000, 0xFFFF)), 0),
        (explicit(0x00410010, "LO", b"late") + BODY, 0),
        (BODY + explicit(0x00100010, "PN", b"Other^Name"), 0),
    ],
    ids=["4 GiB", "one more", "60,000 private elements", "out of order", "twice"],
)
def test_c8_lengths_and_orders(scene: Scene, data: bytes, status: int) -> None:
    send(scene, data, expected=(status,))


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-15)
    deflated = compressor.compress(data) + compressor.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def test_c9_a_bomb(scene: Scene) -> None:
    """60 MiB of zeros in 60 KB: taken as it came. How far it is looked at has a limit."""
    pixels = explicit(0x7FE00010, "OW", b"", length=60 << 20)
    compressor = zlib.compressobj(9, wbits=-15)
    parts = [compressor.compress(BODY + pixels)]
    parts += [compressor.compress(bytes(1 << 20)) for _ in range(60)]
    bomb = b"".join(parts) + compressor.flush()
    bomb += b"\0" * (len(bomb) % 2)
    assert len(bomb) < 100_000
    assert send(scene, bomb, syntax=DEFLATED) == 0


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (deflate(data_set(1))[:-40], (0xC000,)),
        (b"\xff" * 100, (0xC000,)),
        (deflate(data_set(1)) + b"trailing", (0, 0xC000)),
    ],
    ids=["cut", "no stream", "trailing bytes"],
)
def test_c9_broken_streams(scene: Scene, data: bytes, statuses: tuple[int, ...]) -> None:
    send(scene, data, expected=statuses, syntax=DEFLATED)


OPEN = explicit(0x00091010, "SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", length=UNDEFINED)
CLOSE = bytes.fromhex("feff0de000000000feffdde000000000")


@pytest.mark.parametrize(("depth", "status"), [(63, 0), (64, 0), (65, 0xC000), (60_000, 0xC000)])
def test_c10_sequences_in_sequences(scene: Scene, depth: int, status: int) -> None:
    send(scene, BODY + OPEN * depth + CLOSE * depth, expected=(status,))


ENCAPSULATED = [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.102",
    "1.2.826.0.1.3680043.99.1",
]


@pytest.mark.parametrize("syntax", ENCAPSULATED)
@pytest.mark.parametrize("end", [bytes.fromhex("feffdde000000000"), b""], ids=["whole", "no end"])
def test_c11_compressed_pixels_are_kept_as_they_come(scene: Scene, syntax: str, end: bytes) -> None:
    fragments = bytes.fromhex("feff00e000000000feff00e00400000001020304") + end
    data = BODY + explicit(0x7FE00010, "OB", fragments, length=UNDEFINED)
    assert send(scene, data, syntax=syntax) == 0
    assert any(syntax.encode() in path.read_bytes()[:800] for path in scene.tree())


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00100010, "PN", b"odd"),
        (0x00100010, "PN", b"A\0B^C "),
        (0x00100010, "PN", b"\x1b$BbrokenISO2022"),
        (0x00100010, "PN", b"\xc3\x28"),
        (0x00100020, "SQ", b""),
        (0x00100020, "UN", b"\1\2\3\4"),
        (0x00081030, "OB", b"\0\1\2\3"),
    ],
)
def test_c12_c13_texts_and_vrs_that_are_wrong(
    scene: Scene, tag: int, vr: str, value: bytes
) -> None:
    assert send(scene, with_value(tag, vr, value)) == 0


@pytest.mark.parametrize("group", [0x0000, 0x0002])
def test_c14_groups_that_do_not_belong_there(scene: Scene, group: int) -> None:
    strange = explicit(group << 16 | 0x0010, "UI", b"9.9.9\0")
    send(scene, strange + data_set(1), expected=(0, 0xC000))
    for path in scene.tree():
        meta, _ = decode_preamble_and_meta(path.read_bytes())
        assert "9.9.9" not in (meta.transfer_syntax_uid, meta.sop_instance_uid)
    if group == 2:
        assert len(scene.quarantine()) == 1


def test_c15_dimensions_mean_nothing_here(scene: Scene) -> None:
    numbers = b"".join(
        explicit(tag, "US", b"\xff\xff") for tag in (0x00280010, 0x00280011, 0x00280100, 0x00280102)
    )
    data = BODY + explicit(0x00280008, "IS", b"2147483647") + numbers
    assert send(scene, data) == 0


@pytest.mark.parametrize("cut", [1, 500, 2048 + 5], ids=["a byte", "500 bytes", "in a header"])
def test_c16_truncated(scene: Scene, cut: int) -> None:
    send(scene, data_set(1)[:-cut], expected=(0xC000,))
    assert len(scene.quarantine()) == 1


def test_c18_nothing(scene: Scene) -> None:
    send(scene, b"", expected=(0xC000,))


def test_c19_another_instance_than_announced(scene: Scene) -> None:
    send(scene, data_set(1), "1.2.3.4.77", expected=(0xA900,))
    assert [Path(path).name for path in scene.tree() if "1.2.3.4.77" in path.name] == []
