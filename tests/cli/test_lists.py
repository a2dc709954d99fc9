"""Lists: what each kind of file gives, row by row, and what is wrong with a row."""

from __future__ import annotations

import codecs
import io
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from pypx.cli.lists import ListRow, read_list, row_numbers
from pypx.errors import ConfigError

Read = Callable[[Any], list[ListRow]]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def read(tmp_path: Path, notes: list[str]) -> Read:
    """Read a list of this text, bytes or workbook."""

    def call(content: Any) -> list[ListRow]:
        path = tmp_path / ("list.xlsx" if isinstance(content, Workbook) else "list.csv")
        match content:
            case Workbook():
                content.save(path)
            case str():
                path.write_bytes(content.encode())
            case bytes():
                path.write_bytes(content)
        with closing(read_list(str(path), note=lambda said, _: notes.append(said))) as rows:
            return list(rows)

    return call


def row(number: int, **keys: str) -> ListRow:
    return ListRow(number, keys)


# Text --------------------------------------------------------------------------------------

SIMPLE = "PatientID,StudyDate\n0012,2024-01-31\n0013,20240201\n"
ROWS = [
    row(2, PatientID="0012", StudyDate="20240131"),
    row(3, PatientID="0013", StudyDate="20240201"),
]


@pytest.mark.parametrize(
    "content",
    [
        SIMPLE.encode(),
        SIMPLE.replace(",", ";").encode(),
        SIMPLE.replace(",", "\t").encode(),
        SIMPLE.replace("\n", "\r\n").encode(),
        SIMPLE.replace("\n", "\r").encode(),
        SIMPLE.rstrip().encode(),
        codecs.BOM_UTF8 + SIMPLE.encode(),
        SIMPLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + SIMPLE.encode("utf-16-be"),
        SIMPLE.replace(",", " , ").encode(),
        b'"PatientID", "StudyDate"\n"0012", "2024-01-31"\n"0013","20240201"\n',
        b"patientid,STUDYDATE\n0012,2024/01/31\n0013,20240201\n",
        b'"0010,0020",00080020\n0012,2024-01-31\n0013,20240201\n',
        b"0010,0020;(0008,0020)\n0012;2024-01-31\n0013;20240201\n",
        b"PatientID,StudyDate,,\n0012,2024-01-31\n0013,20240201,,,,\n",
    ],
)
def test_text_in_its_many_forms(read: Read, notes: list[str], content: bytes) -> None:
    assert read(content) == ROWS
    assert notes == []


def test_empty_rows_are_passed_over_and_counted(read: Read) -> None:
    assert read("PatientID,StudyDate\n\n1,\n,\n  \n2,20240101\n\n") == [
        row(3, PatientID="1"),
        row(6, PatientID="2", StudyDate="20240101"),
    ]


