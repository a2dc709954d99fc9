"""The report: a page that is whole by itself, says what is, and runs nothing of what peers say."""

from __future__ import annotations

import base64
import re
import struct
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pypx.archive.account import Arrivals
from pypx.archive.transfers import Request
from pypx.errors import ArchiveError
from pypx.pacs.samples import write_samples
from pypx.retrieve.report import html
from pypx.retrieve.report.html import write_report
from pypx.retrieve.report.svg import bytes_chart, instances_chart
from pypx.retrieve.report.thumbnails import Drawn, Thumbnails
from tests.retrieve.transfers import Job, job, uid_of

VOID = {"meta", "img", "br"}
EVIL = '<script>alert("x")</script>&amp;\u202e\x1b[2J'


class Page(HTMLParser):
    """What is on a page: its elements, and that each of them ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.raw = text
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def images(self) -> list[bytes]:
        sources = [value for name, value in self.attributes if name == "src"]
        return [
            base64.b64decode(str(one).removeprefix("data:image/png;base64,")) for one in sources
        ]


class NoPictures(Thumbnails):
    """Draws nothing, quickly."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def draw(self, path: str) -> Drawn:
        self.asked.append(path)
        return Drawn(None, f"no <b>{EVIL}")


def page(one: Job, folder: Path, thumbnails: Thumbnails | None = None, **options: Any) -> Page:
    path = folder / "report.html"
    write_report(
        one.archive, one.transfer, str(path), thumbnails=thumbnails or NoPictures(), **options
    )
    return Page(path.read_text(encoding="utf-8"))


def test_a_page_says_what_came_and_what_did_not(tmp_path: Path) -> None:
    with job(tmp_path, 1) as one:
        series = one.series(one.study(), numbers=range(1, 6))
        one.receive(2, 3)
        one.ask(series, Request(seconds=2.5, status=0xA702, completed=2, failed=2))
        one.ledger.note(one.transfer, "C-GET was used instead.")
        one.ledger.note(one.transfer, "To enter:\nany PACS: AE title PYPX\nDCMTK: pypx = (PYPX)")
        one.close(series, "incomplete", "2 of 5 instances did not come.")
        one.query("no-match", "Nothing on the PACS matches.", PatientID="0042")
        one.ledger.add_extra(one.transfer, "1.2.3", "1.2.3.4", uid_of(9))
        one.end("incomplete", seconds=61.0)
        found = page(one, tmp_path)
    for words in (
        "Incomplete: 2 of 5 instances are missing.",
        f"px retrieve --resume {one.transfer.id}",
        "2 received 1 here before 2 missing",
        "Time 1 min 1 s",
        "C-GET was used instead.",
        "2024-01-31 · Thorax",
        "Doe, Jane · 4711",
        "2 of 5 instances did not come.",
        "Missing SOP Instance UIDs (2)",
        uid_of(4),
        uid_of(9),
        "PatientID=0042",
        "Nothing on the PACS matches.",
        "C-MOVE, series",
        "the PACS cannot perform the sub-operations (A702H)",
        "2 completed, 2 failed",
    ):
        assert words in found.text
    assert "<pre>any PACS: AE title PYPX\nDCMTK: pypx = (PYPX)</pre>" in found.raw
    assert found.tags.count("svg") == 2


def test_a_page_needs_nothing_beside_itself(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 3))
        one.receive(1)
        found = page(one, tmp_path)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not any(name.startswith("on") or name == "href" for name, _ in found.attributes)
    assert "url(" not in found.raw
    assert "http://" not in found.raw
    assert "https://" not in found.raw
    assert any("default-src 'none'" in str(value) for _, value in found.attributes)
    assert "prefers-color-scheme:dark" in found.raw


def test_nothing_of_a_peer_is_markup(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        study = one.study(
            patient_name=EVIL, patient_id=EVIL, study_description=EVIL, accession_number=EVIL
        )
        series = one.series(
            study, numbers=range(1, 3), series_description=EVIL, modality=EVIL, series_number=EVIL
        )
        one.receive(1)
        one.ask(series, Request(status=0, reason=EVIL), method=EVIL)
        one.close(series, "incomplete", EVIL)
        one.query("failed", EVIL, PatientID=EVIL)
        one.ledger.note(one.transfer, f"{EVIL}\n{EVIL}")
        one.ledger.add_extra(one.transfer, "1", "2", EVIL)
        one.end("failed", EVIL)
        found = page(one, tmp_path)
    assert "script" not in found.tags
    assert "b" in found.tags  # of the node; no other
    assert found.tags.count("b") == 1
    assert "\u202e" not in found.raw
    assert "\x1b" not in found.raw
    assert found.text.count('<script>alert("x")</script>&amp;\\u202e\\x1b[2J') >= 12


def test_a_page_of_a_job_that_runs(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 3))
        one.receive(1)
        began = datetime.fromisoformat(one.transfer.began_at)
        found = page(one, tmp_path, now=began + timedelta(minutes=2))
    assert "In progress: 1 of 2 instances is here so far." in found.text
    assert "Time 2 min" in found.text
    assert "What is not complete" not in found.text  # nobody knows yet


