"""Which programs are run, and with what: programs of the test stand for DCMTK's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pypx.address import Address
from pypx.dcmtk.arguments import requestor_arguments
from pypx.dcmtk.programs import Programs
from pypx.errors import ConfigError
from pypx.net.connection import Timeouts
from pypx.net.tls_settings import ClientTls

TIMEOUTS = Timeouts(connect=0.5, association=2.2, response=9, release=1)


def program(folder: Path, name: str, said: str, more: str = "") -> str:
    """Make a program that says its version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n[ \"$1\" = --help ] && echo '{more}'\necho '{said}'\n")
    path.chmod(0o755)
    return str(path)


def version(name: str, number: str) -> str:
    return f"$dcmtk: {name} v{number} 2022-04-22 $"


def test_a_missing_program_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="findscu is not installed") as caught:
        Programs().path("findscu")
    assert "apt install dcmtk" in caught.value.hint
    assert caught.value.exit_code == 2


def test_one_of_the_same_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom installs a findscu as well; DCMTK's is beside dcmdump."""
    other, own = tmp_path / "venv", tmp_path / "usr"
    monkeypatch.setenv("PATH", f"{other}:{own}:/bin:/usr/bin")
    program(other, "findscu", "findscu.py v0.2.0")
    program(own, "dcmdump", version("dcmdump", "3.6.7"))
    expected = program(own, "findscu", version("findscu", "3.6.7"))
    assert Programs().path("findscu") == expected
    assert Programs().version("findscu") == "3.6.7"
    with pytest.raises(ConfigError, match="is not DCMTK's findscu") as caught:
        Programs({"findscu": str(other / "findscu")}).path("findscu")
    assert "pynetdicom" in caught.value.hint


def test_one_that_is_too_old(tmp_path: Path) -> None:
    path = program(tmp_path, "findscu", version("findscu", "3.6.2"))
    with pytest.raises(ConfigError, match=r"DCMTK 3\.6\.2, which is too old"):
        Programs({"findscu": path}).path("findscu")


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which \\[dcmtk\\] of the configuration names"):
        Programs({"findscu": str(tmp_path / "findscu")}).path("findscu")


def arguments(path: str, tls: ClientTls | None = None, host: str = "h", aet: str = "US") -> str:
    programs = Programs({"findscu": path})
    command, place = requestor_arguments(
        programs, "findscu", Address("THEM", host, 104), aet, TIMEOUTS, tls
    )
    return " ".join([*command[1:], *place])


def test_what_all_of_them_are_told(tmp_path: Path) -> None:
    path = program(tmp_path, "findscu", version("findscu", "3.6.7"))
    said = arguments(path)
    assert said == "-d -aet US -aec THEM -to 1 -ta 3 -pdu 131072 h 104"


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (ClientTls(ca="CA"), "+tla +cf CA"),
        (ClientTls(ca="CA", certificate="OWN"), "+tls OWN OWN +cf CA"),
        (ClientTls(certificate="OWN", key="KEY", verify=False), "+tls KEY OWN -ic"),
    ],
)
def test_tls_is_passed_on(tmp_path: Path, tls: ClientTls, expected: str) -> None:
    path = program(tmp_path, "findscu", version("findscu", "3.6.7"), "+tls --enable-tls")
    assert f" {expected} " in arguments(path, tls)


@pytest.mark.parametrize(
    ("tls", "host", "aet", "message"),
    [
        (ClientTls(), "h", "US", "cannot speak TLS"),
        (None, "::1", "US", "no IPv6"),
        (None, "-h", "US", "would take the host"),
        (None, "h", "@US", "would take the AE title"),
    ],
)
def test_what_cannot_be_said_to_it(
    tmp_path: Path, tls: ClientTls | None, host: str, aet: str, message: str
) -> None:
    path = program(tmp_path, "findscu", version("findscu", "3.6.7"))
    with pytest.raises(ConfigError, match=message) as caught:
        arguments(path, tls, host, aet)
    assert caught.value.hint


def test_no_option_for_a_newer_tls_only(tmp_path: Path) -> None:
    path = program(tmp_path, "findscu", version("findscu", "3.6.7"), "--enable-tls")
    with pytest.raises(ConfigError, match=r"TLS 1\.3"):
        arguments(path, ClientTls(minimum="1.3"))
