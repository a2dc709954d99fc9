"""The layout: where an instance lives, and that no value has an effect on the path."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pypx.archive.attributes import Level
from pypx.archive.layout import LAYOUTS, Layout, safe_uid
from pypx.errors import ConfigError

UID = "1.2.826.0.1.3680043.8.498.1"
STUDY = "1.2.826.0.1.3680043.8.498.2"
SERIES = "1.2.826.0.1.3680043.8.498.3"
VALUES = {
    "PatientID": "PID1",
    "PatientName": "Doe^John",
    "PatientBirthDate": "19800101",
    "StudyInstanceUID": STUDY,
    "StudyDate": "20240101",
    "StudyDescription": "Brain MR",
    "AccessionNumber": "A1",
    "SeriesInstanceUID": SERIES,
    "SeriesDate": "20240102",
    "SeriesNumber": "3",
    "SeriesDescription": "T2 [fast] cor",
    "SOPInstanceUID": UID,
    "InstanceNumber": "7",
}


def test_series_in_turn_keep_their_folders() -> None:
    layout = Layout.parse("pypx")
    several = [{**VALUES, "SeriesInstanceUID": f"1.2.{n % 3}", "PatientID": "P"} for n in range(9)]
    for values in several:
        for wide in (False, True):
            assert layout.place(values, wide=wide) == Layout.parse("pypx").place(values, wide=wide)
    without = {k: v for k, v in several[0].items() if k != "StudyDescription"}
    assert layout.place(without) == layout.place({**without, "StudyDescription": ""})


def place(template: str, **values: str) -> str:
    return "/".join(Layout.parse(template).place({**VALUES, **values}))


def part(value: str, keyword: str = "StudyDescription") -> str:
    """Give what a value becomes as the whole name of a folder."""
    template = f"{{{keyword}}}/{{StudyInstanceUID:hash4}}/{LAYOUTS['uid'].partition('/')[2]}"
    return place(template, **{keyword: value}).split("/")[0]


def test_the_default_layout_is_that_of_the_surface() -> None:
    patient, study, series, name = place("pypx").split("/")
    assert patient == "PID1-Doe_John"
    assert study.startswith("20240101-Brain_MR-A1-") and len(study.rpartition("-")[2]) == 8
    assert series.startswith("3-T2_fast_cor-") and len(series.rpartition("-")[2]) == 8
    assert name == f"7-{UID}.dcm"


def test_the_layout_of_uids_shows_nothing_else() -> None:
    assert place("uid") == f"{STUDY}/{SERIES}/{UID}.dcm"


def test_a_number_may_have_a_width() -> None:
    layout = Layout.parse(
        "{StudyInstanceUID}/{SeriesInstanceUID:hash7}/{InstanceNumber:05d}-{SOPInstanceUID}.dcm"
    )
    folder, name = layout.place(VALUES)
    assert name == f"00007-{UID}.dcm"
    assert len(folder.rpartition("/")[2]) == 7


def test_nothing_is_known() -> None:
    folder, name = Layout.parse("pypx").place({"SOPInstanceUID": UID})
    assert (folder, name) == ("NA-NA/NA-NA-NA-NA/NA-NA-NA", f"NA-{UID}.dcm")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "NA"),
        ("   ", "NA"),
        ("***", "NA"),
        ("plain", "plain"),
        ("a b\tc", "a_b_c"),
        ("a/b\\c", "a_b_c"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "NA"),
        (".", "NA"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("~root", "root"),
        ("$(touch x)`id`;&|", "touch_x_id"),
        ('<>:"|?*', "NA"),
        ("%2e%2e%2f", "2e_2e_2f"),
        ("ends.", "ends"),
        ("ends ", "ends"),
        ("a\0b", "a_b"),
        ("a\nb\x1b[31m", "a_b_31m"),
        ("a\u202eb", "a_b"),
        ("a\u2028b\u2029c", "a_b_c"),
        ("a\u200bb\u200dc\ufeffd", "a_b_c_d"),
        ("a\u2066b\u2069c", "a_b_c"),
        ("a\u034fb\u3164c\ufe0fd", "a_b_c_d"),
        ("a\ud800b", "a_b"),
        ("a\ufffdb", "a_b"),
        ("a\U000e0041b", "a_b"),
        ("a\uff0fb\u2215c", "a_b_c"),
        ("Müller", "Müller"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("山田^太郎", "山田_太郎"),
        ("CON", "_CON"),
        ("con", "_con"),
        ("nul.txt", "_nul.txt"),
        ("COM1", "_COM1"),
        ("LPT9.x.y", "_LPT9.x.y"),
        ("CONSOLE", "CONSOLE"),
        ("x" * 300, "x" * 119),
        ("ü" * 300, "ü" * 59),
        ("山" * 300, "山" * 39),
    ],
)
def test_a_value_is_made_safe(value: str, expected: str) -> None:
    assert part(value) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Doe^John", "Doe_John"),
        ("Doe^John^^^", "Doe_John"),
        ("Doe^John^Q^Dr^Jr", "Doe_John_Q_Dr_Jr"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada_Tarou"),
        ("=山田^太郎=やまだ", "山田_太郎"),
        ("^^=^=やまだ", "やまだ"),
        ("^^^^", "NA"),
        ("==", "NA"),
        ("", "NA"),
    ],
)
def test_a_person_name_is_readable(name: str, expected: str) -> None:
    assert part(name, "PatientName") == expected


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (UID, UID),
        ("1." + "2" * 62, "1." + "2" * 62),
        ("../../x", None),
        ("/etc/x", None),
        ("..\\x", None),
        (".", None),
        ("..", None),
        ("1.2.3/../../x", None),
        ("1.2\0", None),
        ("1.2\\3.4", None),
        ("1.02", None),
        ("1." + "2" * 63, None),
        ("9" * 65534, None),
        ("\udcff", None),
    ],
)
def test_a_wrong_uid_becomes_a_digest(uid: str, expected: str | None) -> None:
    name = place("uid", SOPInstanceUID=uid).rpartition("/")[2]
    if expected is None:
        assert name.startswith("sha256-") and name.endswith(".dcm") and len(name) == 43
        assert safe_uid(uid) == name.removesuffix(".dcm")
    else:
        assert name == f"{expected}.dcm"


def test_two_wrong_uids_have_two_names() -> None:
    assert len({safe_uid(uid) for uid in ("1.02", "1.2 ", "1..2", "1.2/", "1.2\\")}) == 5


def test_the_tail_survives_the_cut() -> None:
    long = {"PatientID": "i" * 200, "SeriesDescription": "山" * 200, "InstanceNumber": "9" * 500}
    patient, _, series, name = place("pypx", **long).split("/")
    assert len(patient.encode()) == 119 and patient.endswith("-Doe_John")
    assert len(series.encode()) <= 119 and series == place("pypx", **long).split("/")[2]
    assert series.startswith("3-山山") and series[-9] == "-"
    assert name.endswith(f"-{UID}.dcm") and len(name) <= 119


def test_all_texts_that_are_too_long_are_cut_alike() -> None:
    study = place("pypx", StudyDescription="X" * 200, AccessionNumber="Y" * 200).split("/")[1]
    assert study.startswith("20240101-") and len(study) in (118, 119)
    assert study.count("X") == study.count("Y") == 50


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("7", "00007"),
        ("-7", "-0007"),
        ("1234567", "1234567"),
        ("+7", "00007"),
        ("007", "00007"),
        ("7a", "7a"),
        ("", "NA"),
        ("../..", ".._.."),
        ("9" * 5000, None),
    ],
)
def test_a_number_has_a_width(number: str, expected: str | None) -> None:
    path = place(f"uid/{{InstanceNumber:05d}}x-{LAYOUTS['uid']}", InstanceNumber=number)
    name = path.split("/")[1].partition("x-")[0]
    if expected is None:
        assert set(name) == {"9"} and len(path.split("/")[1]) <= 119
    else:
        assert name == expected.lstrip("-.")


def test_a_hash_depends_on_the_uid_only_and_can_be_made_wide() -> None:
    layout = Layout.parse("pypx")
    short, wide = layout.place(VALUES)[0], layout.place(VALUES, wide=True)[0]
    for one, other in zip(short.split("/")[1:], wide.split("/")[1:], strict=True):
        tail, long_tail = one.rpartition("-")[2], other.rpartition("-")[2]
        assert len(tail) == 8 and len(long_tail) == 32 and long_tail.startswith(tail)
    assert layout.place({**VALUES, "SeriesInstanceUID": SERIES + "1"})[0] != short


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "no layout ''"),
        ("pypx-9", "no layout 'pypx-9'"),
        ("{StudyInstanceUID}%/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "not both"),
        ("{SOPInstanceUID}.dcm", "0 folders"),
        ("{StudyInstanceUID}/{SeriesInstanceUID}/{InstanceNumber}.dcm", "no {SOPInstanceUID}"),
        (
            "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID:hash8}.dcm",
            "no {SOPInstanceUID}",
        ),
        ("{StudyInstanceUID}/{SOPInstanceUID}.dcm", "{SeriesInstanceUID}"),
        ("{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "{StudyInstanceUID}"),
        ("{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}", "does not end in .dcm"),
        ("/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "empty part"),
        ("{StudyInstanceUID}//{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "empty part"),
        ("../{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "begins with a dot"),
        (".pypx/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "begins with a dot"),
        ("a*b/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "characters"),
        ("{StudyInstanceUID}-{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "129 bytes"),
        ("{StudyInstanceUID/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "brace"),
        ("{}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "without a name"),
        ("{Patient}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "Patient"),
        ("{0010,0020}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "keyword"),
        ("{PixelData}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "no text"),
        ("{PatientID:x}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "format"),
        ("{PatientID:hash3}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "4 to"),
        ("{StudyInstanceUID:05d}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "no width"),
        ("{PatientID:013d}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm", "12"),
        ("/".join(["a"] * 8 + [LAYOUTS["uid"]]), "10 folders"),
    ],
)
def test_a_bad_template_is_refused(template: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Layout.parse(template)
    assert says in caught.value.message


def test_a_template_may_show_any_attribute_with_a_text() -> None:
    layout = Layout.parse(
        "{Modality}/{ProtocolName}/{StudyInstanceUID:hash12}-{SeriesInstanceUID:hash12}/"
        "{SOPInstanceUID}.dcm"
    )
    assert 0x00181030 in layout.tags and "ProtocolName" in layout.keywords
    folder, _ = layout.place({**VALUES, "Modality": "CT", "ProtocolName": "1.1 Head/Neck"})
    assert folder.startswith("CT/1.1_Head_Neck/")


@pytest.mark.parametrize(
    ("name", "depths"),
    [("pypx", (1, 2, 3)), ("uid", (0, 1, 2))],
)
def test_the_depth_of_a_level(name: str, depths: tuple[int, int, int]) -> None:
    layout = Layout.parse(name)
    levels = (Level.PATIENT, Level.STUDY, Level.SERIES)
    assert tuple(layout.depth_of(level) for level in levels) == depths


@given(
    text=st.text(st.characters(), max_size=200),
    other=st.text(max_size=80),
    layout=st.sampled_from(["pypx", "uid"]),
)
@example(text="\u0301", other="CON.", layout="pypx")
@example(text="." * 300, other=" ." * 90, layout="pypx")
def test_no_value_leaves_its_part(text: str, other: str, layout: str) -> None:
    values = dict.fromkeys(VALUES, text) | {"StudyDescription": other, "PatientName": other}
    parts = place(layout, **values).split("/")
    assert len(parts) == len(LAYOUTS[layout].split("/"))
    for one in parts:
        assert one and len(one.encode("utf-8")) <= 120
        assert one == unicodedata.normalize("NFC", one)
        assert one[0] not in ".- " and one[-1] not in ". "
        assert not set(one) & set("<>:\"/\\|?*$`;&'~") and " " not in one
        assert all(unicodedata.category(character)[0] not in "CZ" for character in one)
    assert parts[-1].endswith(f"{safe_uid(text) if text else 'NA'}.dcm")