def test_a_page_of_nothing(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.ledger.close_query(one.queries[0], "no-match", "Nothing on the PACS matches.")
        one.end("incomplete", seconds=0.0)
        found = page(one, tmp_path)
    assert "the query matched nothing" in found.text
    assert "svg" not in found.tags


def test_a_page_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PICTURES", 3), ("SERIES", 6), ("UIDS", 4), ("REQUESTS", 2)):
        monkeypatch.setattr(html, f"_MOST_{name}", value)
    drawing = NoPictures()
    with job(tmp_path) as one:
        for number in range(4):
            study = one.study(f"1.3.{number}")
            for place in (0, 1):
                uid = f"1.3.{number}.{place}"
                first = 100 * number + 10 * place
                series = one.series(study, uid, range(first, first + 2))
                one.receive(first, StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID=uid)
                one.ask(series, Request(status=0))
                one.close(series, "incomplete", f"Reason {number}.")
        one.end("incomplete")
        found = page(one, tmp_path, drawing)
    assert len(drawing.asked) == 3
    assert "Only the first 3 series are shown with an image." in found.text
    assert "1 study more are left out here" in found.text
    assert "Missing SOP Instance UIDs (8)" in found.text
    assert "… and 4 more, which --manifest names." in found.text
    assert "8 requests, the newest 2 of them" in found.text
    assert "Reason 3." in found.text  # also of what is left out


def test_a_page_that_cannot_be_finished_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "out"
    folder.mkdir()
    with job(tmp_path) as one:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(ArchiveError, match="No space left"):
            page(one, folder)
        monkeypatch.undo()
    assert not list(folder.iterdir())


def test_the_pictures_are_on_the_page(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    with job(tmp_path) as one:
        write_samples(one.archive)
        study = one.study()
        for row in one.archive.find("series"):
            one.series(study, str(row["SeriesInstanceUID"]), range(1), basis="unknown")
        one.receive(1, PixelData=None, SeriesInstanceUID="1.2.9")
        one.series(study, "1.2.9", range(1), basis="unknown")
        one.series(study, "1.2.10", range(1), basis="unknown")
        found = page(one, tmp_path, Thumbnails())
    assert [image[16:24] for image in found.images] == [struct.pack(">II", 64, 64)] * 4
    titles = [value for name, value in found.attributes if name == "title" and value]
    assert titles == ["It has no image.", "Nothing of it is here."]


def test_it_is_the_middle_image_by_number(tmp_path: Path) -> None:
    drawing = NoPictures()
    with job(tmp_path) as one:
        for uid, number in ((1, 9), (2, 100), (3, 10), (4, 8), (5, 1)):
            one.receive(uid, InstanceNumber=str(number))
        one.series(one.study(), numbers=range(1, 6))
        page(one, tmp_path, drawing)
    (path,) = drawing.asked
    assert Path(path).name.startswith("9-")


def test_without_numpy_the_page_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pypx.retrieve.report.thumbnails.find_spec", lambda name: None)
    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 3))
        one.receive(1)
        found = page(one, tmp_path, Thumbnails())
    assert "pip install 'pypx[report]'" in found.text
    assert not found.images


# The charts


@pytest.mark.parametrize(
    ("seconds", "width", "marks"),
    [
        (0.004, 0.01, ["0 s", "0.0025 s", "0.005 s", "0.0075 s", "0.01 s"]),
        (4.0, 1.0, ["0 s", "2 s", "4 s"]),
        (60.0, 1.0, ["19:00:00", "19:00:15", "19:00:30", "19:00:45"]),
        (7000.0, 60.0, ["19:00", "19:30", "20:00", "20:30"]),
        (400000.0, 3600.0, ["25 Feb", "26 Feb", "27 Feb", "28 Feb"]),
    ],
)
def test_the_time_axis_has_round_times(seconds: float, width: float, marks: list[str]) -> None:
    number = int(seconds / width) + 1
    start = datetime(2026, 2, 24, 18, 59, 59, tzinfo=UTC)
    arrivals = Arrivals(start.isoformat(), seconds, width, (3,) * number, (3 << 20,) * number)
    found = re.findall(r'class="t"[^>]*>([^<]+)', instances_chart(arrivals))
    assert found[: len(marks)] == marks
    assert len(found) <= 7
    Page(instances_chart(arrivals).replace("/>", "></path>"))


def test_the_scale_is_round_and_a_pause_has_no_bar() -> None:
    arrivals = Arrivals("2026-01-01T00:00:00Z", 2.0, 1.0, (70, 0, 35), (7_000_000, 0, 10))
    chart = instances_chart(arrivals)
    assert re.findall(r'class="v"[^>]*>([^<]+)', chart) == ["0", "20", "40", "60", "80"]
    heights = [float(one) for one in re.findall(r'<rect[^>]*height="([\d.]+)"', chart)]
    assert heights == pytest.approx([148 * 70 / 80, 148 * 35 / 80], abs=0.1)
    assert "8.0 MB/s" in bytes_chart(arrivals)


@pytest.mark.parametrize("span", [0.0, 0.5, 59.0, 3600.0, 40 * 86400.0, 900 * 86400.0])
def test_what_came_is_counted_in_at_most_120_bins(tmp_path: Path, span: float) -> None:
    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 4))
        one.receive(1, 2, 3)
        began = datetime.fromisoformat(one.transfer.began_at)
        with one.archive._index.transaction() as connection:
            for number, share in ((1, 0.0), (2, 0.5), (3, 1.0)):
                when = (began + timedelta(seconds=1 + span * share)).strftime("%FT%T.%fZ")
                connection.execute(
                    "UPDATE instance SET received_at = ?, bytes = ? WHERE sop_instance_uid = ?",
                    (when, 10**number, uid_of(number)),
                )
        arrivals = one.archive.account(one.transfer).arrivals()
    assert arrivals is not None
    assert len(arrivals.instances) == len(arrivals.bytes) <= 120
    assert (sum(arrivals.instances), sum(arrivals.bytes)) == (3, 1110)
    assert arrivals.instances[-1] >= 1
    assert arrivals.seconds == pytest.approx(span, abs=1e-3)
    assert arrivals.width * len(arrivals.instances) >= span
