"""The flags of the pypx before this one: whose style an order is in, and what is printed then."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.cli.upstream import for_listen, is_upstream
from pypx.compat.flags import PROGRAMS
from pypx.pacs import Pacs
from pypx.version import __version__
from tests.cli.conftest import Px, Serve, command_line, write_config
from tests.peers.process import free_port
from tests.scripted import Exchange, Scripted

WHO = ["--aec", "A", "--serverIP", "h"]


def flags(address: Address) -> list[str]:
    """Give the flags that name a PACS as upstream's users do."""
    peer = ["--aec", address.ae_title, "--serverIP", address.host, "--serverPort"]
    return ["--aet", "PYPX", *peer, str(address.port)]


@pytest.mark.parametrize(
    ("line", "upstream"),
    [
        # A flag that only upstream has says it, with NODE or without, whatever the program.
        ("px find --then retrieve A@h", True),
        ("px find hospital --StudyOnly", True),
        ("px-find --JSONargs={}", True),
        ("px echo --echoscu /x --aec A", True),
        ("px echo -x", True),
        ("px-move -y", True),
        ("px status --SeriesInstanceUID 1.2", True),
        ("px report --reportData {}", True),
        ("px-report", True),
        # The PACS named by its parts says it of upstream's programs only.
        ("px-find --aec A --serverIP h --PatientID X --json", True),
        ("px-find --serverIP h --StudyTime 10", True),
        ("px-echo --aec A --serverIP h --serverPort 4242", True),
        ("px-move --aec A --serverIP h --StudyInstanceUID 1 -v", True),
        ("px find --aec A --serverIP h --PatientID X --json", False),
        ("px echo --aec A --serverIP h", False),
        # A NODE or a flag of ours says otherwise.
        ("px-find A@h --serverIP h --PatientID X", False),
        ("px-find --aec A --serverIP h -k PatientID=X", False),
        ("px-find --aec A --serverIP h --tree", False),
        ("px-move --aec A --serverIP h --StudyInstanceUID 1 --to X", False),
        ("px-echo --all", False),
        ("px-find --aet A --PatientID X", False),
        # Their own help, and what is no flag.
        ("px-find --aec A --serverIP h --help", False),
        ("px find hospital -- --then", False),
        ("px-listen --aec A --serverIP h", False),
        ("px-listen -x", True),
        ("px listen --synopsis", True),
        ("px retrieve --aec A --serverIP h --move", False),
        ("px", False),
    ],
)
def test_whose_style_it_is(line: str, upstream: bool) -> None:
    program, *arguments = line.split()
    name = program.removeprefix("px-")
    if program == "px":
        name, arguments = (arguments or [""])[0], arguments[1:]
    assert is_upstream(program, name, arguments) is upstream


