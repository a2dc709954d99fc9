"""Upstream's trees: the names of both its versions, its functions, and where ours differ."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.archive import Archive
from pypx.archive.attributes import Level
from pypx.archive.layout import LAYOUTS, Layout, safe_uid
from pypx.archive.layout_pypx import sanitised
from pypx.archive.seahash import seahash
from pypx.errors import ConfigError
from tests.archive.helpers import store
from tests.archive.test_layout import SERIES, STUDY, UID, VALUES

TAIL = "%_md5|8_SeriesInstanceUID/%SOPInstanceUID.dcm"


def place(layout: str, **values: str | None) -> str:
    return "/".join(Layout.parse(layout).place({**VALUES, **values}))


def part(template: str, **values: str | None) -> str:
    """Give what one part of a template becomes."""
    return place(f"{template}/{TAIL}", **values).split("/")[0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # of the seahash crate 4, of its Python package, and of VRL
        (b"to be or not to be", 1988685042348123509),
        (b"123", 0xF82594BB29600A9D),
        (b"foobar", 5348458858952426560),
        (b"bar", 2**64 - 2796170501982571315),
        (
            (
                b"This hashing algorithm was extracted from the Rustc compiler. This is the same "
                b"hashing algoirthm used for some internal operations in FireFox. The strength of "
                b"this algorithm is in hashing 8 bytes at a time on 64-bit platforms, where the "
                b"FNV algorithm works on one byte at a time."
            ),
            0xA06E72E1B06144A0,
        ),
    ],
)
def test_seahash_is_that_of_everybody(data: bytes, expected: int) -> None:
    assert seahash(data) == expected


def test_the_tree_of_version_1() -> None:
    assert place("pypx-1") == (
        f"PID1-Doe.John/Brain.MR-20240101-{STUDY}/T2..fast..cor-20240102-{SERIES}/00007-{UID}.dcm"
    )


def test_the_tree_of_version_3() -> None:
    digits = f"{seahash(SERIES.encode()):x}"[:7]
    assert place("pypx-3", SeriesDescription="T1 ax", InstanceNumber="1") == (
        f"PID1-Doe_John-19800101/Brain_MR-A1-20240101/T1_ax-{digits}/0001-{UID}.dcm"
    )


@pytest.mark.parametrize(
    ("value", "version_1", "version_3"),
    [
        ("T2 [fast] cor", "T2..fast..cor", "T2_fast_cor"),
        ("a.b-c_d", "a.b.c.d", "a.b-c_d"),
        ("a  b", "a..b", "a_b"),
        ("Müller^Jörg", "Müller.Jörg", "M_ller_J_rg"),
        ("山田^太郎", "山田.太郎", "_"),
        ("Doe^John^^^", "Doe.John...", "Doe_John_"),
        ("../../etc/passwd", "_......etc.passwd", "_.._.._etc_passwd"),
        ("..", "_..", "_.."),
        (".hidden", "_.hidden", "_.hidden"),
        ("-1", "_.1", "-1"),
        ("", "no.value.provided", "_"),
        ("one\\two", "_..one....two..", "_one_two_"),
        ("a\u200bb\u3164c", "a.b.c", "a_b_c"),
        ("a\0b\ud800c", "a.b.c", "a_b_c"),
        ("con", "_con", "_con"),
    ],
)
def test_a_value_is_sanitised(value: str, version_1: str, version_3: str) -> None:
    assert part("pypx-1:%StudyDescription", StudyDescription=value) == version_1
    assert part("%StudyDescription", StudyDescription=value) == version_3


def test_what_is_missing() -> None:
    gone = dict.fromkeys(set(VALUES) - {"SOPInstanceUID", "SeriesInstanceUID"})
    no = "no.value.provided"
    assert place("pypx-1", **gone) == f"{no}-{no}/{no}-{no}-{no}/{no}-{no}-{SERIES}/{no}-{UID}.dcm"
    digits = f"{seahash(SERIES.encode()):x}"[:7]
    assert place("pypx-3", **gone) == (
        "_PatientID-_PatientName-_PatientBirthDate/"
        "_StudyDescription-_AccessionNumber-_StudyDate/"
        f"_SeriesDescription-{digits}/_InstanceNumber-{UID}.dcm"
    )
    empty = dict.fromkeys(gone, "")
    assert place("pypx-3", **empty) == f"--/--/-{digits}/0000-{UID}.dcm"
    assert sanitised("") == "no value provided"  # as its .info files have it


@pytest.mark.parametrize(
    ("number", "version_1", "version_3"),
    [("7", "00007", "0007"), ("1234567", "1234567", "1234567"), ("-7", "000.7", "00-7")],
)
def test_numbers_are_padded(number: str, version_1: str, version_3: str) -> None:
    names = [place(f"pypx-{n}", InstanceNumber=number).rpartition("/")[2] for n in (1, 3)]
    assert names == [f"{version_1}-{UID}.dcm", f"{version_3}-{UID}.dcm"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%_md5|7_PatientID", hashlib.md5(b"PID1").hexdigest()[:7]),
        ("%_md5_PatientID", hashlib.md5(b"PID1").hexdigest()),
        ("%_seahash_PatientID", f"{seahash(b'PID1'):x}"),
        ("%_pad|6,x_PatientID-y", "xxPID1-y"),
        ("%_pad|6_PatientID", "00PID1"),
        ("%_pad_PatientID", "PID1"),
        ("%_nospc|-_StudyDescription", "Brain-MR"),
        ("%_nospc_StudyDescription", "BrainMR"),
        ("%_strmsk|**xx_PatientID", "PIxx"),
        ("%_strmsk|*x_PatientID", "Px"),
        ("%PatientAge-%AgeInDays", "044Y-016071d"),
        ("%StudyDate-%PatientAge-%AgeInDays", "20240101-044Y-016071d"),
        ("a b%PatientID%StudyDate", "a_bPID120240101"),
    ],
)
def test_a_function_of_a_template(template: str, expected: str) -> None:
    assert part(template) == expected


@pytest.mark.parametrize(
    ("born", "studied", "age", "days"),
    [
        ("20240101", "20240101", "000D", "000000d"),
        ("20240101", "20240107", "006D", "000006d"),
        ("20240101", "20240115", "002W", "000014d"),
        ("20240101", "20240301", "002M", "000060d"),
        ("20230101", "20240101", "001Y", "000365d"),
        ("20240101", "20230101", "001Y", "000365d"),
        ("2023.01.01", "2024-01-01", "001Y", "000365d"),
        ("", "20240101", "000D", "000000d"),
        (None, "20240101", "000D", "000000d"),
        ("20241399", "20240101", "000D", "000000d"),
    ],
)
def test_the_age_is_computed(born: str | None, studied: str, age: str, days: str) -> None:
    shown = part("%PatientAge-%AgeInDays", PatientBirthDate=born, StudyDate=studied)
    assert shown == f"{age}-{days}"


def test_an_age_that_is_there_is_shown() -> None:
    assert part("%PatientAge", PatientAge="043Y") == "043Y"
    assert 0x00101010 in Layout.parse(f"%PatientAge/{TAIL}").tags
    assert Layout.parse(f"%AgeInDays/{TAIL}").keywords >= {"StudyDate", "PatientBirthDate"}


def test_a_made_up_name_belongs_to_a_value() -> None:
    names = [
        part("%_name|patientID_PatientName", PatientID=identity, PatientName=name)
        for identity, name in (("1", "A"), ("1", "B"), ("2", "A"), ("3", "A"))
    ]
    assert names[0] == names[1] and len(set(names)) == 3
    assert names[0].endswith("_ANON") and "Doe" not in names[0]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("%PatientID/%SOPInstanceUID.dcm", "%SeriesInstanceUID"),
        ("%SeriesInstanceUID/%InstanceNumber.dcm", "no %SOPInstanceUID"),
        ("%SeriesInstanceUID/%_md5_SOPInstanceUID.dcm", "no %SOPInstanceUID"),
        ("%_nospc_SeriesInstanceUID/%SOPInstanceUID.dcm", "%SeriesInstanceUID"),
        ("%SeriesInstanceUID/%SOPInstanceUID", "does not end in .dcm"),
        ("%SeriesInstanceUID//%SOPInstanceUID.dcm", "empty part"),
        ("%SOPInstanceUID.dcm", "0 folders"),
        (f"%/{TAIL}", "no keyword"),
        (f"%_md5|7_/{TAIL}", "no keyword"),
        (f"%Patient/{TAIL}", "Patient"),
        (f"%_sha1|7_PatientID/{TAIL}", "no function 'sha1'"),
        (f"%_md5|x_PatientID/{TAIL}", "no argument"),
        (f"%_md5|3_PatientID/{TAIL}", "no argument"),
        (f"%_seahash|17_PatientID/{TAIL}", "no argument"),
        (f"%_pad|x_PatientID/{TAIL}", "no argument"),
        (f"%_strmsk_PatientID/{TAIL}", "no argument"),
        (f"%_name|nobody_PatientID/{TAIL}", "Nobody"),
        (f"{{PatientID}}%PatientID/{TAIL}", "not both"),
        (f"%StudyInstanceUID%SeriesInstanceUID%FrameOfReferenceUID-{'x' * 40}/{TAIL}", "bytes"),
    ],
)
def test_a_bad_template_is_refused(template: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Layout.parse(template)
    assert says in caught.value.message


@pytest.mark.parametrize("name", ["pypx-1", "pypx-3"])
def test_the_depth_of_a_level(name: str) -> None:
    layout = Layout.parse(name)
    depths = [layout.depth_of(level) for level in (Level.PATIENT, Level.STUDY, Level.SERIES)]
    assert depths == [1, 2, 3]


@given(
    text=st.text(st.characters(), max_size=300),
    other=st.text(max_size=80),
    layout=st.sampled_from(["pypx-1", "pypx-3"]),
    wide=st.booleans(),
)
def test_no_value_leaves_its_part(text: str, other: str, layout: str, wide: bool) -> None:
    values = dict.fromkeys(VALUES, text) | {"StudyDescription": other, "PatientName": other}
    folder, name = Layout.parse(layout).place(values, wide=wide)
    parts = [*folder.split("/"), name]
    assert len(parts) == len(LAYOUTS[layout].split("/")) == 4
    for one in parts:
        assert one and len(one.encode("utf-8")) <= 255
        assert one == unicodedata.normalize("NFC", one)
        assert one[0] not in ". "
        assert not set(one) & set("<>:\"/\\|?*$`;&'~ ")
        assert all(unicodedata.category(character)[0] not in "CZ" for character in one)
    assert name.endswith(".dcm")


def test_what_a_wide_folder_has_is_the_series() -> None:
    for name in ("pypx-1", "pypx-3"):
        layout = Layout.parse(name)
        long = VALUES | {"SeriesDescription": "ü" * 300}
        short, wide = (layout.place(VALUES, wide=wide)[0] for wide in (False, True))
        assert wide.startswith(f"{short}-") and len(wide) == len(short) + 33
        others = {layout.place(long | {"SeriesInstanceUID": u}, wide=True) for u in ("1.2", "1.3")}
        assert len(others) == 2


@pytest.mark.parametrize("uid", ["1.2_3", "1.2/3", "1.2 3", "", ".1.2", "9" * 65, "1.é"])
def test_a_uid_that_sanitising_would_change_is_a_digest(uid: str) -> None:
    for name in ("pypx-1", "pypx-3"):
        file = place(name, SOPInstanceUID=uid).rpartition("/")[2]
        if uid:
            assert file.endswith(f"-{safe_uid(uid)}.dcm")
    assert place("pypx-1", SOPInstanceUID="1.02").endswith("-1.02.dcm")  # as upstream


def series_of(one: str) -> tuple[str, str]:
    """Give two Series Instance UIDs with one beginning of their SeaHash."""
    seen: dict[str, str] = {}
    for number in range(1, 100_000):
        uid = f"{one}.{number}"
        digits = f"{seahash(uid.encode()):x}"[:4]
        if digits in seen:
            return seen[digits], uid
        seen[digits] = uid
    raise AssertionError


def test_two_series_with_one_name_have_two_folders(tmp_path: Path) -> None:
    """Upstream would put them into one."""
    one, two = series_of("1.2.3")
    template = LAYOUTS["pypx-3"].replace("seahash|7", "seahash|4")
    with Archive(tmp_path, layout=template, durability="none") as archive:
        paths = [
            store(archive, n, SeriesInstanceUID=uid, StudyInstanceUID=f"1.2.{n % 2}").path
            for n, uid in enumerate((one, two, one, two))
        ]
        assert paths[0].parent == paths[2].parent != paths[1].parent == paths[3].parent
        assert paths[1].parent.name.startswith(f"{paths[0].parent.name}-")
        assert archive.check().ok
        assert {row["path"] for row in archive.find("series")} == {
            str(paths[0].parent),
            str(paths[1].parent),
        }


def test_absent_and_empty_are_told_apart_on_the_way_in(tmp_path: Path) -> None:
    with Archive(tmp_path, layout="pypx-3", durability="none") as archive:
        empty = store(archive, 1, SeriesInstanceUID="1.2.5", SeriesDescription="").path
        absent = store(archive, 2, SeriesInstanceUID="1.2.6").path
    assert empty.parent.name.startswith("-")
    assert absent.parent.name.startswith("_SeriesDescription-")