@pytest.mark.parametrize("name", ["Müller^Jörg", "山田^太郎", "Łoś^Żaneta"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_letters_of_all_scripts(read: Read, name: str, encoding: str) -> None:
    assert read(f"PatientName\n{name}\n".encode(encoding)) == [row(2, PatientName=name)]


def test_windows_1252_is_read_and_said(read: Read, notes: list[str], tmp_path: Path) -> None:
    content = "PatientID;PatientName\n1;Müller\n2;Cœur–Ž€\n".encode("cp1252")
    assert [one.keys["PatientName"] for one in read(content)] == ["Müller", "Cœur–Ž€"]
    assert notes == [f"{tmp_path}/list.csv is no UTF-8; it is read as Windows-1252."]


def test_one_wrong_byte_at_the_end_decides_for_all(read: Read, notes: list[str]) -> None:
    """A file in two encodings does not exist: the first half is not read as UTF-8."""
    lines = "PatientName\n" + "a\n" * 70_000
    rows = read(lines.encode() + b"M\xfc\n")
    assert (len(rows), rows[-1].keys["PatientName"], len(notes)) == (70_001, "Mü", 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n1,2\n", "no headings in its first row"),
        (",,\n1,2,3\n", "no headings in its first row"),
        (codecs.BOM_UTF8 + b"", "is empty"),
        (b"PatientID\n\x81\n", "is no text"),
        (SIMPLE.encode("utf-16-le"), "is no text"),
        (SIMPLE.encode("utf-16")[:-1], "is no text"),
        (codecs.BOM_UTF8 + b"PatientName\nM\xfc\n", "is no text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "of the old kind, or has a password"),
        (b"PK\x03\x04 something else", "is no Excel file, or is damaged"),
        ("PatientID,patientid\n1,2\n", "has PatientID in the columns 1 and 2"),
        ('PatientID,Study"Date\n', "column 2: 'Study\"Date' is no DICOM keyword"),
        ('"PatientID\n1\n', "a quotation mark is not closed"),
        ("PatientID,RequestAttributesSequence\n", "column 2: RequestAttributesSequence is a seq"),
        ("PatientID,Status\n", "column 2: Status belongs to the messages of DICOM"),
        ("QueryRetrieveLevel\n", "column 1: The query/retrieve level"),
        ("20240115\n20240116\n", "column 1: '20240115' is no DICOM keyword"),
        ("DEMO-001\nDEMO-002\n", "column 1: 'DEMO-001' is no DICOM keyword"),
    ],
)
def test_a_file_that_is_no_list(read: Read, content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"list\.csv") as caught:
        read(content)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("heading", "keyword"),
    [("PatientNam", "PatientName"), ("patient id", "PatientID"), ("Study_Date", "StudyDate")],
)
def test_a_wrong_heading_has_its_column_and_the_right_one(
    read: Read, heading: str, keyword: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"AccessionNumber;{heading}\n1;2\n")
    assert f"{tmp_path}/list.csv, column 2: '{heading}'" in caught.value.message
    assert keyword in caught.value.hint


@pytest.mark.parametrize("path", ["missing.csv", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, path: str, notes: list[str]) -> None:
    with pytest.raises(ConfigError, match="cannot be read: "):
        read_list(str(tmp_path / path), note=lambda *said: notes.append(said[0]))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("1,20240101,3", "column 3 has a value, but no heading"),
        ("1,15.01.2024", "StudyDate is '15.01.2024', which is not a date like 2024-01-31"),
        ("1,2024", "StudyDate is '2024', which is not a date"),
        ('"1\t2",', "PatientID has a line break"),
        ('"1\n2",', "PatientID has a line break"),
        ("1\u200b,", "PatientID has a line break or another character that is not seen"),
        ("1.23457E+11,", "PatientID is 1.23457E+11, a number that a spreadsheet has rounded"),
        ('"1,23457E+11",', "PatientID is 1,23457E+11, a number that a spreadsheet has rounded"),
        ("*,", "it has no value, and would ask for everything"),
        ('"1"2,', "a quotation mark is not closed, or stands where none may be"),
        ('"1\n2,3\n"4",', "so the lines 2 to 4 were not understood"),
    ],
)
def test_a_row_that_is_no_query_is_told_and_the_others_are_read(
    read: Read, line: str, error: str
) -> None:
    first, last = read(f"PatientID,StudyDate\n{line}\nlast,20240101\n")
    assert first.number == 2
    assert error in first.error
    after = 3 + line.count("\n")
    assert last == row(after, PatientID="last", StudyDate="20240101")


def test_a_quotation_mark_that_nothing_closes(read: Read) -> None:
    first, broken = read('PatientID\n1\n"2\n3\n4\n')
    assert first == row(2, PatientID="1")
    assert broken == ListRow(3, {}, broken.error)
    assert "the lines 3 to 5 were not understood" in broken.error


@pytest.mark.parametrize(
    ("heading", "text", "value"),
    [
        ("StudyDate", "2024-01-01..2024-06-30", "20240101-20240630"),
        ("StudyDate", "2024-01-01..", "20240101-"),
        ("StudyDate", "-20240630", "-20240630"),
        ("StudyDate", "202401*", "202401*"),
        ("StudyTime", "08:30", "0830"),
        ("StudyTime", "083000.5-09", "083000.5-09"),
        ("StudyInstanceUID", "1.2\\1.3", "1.2\\1.3"),
        ("PatientWeight", "1.5E+2", "1.5E+2"),
        ("PatientName", "D*", "D*"),
    ],
)
def test_values(read: Read, heading: str, text: str, value: str) -> None:
    assert read(f"{heading}\n{text}\n") == [ListRow(2, {heading: value})]


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(SIMPLE.replace(",", ";").encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert list(read_list("-", note=print)) == ROWS


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="<stdin> is empty"):
        read_list("-", note=print)


# Excel -------------------------------------------------------------------------------------


def sheet(*rows: tuple[Any, ...], formats: dict[str, str] | None = None) -> Workbook:
    """Make a workbook; a number format is of a cell."""
    book = Workbook()
    for one in rows:
        book.active.append(one)
    for place, number_format in (formats or {}).items():
        book.active[place].number_format = number_format
    return book