def test_echo_prints_a_dictionary_of_python(px: Px, pacs: Pacs) -> None:
    ran = px(*flags(pacs.address), program="px-echo")
    found = ast.literal_eval(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert list(found) == ["status", "data", "command", "returncode"]
    assert found["status"] == "success"
    ran = px(*flags(pacs.address), "--json", program="px-echo")
    assert ran.json["returncode"] == 0


def test_echo_of_ours_stays_ours(px: Px, pacs: Pacs) -> None:
    assert px("echo", *flags(pacs.address)).out.startswith("DEMO@")
    assert px("echo", *flags(pacs.address), "--json").json[0]["status"] == "success"


def test_a_rejection_has_upstreams_keys_and_our_exit_code(px: Px, serve: Serve) -> None:
    where = serve("reject-aet")
    ran = px(*flags(where), program="px-echo")
    found = ast.literal_eval(ran.out)
    assert (ran.code, found["status"], found["returncode"]) == (3, "error", 3)
    assert "rejected the association" in ran.err
    ran = px(*flags(where), "--json", program="px-find")
    assert (ran.code, ran.json["status"]) == (3, "error")


def test_legacy_exit_codes(px: Px, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYPX_LEGACY_EXIT", "1")
    where = serve("reject-aet")
    ran = px(*flags(where), "--json", program="px-find")
    assert (ran.code, ran.json["returncode"]) == (0, 3)
    assert px("-x", program="px-find").code == 1
    assert px("find", *flags(where), "--json").code == 3
    monkeypatch.setenv("PYPX_LEGACY_EXIT", "0")
    assert px(*flags(where), program="px-find").code == 3


def test_find_as_json(px: Px, pacs: Pacs) -> None:
    ran = px(*flags(pacs.address), "--PatientID", "DEMO-002", "--json", program="px-find")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.json["args"]) == 40
    assert len(ran.json["data"][0]["series"]) == 2
    assert ran.json["data"][0]["PatientName"]["value"].startswith("Yamada^Tarou=山田")


def test_find_of_ours_stays_ours(px: Px, pacs: Pacs) -> None:
    (study,) = px("find", *flags(pacs.address), "--PatientID", "DEMO-002", "--json").json
    assert study["PatientID"] == "DEMO-002"


def test_a_node_goes_with_flags_of_upstream(px: Px, pacs: Pacs, home: Path) -> None:
    write_config(home, f'[nodes.demo]\naddress = "{pacs.address}"\n')
    for arguments in (["demo", "--StudyOnly"], ["--PACS", "demo", "--StudyOnly"]):
        ran = px("find", *arguments, "--PatientID", "DEMO-001", "--json")
        assert (ran.code, len(ran.json["data"])) == (0, 1), ran.err


def test_the_whole_order_as_json(px: Px, pacs: Pacs) -> None:
    where = pacs.address
    order = {
        "aet": "PYPX",
        "aec": where.ae_title,
        "serverIP": where.host,
        "serverPort": str(where.port),
        "PatientID": "DEMO-003",
        "json": True,
        "StudyOnly": False,
    }
    ran = px("--JSONargs", json.dumps(order), "--PatientID", "other", program="px-find")
    assert (ran.code, len(ran.json["data"])) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "PatientID"),
        (["--printReport", "tabular", "--colorize", "dark"], "\x1b["),
        (["--printReport", "rawText"], "    T1 axial"),
        (["--printReport", "json"], '"bodySeriesUID"'),
        (["--printReport", "json", "--reportTags", '{"body": {"series": ["uid"]}}'], '"uid": "0"'),
    ],
)
def test_a_report_without_json(px: Px, pacs: Pacs, arguments: list[str], said: str) -> None:
    ran = px(*flags(pacs.address), "--PatientID", "DEMO-002", *arguments, program="px-find")
    assert ran.code == 0, ran.err
    assert said in ran.out


def test_move_prints_a_dictionary(px: Px, pacs: Pacs) -> None:
    asked = []

    def answer(exchange: Exchange) -> None:
        asked.append(exchange.request.move_destination)
        exchange.progress(0xB000, None, 1, 2, 0)

    with Scripted(move=answer) as scripted:
        uids = ["--StudyInstanceUID", "1.2", "--SeriesInstanceUID", "1.2.3"]
        ran = px(*flags(scripted.address), *uids, program="px-move")
    found = ast.literal_eval(ran.out)
    assert (ran.code, found["status"], asked) == (1, "partial", ["PYPX"])
    assert "2 of 3 images" in ran.err


def pfdcm_line(address: Address, **changes: Any) -> list[str]:
    """Give the command line that pfdcm makes of its dictionaries: true is a flag, false is none."""
    keys = {
        "aet": "PYPX",
        "aec": address.ae_title,
        "serverIP": address.host,
        "serverPort": str(address.port),
        "PatientID": "DEMO-002",
        "Modality": "",
        "AccessionNumber": "",
        "QueryReturnTags": "",
        "StudyOnly": False,
        "json": True,
        "withFeedBack": True,
        "db": "/home/dicom/log",
        **changes,
    }
    line = []
    for key, value in keys.items():
        if value is True:
            line.append(f"--{key}")
        elif value is not False:
            line += [f"--{key}", value]
    return line


def test_as_pfdcm_calls_it(px: Px, pacs: Pacs, port: int) -> None:
    ran = px(*pfdcm_line(pacs.address, then="retrieve,status", thenArgs=""), program="px-find")
    assert ran.code == 4, ran.err  # nobody listens where the PACS sends to
    assert [key for key in ran.json["then"] if key != "do"] == ["00-retrieve", "01-status"]
    assert ran.json["status"] == "partial"
    assert "1 study found" in ran.err
    pacs.destinations.clear()


def test_what_has_no_effect_is_said_with_v(px: Px, pacs: Pacs) -> None:
    line = [*flags(pacs.address), "--CUBE", "local", "--swift", "x", "--findscu", "/x/findscu"]
    line += ["--PACS", "orthanc"]
    ran = px(*line, "--PatientID", "none", "--json", program="px-find")
    assert ran.err == ""
    assert ran.json["command"].startswith("/x/findscu ")
    for verbose in (["-v"], ["-v", "2"], ["--verbosity", "2"]):
        ran = px(*line, "--PatientID", "none", *verbose, program="px-find")
        assert "--CUBE: No effect" in ran.err
        assert "--swift: No effect" in ran.err
        assert "--findscu: No effect" in ran.err
        assert "--PACS: " in ran.err


