"""Write the three tables of pypx.dicom from the dictionaries that come with pydicom.

Run from the root of the repository after an update of pydicom::

    python tools/make_dictionary.py

In: pydicom's transcription of PS3.6 and PS3.7. Out: ``dictionary.txt``,
``repeating.txt`` and ``uids.txt``, tab separated and sorted, so that a change of the
standard shows as a readable difference. Private dictionaries do not belong in here.
"""

from __future__ import annotations

from pathlib import Path

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary

TARGET = Path(__file__).resolve().parent.parent / "src" / "pypx" / "dicom"

#: The letter of each kind of UID that is worth a name in a message for the user.
UID_KINDS = {
    "Transfer Syntax": "T",
    "SOP Class": "C",
    "Meta SOP Class": "M",
    "Service Class": "V",
    "Application Context Name": "A",
    "Well-known SOP Instance": "I",
}
STORAGE_KIND = "S"
#: Named "Storage" in PS3.6, but no class whose instances a C-STORE carries.
NOT_STORED = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory: written to media only
        "1.2.840.10008.1.20.1",  # Storage Commitment, push and pull
        "1.2.840.10008.1.20.2",
    }
)


def dictionary_rows() -> list[str]:
    return [
        _row(f"{tag:08X}", *entry)
        for tag, entry in sorted(DicomDictionary.items())
        if entry[0] != "NONE" and entry[4]
    ]


def repeating_rows() -> list[str]:
    """Rows of the repeating groups and elements; an ``x`` stands for any digit."""
    return [
        _row(tag.upper().replace("X", "x"), *entry)
        for tag, entry in sorted(RepeatersDictionary.items())
    ]


def _row(tag: str, vr: str, vm: str, name: str, _retired: str, keyword: str) -> str:
    # Implicit VR writes what can be either as OW (PS3.5 §A.1), so that one comes first.
    vr = vr.replace("OB or OW", "OW or OB").replace(" or ", "/")
    return "\t".join((tag, vr, vm, keyword, name))


def uid_rows() -> list[str]:
    rows = []
    for uid, (name, kind, _info, _retired, _keyword) in UID_dictionary.items():
        if kind not in UID_KINDS:
            continue
        letter = UID_KINDS[kind]
        if letter == "C" and "Storage" in name and uid not in NOT_STORED:
            letter = STORAGE_KIND
        rows.append("\t".join((uid, letter, name)))
    return sorted(rows, key=lambda row: [int(part) for part in row.split("\t")[0].split(".")])


def main() -> None:
    tables = {
        "dictionary.txt": dictionary_rows(),
        "repeating.txt": repeating_rows(),
        "uids.txt": uid_rows(),
    }
    for name, rows in tables.items():
        (TARGET / name).write_text("\n".join(rows) + "\n", encoding="ascii", newline="\n")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