def test_a_sheet(read: Read, notes: list[str]) -> None:
    book = sheet(
        ("patientid", "StudyDate", "AccessionNumber"),
        ("0012", date(2024, 1, 31), 123),
        (None, None, None),
        (" 0013 ", "2024-02-01..", 17.0),
        ("0014", 20240203, None),
    )
    assert read(book) == [
        row(2, PatientID="0012", StudyDate="20240131", AccessionNumber="123"),
        row(4, PatientID="0013", StudyDate="20240201-", AccessionNumber="17"),
        row(5, PatientID="0014", StudyDate="20240203"),
    ]
    assert notes == []


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (123, "00000", "00123"),
        (123, "[$-407]0000000", "0000123"),
        (123456, "00000", "123456"),
        (123, "00000;-00000", "00123"),
        (123, "0", "123"),
        (1234567, "#,##0", "1234567"),
        (1234567, "_-* #,##0_-;-* #,##0_-", "1234567"),
        (12, "0.00", "12"),
        (0.1 + 0.2, "General", "0.3"),
        (123456789012345, "General", "123456789012345"),
        (123456789012, "0.00E+00", "123456789012"),
        (0, "General", "0"),
        (0, "0000", "0000"),
        ("007", "@", "007"),
        (7, "@", "7"),
    ],
)
def test_numbers_are_what_the_sheet_shows(
    read: Read, value: Any, number_format: str, text: str
) -> None:
    book = sheet(("PatientID",), (value,), formats={"A2": number_format})
    assert read(book) == [row(2, PatientID=text)]


@pytest.mark.parametrize(
    ("heading", "value", "number_format", "text"),
    [
        ("StudyDate", datetime(2024, 1, 31, 10, 15), "dd.mm.yyyy hh:mm", "20240131"),
        ("StudyTime", time_of_day(8, 30, 5), "hh:mm:ss", "083005"),
        ("StudyTime", time_of_day(10, 15), "hh:mm", "101500"),
        ("StudyTime", timedelta(hours=9, minutes=5), "[h]:mm", "090500"),
        ("StudyTime", 83000, "000000", "083000"),
        ("AcquisitionDateTime", datetime(2024, 1, 31, 10, 15), "yyyy-mm-dd h:mm", "20240131101500"),
    ],
)
def test_dates_and_times(
    read: Read, heading: str, value: Any, number_format: str, text: str
) -> None:
    book = sheet((heading,), (value,), formats={"A2": number_format})
    assert read(book) == [ListRow(2, {heading: text})]


@pytest.mark.parametrize(
    ("heading", "value", "number_format", "error"),
    [
        ("PatientID", True, "General", "PatientID is TRUE, which is no text"),
        ("PatientID", 0.5, "0%", "PatientID is a percentage"),
        ("PatientID", "#N/A", "General", "PatientID is the error #N/A"),
        ("PatientID", 1234567890123456, "0", "more digits than the sheet keeps"),
        ("PatientID", 1e300, "General", "more digits than the sheet keeps"),
        ("PatientID", 123, "000-000", "is 123, and shown as '000-000'"),
        ("PatientID", 123, '"P"0000', "and shown as"),
        ("PatientID", 12.5, "000", "shown without its fraction"),
        ("PatientID", date(2024, 3, 1), "d-m", "PatientID is the date 2024-03-01"),
        ("PatientID", time_of_day(3, 1), "hh:mm", "PatientID is the time 03:01:00"),
        ("StudyTime", timedelta(hours=25), "[h]:mm", "which no day has"),
        ("StudyTime", datetime(2024, 3, 1, 8), "yyyy-mm-dd h:mm", "StudyTime is the date"),
        ("StudyTime", 83000, "General", "StudyTime is '83000', which is not a time"),
        ("StudyDate", date(2024, 3, 1), "0", "StudyDate is '45352', which is not a date"),
        ("StudyDate", 2024, "General", "StudyDate is '2024', which is not a date"),
        ("PatientID", "=A1", "General", "formula without a result"),
        ("PatientID", "1\n2", "General", "has a line break"),
    ],
)
def test_a_cell_that_is_no_value(
    read: Read, heading: str, value: Any, number_format: str, error: str
) -> None:
    book = sheet(
        (heading, "AccessionNumber"), (value, "A1"), (None, "A2"), formats={"A2": number_format}
    )
    wrong, right = read(book)
    assert wrong.number == 2
    assert error in wrong.error
    assert wrong.keys == {"AccessionNumber": "A1"}
    assert right == row(3, AccessionNumber="A2")


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "declared",
    ['<!ENTITY a9 SYSTEM "file://{}">', '<!ENTITY a0 "ha">' + LAUGHS],
    ids=["another file", "ha ha ha"],
)
def test_a_workbook_is_no_way_to_another_file(read: Read, tmp_path: Path, declared: str) -> None:
    """XML with a DTD: nothing is read from elsewhere, and nothing grows without end."""
    import zipfile

    secret = tmp_path / "secret"
    secret.write_text("the-secret")
    sheet(("PatientID",), ("one",)).save(tmp_path / "list.xlsx")
    with zipfile.ZipFile(tmp_path / "list.xlsx") as old:
        parts = {name: old.read(name).decode("utf-8", "replace") for name in old.namelist()}
    name = "xl/worksheets/sheet1.xml"
    body = parts[name].partition("?>")[2] or parts[name]
    asking = body.replace(">one<", ">&a9;<")
    assert asking != body
    parts[name] = f"<!DOCTYPE worksheet [{declared.format(secret)}]>{asking}"
    with zipfile.ZipFile(tmp_path / "new.xlsx", "w") as new:
        for part, data in parts.items():
            new.writestr(part, data)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="is no Excel file, or is damaged"):
            read((tmp_path / "new.xlsx").read_bytes())
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_results_of_formulas_count(read: Read, tmp_path: Path) -> None:
    """A spreadsheet stores them beside the formula, an empty one too; openpyxl stores none."""
    import zipfile

    sheet(("PatientID", "AccessionNumber"), ("1", "a"), ("2", "b"), ("3", "=1")).save(
        tmp_path / "list.xlsx"
    )
    with zipfile.ZipFile(tmp_path / "list.xlsx") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    name = "xl/worksheets/sheet1.xml"
    text = parts[name].decode()
    one = text[text.index('<c r="B2"') : text.index("</c>", text.index('<c r="B2"')) + 4]
    two = text[text.index('<c r="B3"') : text.index("</c>", text.index('<c r="B3"')) + 4]
    text = text.replace(one, '<c r="B2"><f>6*7</f><v>42</v></c>')
    parts[name] = text.replace(two, '<c r="B3" t="str"><f>""</f><v></v></c>').encode()
    with zipfile.ZipFile(tmp_path / "new.xlsx", "w") as new:
        for part, data in parts.items():
            new.writestr(part, data)
    first, second, third = read((tmp_path / "new.xlsx").read_bytes())
    assert first == row(2, PatientID="1", AccessionNumber="42")
    assert second == row(3, PatientID="2")
    assert third.error == (
        "AccessionNumber is a formula without a result: open and save it in a spreadsheet"
    )