def test_what_has_no_effect_where_no_pacs_is_asked(px: Px, home: Path) -> None:
    ran = px("status", "--SeriesInstanceUID", "1.2", "--db", "/tmp/log", "-v")
    assert "--db: No effect" in ran.err


def test_an_engine_that_there_is_not(px: Px) -> None:
    ran = px(*WHO, "--StudyOnly", "--engine", "steam", program="px-find")
    assert ran.code == 2
    assert "'steam' is no engine" in ran.err


def test_a_program_of_dcmtk_has_an_effect_with_that_engine(px: Px, pacs: Pacs) -> None:
    line = [*flags(pacs.address), "--engine", "dcmtk", "--findscu", "/nowhere/findscu", "-v"]
    ran = px(*line, "--PatientID", "X", program="px-find")
    assert ran.code != 0
    assert "/nowhere/findscu" in ran.err
    assert "No effect" not in ran.err


@pytest.mark.parametrize("program", [*PROGRAMS, "listen"])
def test_what_a_program_says_of_itself(px: Px, program: str) -> None:
    for flag in ("-x", "--desc"):
        ran = px(flag, program=f"px-{program}")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"px-{program}: ")
    for flag in ("-y", "--synopsis"):
        ran = px(flag, program=f"px-{program}")
        assert ran.code == 0
        assert "--verbosity VALUE" in ran.out


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("--verbosity 0 --port 1", "-q --port 1"),
        ("-v 1 --port 1", "--port 1"),
        ("--port 1 --verbosity=2", "--port 1 -v"),
        ("-v --port 1", "-v --port 1"),
        ("--port 1 -v", "--port 1 -v"),
    ],
)
def test_how_much_a_listener_says(given: str, ours: str) -> None:
    assert for_listen(given.split()) == ours.split()


def test_a_listener_that_is_to_say_what_is_no_number(px: Px) -> None:
    for arguments in (["--verbosity", "x"], ["--verbosity"]):
        assert px("listen", *arguments).code == 2


def test_the_query_is_in_the_audit_trail(px: Px, pacs: Pacs, home: Path) -> None:
    write_config(home, f'[audit]\nto = "file:{home}/audit.log"\n')
    assert px(*flags(pacs.address), "--PatientID", "DEMO-002", program="px-find").code == 0
    lines = (home / "audit.log").read_text().splitlines()
    assert sum("Query" in line for line in lines) == 2  # for studies, and for the series of one


def test_lines_on_stderr_do_not_tell_who_it_is(px: Px, serve: Serve) -> None:
    secret = "TOPSECRET"
    order = json.dumps({"PatientName": secret, "PatientID": f"{secret}1"})
    for line in (["--PatientID", secret, "-v"], ["--JSONargs", order, "-v"]):
        where = serve("reject-aet")
        ran = px(*flags(where), *line, "--then", secret, program="px-find")
        assert ran.code == 2
        assert secret not in ran.err
        assert "#" in ran.err


def test_the_user_of_the_node_is_sent(px: Px, home: Path) -> None:
    with Scripted(find=lambda one: one.end_find()) as scripted:
        write_config(
            home,
            f'[nodes.hospital]\naddress = "{scripted.address}"\n'
            'identity = { username = "researcher" }\n',
        )
        ran = px(*flags(scripted.address), "--PatientID", "X", program="px-find")
        assert ran.code == 0, ran.err
        identity = scripted.requests[0].user_information.user_identity
    assert identity is not None
    assert identity.primary_field == b"researcher"


