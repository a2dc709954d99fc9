"""The flag table: it agrees with itself, with the command line, and with the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from pypx.cli.upstream import SIGNS
from pypx.compat.flags import FLAGS, PROGRAMS, defaults, flags_of, only_upstream

PAGE = Path(__file__).parents[2] / "docs" / "moving-from-pypx.md"


def test_the_signs_of_upstream_are_those_of_the_table() -> None:
    assert (
        frozenset().union(*(only_upstream(name) for name in PROGRAMS if name != "report")) == SIGNS
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_flag_has_one_meaning_in_a_program(program: str) -> None:
    names = [name for flag in FLAGS if program in flag.programs for name in flag.names]
    assert len(names) == len(set(names))
    assert set(names) == set(flags_of(program))


def test_the_arguments_of_find_are_the_forty_of_upstream_but_for_the_level() -> None:
    keys = """JSONargString dblogbasepath PACS CUBE swift aet aec serverIP serverPort findscu
        movescu StudyOnly QueryReturnTags AccessionNumber PatientID PatientName PatientSex StudyDate
        ModalitiesInStudy Modality PerformedStationAETitle StudyDescription SeriesDescription
        SeriesInstanceUID StudyInstanceUID ProtocolName AcquisitionProtocolName
        AcquisitionProtocolDescription withFeedBack then thenArgs intraSeriesRetrieveDelay move json
        verbosity desc synopsis b_version b_waitForUserTerminate"""
    assert set(defaults("find")) == set(keys.split())
    assert len(defaults("find")) == 39


def test_what_has_no_effect_says_why() -> None:
    for flag in FLAGS:
        assert flag.inert == flag.effect.startswith("No effect: "), flag.names


def rows() -> list[str]:
    """Give the lines of the table in the documentation."""
    found = []
    for flag in FLAGS:
        programs = ", ".join(flag.programs)
        names = ", ".join(f"`{name}`" for name in flag.names)
        found.append(f"| {names} | {programs} | {flag.effect.replace('|', chr(92) + '|')} |")
    return found


def test_the_documentation_has_the_table() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| flag | of px- | what it does here |") + 2
    assert lines[start : start + len(FLAGS)] == rows()