def test_columns_and_rows_that_are_left_free(read: Read) -> None:
    """The size that the file says begins at B1 then, and is not where the sheet begins."""
    book = Workbook()
    for place, value in (("B1", "PatientID"), ("C1", "StudyDate"), ("B4", "1"), ("D5", "x")):
        book.active[place] = value
    book.active["C4"] = "=B4"
    first, second = read(book)
    assert (first.number, first.keys) == (4, {"PatientID": "1"})
    assert first.error.startswith("StudyDate is a formula without a result")
    assert (second.number, second.error) == (5, "column 4 has a value, but no heading")


def test_the_first_sheet_that_is_shown(read: Read, notes: list[str], tmp_path: Path) -> None:
    book = sheet(("Anything",))
    book.active.sheet_state = "hidden"
    book.create_sheet("Cohort").append(("PatientID",))
    book["Cohort"].append(("1",))
    book.create_sheet("Legend").append(("What it means",))
    assert read(book) == [row(2, PatientID="1")]
    assert notes == [f"Of {tmp_path}/list.xlsx only the first sheet is read, Cohort."]


def test_a_sheet_without_headings(read: Read) -> None:
    for book, said in ((sheet(), "is empty"), (sheet((None,), ("PatientID",)), "no headings")):
        with pytest.raises(ConfigError, match=said):
            read(book)
    with pytest.raises(ConfigError, match="column 2: the heading is the date 2024-01-31"):
        read(sheet(("PatientID", date(2024, 1, 31))))


def test_a_damaged_sheet(read: Read, tmp_path: Path) -> None:
    sheet(("PatientID",), ("1",)).save(tmp_path / "whole.xlsx")
    whole = (tmp_path / "whole.xlsx").read_bytes()
    with pytest.raises(ConfigError, match="is no Excel file, or is damaged"):
        read(whole[: len(whole) // 2])


def test_excel_without_openpyxl(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.delitem(sys.modules, "pypx.cli.sheet_excel", raising=False)
    with pytest.raises(ConfigError, match="need the package openpyxl") as caught:
        read(sheet(("PatientID",), ("1",)))
    assert "pypx[excel]" in caught.value.hint


def test_ten_thousand_rows_are_not_collected(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    line = "{0:08d},2024-01-31,Muster^Anna,{0}\n"
    with path.open("w") as file:
        file.write("PatientID,StudyDate,PatientName,AccessionNumber\n")
        file.writelines(line.format(number) for number in range(10_000))
    started = time.monotonic()
    tracemalloc.start()
    try:
        with closing(read_list(str(path), note=print)) as rows:
            assert sum(1 for one in rows if not one.error) == 10_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000  # the rows would be some 10 MB
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([4, 5, 6, 9], "4-6, 9"),
        (range(2, 10_000), "2-9999"),
        (range(2, 40, 2), "2, 4, 6, 8, 10, 12, 14, 16, …"),
        (range(2, 18, 2), "2, 4, 6, 8, 10, 12, 14, 16"),
    ],
)
def test_numbers_of_rows(numbers: Any, text: str) -> None:
    assert row_numbers(numbers) == text