def test_the_version(px: Px) -> None:
    assert px("--version", "--StudyOnly", program="px-find").out == f"pypx {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--StudyOnly", "--aec", "A"], "--serverIP is missing"),
        ([*WHO, "--StudyOnly", "--tree"], "px-find has no --tree"),
        ([*WHO, "--StudyOnly", "--patientid", "x"], "px-find has no --patientid"),
        ([*WHO, "--StudyOnly=1"], "takes no value"),
        ([*WHO, "--then"], "--then needs a value"),
        ([*WHO, "--then", "-x"], "no step '-x'"),
        ([*WHO, "--then", "pull"], "no step 'pull'"),
        ([*WHO, "--then", "retrieve"], "Nothing says what is to be retrieved"),
        ([*WHO, "--then", "report", "--thenArgs", "{"], "--thenArgs"),
        ([*WHO, "--StudyOnly", "--verbosity", "x"], "--verbosity"),
        ([*WHO, "--StudyOnly", "--timeout", "0"], "--timeout"),
        ([*WHO, "--StudyOnly", "--serverPort", "x"], "no number"),
        ([*WHO, "--JSONargs", "[]"], "--JSONargs"),
        (["a", "b", "--StudyOnly"], "does not take 'b'"),
        ([*WHO, "--StudyOnly", "-q", "-v"], "exclude each other"),
        ([*WHO, "--aet", "x" * 17, "--StudyOnly"], "at most 16"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    ran = px(*arguments, program="px-find")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_what_is_no_use_has_upstreams_keys_too(px: Px) -> None:
    ran = px(*WHO, "--then", "--json", program="px-find")
    assert (ran.code, ran.json["status"], ran.json["returncode"]) == (2, "error", 2)
    assert ran.json["data"] == "--then needs a value."


def test_a_report_that_there_is_not(px: Px, pacs: Pacs) -> None:
    line = [*flags(pacs.address), "--PatientID", "DEMO-001", "--printReport", "pdf"]
    ran = px(*line, program="px-find")
    assert ran.code == 2
    assert "no report 'pdf'" in ran.err


def test_report_of_a_file(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    px(*flags(pacs.address), "--PatientID", "DEMO-002", "--json", "-o", file, program="px-find")
    csv = ["--printReport", "csv", "--csvPrintHeaders"]
    ran = px("--reportDataFile", file, *csv, program="px-report")
    assert (ran.code, len(ran.out.splitlines())) == (0, 3)
    assert ran.out.startswith("PatientName|PatientID|")
    assert px("report", "--reportDataFile", file, "--json").json[0]["header"]["PatientSex"] == "M"
    assert px(program="px-report").code == 2


def test_status_of_a_series(px: Px, samples: Archive) -> None:
    (row,) = samples.find("series", {"SeriesDescription": "T1 axial"})
    series = ["--SeriesInstanceUID", str(row["SeriesInstanceUID"]), "--archive", samples.root]
    ran = px(*series, program="px-status")
    assert (ran.code, ran.out) == (
        0,
        "StudyOK, SeriesOK, ImagesReceived. 8 images are here.\n",
    )
    assert px("status", *series, "--json").json["images"]["received"] == {"count": 8}
    assert px("status", "--StudyInstanceUID", "1.2", "--archive", samples.root).code == 1
    assert px("--archive", samples.root, "--json", program="px-status").json["studies"] == 3


def test_ctrl_c_cancels_what_is_sent_and_tells_what_came(px: Px, home: Path) -> None:
    asked = []

    def find(exchange: Exchange) -> None:
        for number in range(1, 4):
            exchange.match(StudyInstanceUID="1.2", SeriesInstanceUID=f"1.2.{number}")
        exchange.end_find()

    def move(exchange: Exchange) -> None:
        asked.append(exchange.identifier["SeriesInstanceUID"])
        exchange.progress(0xFF00, 2, 1, 0, 0)
        process.send_signal(signal.SIGINT)
        exchange.wait_for_cancel()
        exchange.progress(0xFE00, 2, 1, 0, 0)

    with Scripted(find=find, move=move) as scripted:
        line = ["find", *flags(scripted.address), "--PatientID", "X", "--then", "retrieve"]
        process = subprocess.Popen(
            command_line(*line, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, _ = process.communicate(timeout=100)
    found = json.loads(out)
    assert (process.returncode, asked) == (130, ["1.2.1"])
    ((study,),) = [list(one.values()) for one in found["then"]["00-retrieve"]["study"]]
    assert [(one["status"], one["returncode"]) for one in study] == [
        ("partial", 130),
        ("error", 130),
        ("error", 130),
    ]


def test_the_programs_are_installed_names() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    from pypx.cli import main

    for program, where in project["project"]["scripts"].items():
        assert where.startswith("pypx.cli.main:"), program
        assert callable(getattr(main, where.partition(":")[2]))


def test_a_command_of_ours_does_not_load_the_table(pacs: Pacs) -> None:
    code = (
        f"import sys; sys.argv = ['px', 'echo', {str(pacs.address)!r}, '--json']\n"
        "from pypx.cli.main import main\nassert main() == 0\n"
        "assert not [name for name in sys.modules if name.startswith('pypx.compat')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, capture_output=True)


def test_nobody_there(px: Px, home: Path) -> None:
    where = Address("X", "127.0.0.1", free_port())
    ran = px(*flags(where), "--PatientID", "X", "-o", home / "found.txt", program="px-find")
    assert (ran.code, ran.out) == (3, "")
    assert "error:" in ran.err
    assert not (home / "found.txt").exists()
