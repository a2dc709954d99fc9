"""``px doctor``: what works with a PACS, which step fails, and what is to be done about it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.dicom.data_set import DataSet
from pypx.doctor import fetching, questions
from pypx.doctor.doctor import NAMES
from pypx.errors import DataSetError
from pypx.net.tls import server_context
from pypx.net.tls_settings import ServerTls
from pypx.pacs import Pacs, find
from pypx.receiver.receiver import Receiver
from pypx.ul.codec import encode_pdu
from pypx.ul.pdu import AAssociateRJ
from tests.cli.conftest import Px, Ran, write_config
from tests.net.certificates import Certificates
from tests.peers.process import free_port
from tests.peers.raw import RawScp, receive_pdu, send

Doctored = Callable[..., Ran]
IDENTIFIERS = ("DEMO-00", "Muster", "Yamada", "Doe^", "A1001", "A1002", "A1003", "2.25.")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_LATE", 0.3)
    monkeypatch.setattr(fetching, "_TAIL", 0.3)
    monkeypatch.setattr(fetching, "_LOOK", 0.005)


@pytest.fixture
def doctored(px: Px, samples: Archive) -> Iterator[Doctored]:
    """Examine a PACS with these faults, which knows us at our port."""
    with ExitStack() as stack:

        def call(*faults: str, options: tuple[object, ...] = ("--json",)) -> Ran:
            port = free_port()
            here = {"PYPX": Address("PYPX", "127.0.0.1", port)}
            pacs = stack.enter_context(Pacs(samples, destinations=here, faults=faults))
            return px("doctor", pacs.address, "--port", port, *options)

        yield call


def steps(ran: Ran) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in ran.json}


def verdicts(ran: Ran) -> dict[str, str]:
    """Give what is neither in order nor left out."""
    return {
        step["step"]: step["status"] for step in ran.json if step["status"] not in ("ok", "skipped")
    }


# An honest PACS ---------------------------------------------------------------------------


def test_all_is_well(doctored: Doctored, home: Path) -> None:
    ran = doctored()
    assert ran.code == 0
    found = steps(ran)
    assert list(found) == ["configuration", *NAMES]
    assert verdicts(ran) == {}
    assert [name for name, step in found.items() if step["status"] == "skipped"] == ["TLS"]
    assert all(
        set(step) == {"step", "status", "seconds", "message", "hint", "facts"} for step in ran.json
    )
    facts = {name: step["facts"] for name, step in found.items()}
    assert facts["association"] == {"calling_ae_title": "PYPX", "called_ae_title": "DEMO"}
    assert facts["peer"]["maximum_pdu_length"] == 1048576
    assert len(facts["presentation contexts"]["accepted"]) == 7
    assert facts["presentation contexts"]["refused"] == {}
    assert len(facts["C-ECHO"]["times_ms"]) == 5
    assert facts["C-FIND image"] == {"matches": 12, "counted": 12}
    assert facts["other model"]["levels"] == dict.fromkeys(("study", "series", "image"), "1 found")
    assert facts["relational query"] == {"relational": True}
    assert facts["match limit"] == {"matches": 3, "limit": None}
    assert "StudyDescription" in facts["return keys"]["study"]["given"]
    assert facts["C-GET"]["instances"] == facts["C-MOVE"]["instances"] == 1
    assert facts["C-MOVE"]["calling_ae_title"] == "DEMO"
    assert not (home / "pypx").exists()  # nothing of it is in the user's archive


def test_no_more_queries_than_promised(doctored: Doctored, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    begin = questions.Questions.begin

    def count(self: questions.Questions, *arguments: Any) -> Any:
        asked.append(arguments)
        return begin(self, *arguments)

    monkeypatch.setattr(questions.Questions, "begin", count)
    assert doctored("cap-silently=1", options=("--no-get", "--no-move", "--json")).code == 1
    assert 15 < len(asked) <= questions.MOST_QUERIES


def test_each_step_is_a_line(doctored: Doctored) -> None:
    ran = doctored(options=("--no-move",))
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 1 + len(NAMES)
    assert lines[0].startswith("ok       configuration ")
    assert lines[-2].startswith("ok       C-GET ")
    assert lines[-1].startswith("skipped  C-MOVE ")
    assert lines[-1].endswith("It was not tried (--no-move).")


def test_each_step_is_an_object_with_jsonl(doctored: Doctored) -> None:
    ran = doctored(options=("--no-get", "--no-move", "--jsonl"))
    assert [row["step"] for row in ran.rows] == ["configuration", *NAMES]


def test_nothing_names_a_patient(doctored: Doctored) -> None:
    for faults in ((), ("cap-silently=2",), ("refuse-image-level",), ("wrong-character-set",)):
        ran = doctored(*faults, options=("-v",))
        assert not [one for one in IDENTIFIERS[:-1] if one in ran.out + ran.err]
        assert "2.25." not in ran.out.partition("C-FIND study")[2]


# Faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["send-twice", "association-per-object", "no-suboperation-counts", "late-stores"]
)
def test_what_is_odd_but_brings_all_is_well(doctored: Doctored, fault: str) -> None:
    ran = doctored(fault)
    assert (ran.code, verdicts(ran)) == (0, {})
    moved = steps(ran)["C-MOVE"]["message"]
    assert ("came twice" in moved) == (fault == "send-twice")
    assert "after it said" not in moved or fault == "late-stores"


@pytest.mark.parametrize("strict", [False, True])
def test_the_patient_root_model(
    px: Px, samples: Archive, home: Path, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    """A strict PACS wants the unique key of each level above."""
    level_of = find.level_of

    def check(identifier: DataSet, sop_class_uid: str) -> str:
        level = level_of(identifier, sop_class_uid)
        if level != "patient" and "PatientID" not in find.matching_keys(identifier):
            raise DataSetError("There is no PatientID.")
        return level

    if strict:
        monkeypatch.setattr(find, "level_of", check)
    with Pacs(samples) as pacs:
        write_config(home, f'[nodes.d]\naddress = "{pacs.address}"\nmodel = "patient"')
        ran = px("doctor", "d", "--no-move", "--json")
    assert (ran.code, verdicts(ran)) == (0, {})
    assert steps(ran)["C-FIND study"]["facts"]["model"] == "patient"
    assert steps(ran)["relational query"]["facts"]["relational"] != strict
    assert steps(ran)["C-GET"]["facts"] == {
        "level": "image",
        "instances": 1,
        "model": "patient",
        "bytes": 9046,
    }


def test_one_association_is_enough(doctored: Doctored) -> None:
    assert doctored("reject-over-limit=1").code == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("drop-objects=1", "It says 1 completed, 0 failed, 0 with a warning. It reached our"),
        ("empty-success=0", "It says that all is done, but sent nothing."),
        ("cut-object=1", "It reached our listener, but no image came whole."),
    ],
)
def test_nothing_comes(doctored: Doctored, fault: str, said: str) -> None:
    ran = doctored(fault)
    assert ran.code == (3 if fault == "cut-object=1" else 1)
    assert verdicts(ran) == {"C-GET": "failed", "C-MOVE": "failed"}
    assert said in steps(ran)["C-MOVE"]["message"]


@pytest.mark.parametrize("fault", ["stall", "pending-for-ever"])
def test_nothing_is_said(doctored: Doctored, fault: str) -> None:
    ran = doctored(fault, options=("--json", "--timeout", "0.2"))
    assert ran.code == 3
    assert verdicts(ran) == {"C-GET": "failed", "C-MOVE": "failed"}
    assert "--timeout" in steps(ran)["C-MOVE"]["hint"]


def test_the_pacs_does_not_know_us(doctored: Doctored) -> None:
    ran = doctored("unknown-destination")
    assert ran.code == 4
    move = steps(ran)["C-MOVE"]
    assert "It does not know us, PYPX." in move["message"]
    assert "any PACS: AE title PYPX, host 127.0.0.1, port " in move["hint"]
    assert "DicomModalities" in move["hint"]
    assert move["facts"]["status"] == "A801"


def test_the_pacs_cannot_reach_our_port(px: Px, samples: Archive) -> None:
    there = {"PYPX": Address("PYPX", "127.0.0.1", free_port())}
    with Pacs(samples, destinations=there) as pacs:
        ran = px("doctor", pacs.address, "--port", free_port(), "--no-get", "--json")
    move = steps(ran)["C-MOVE"]
    assert (ran.code, move["status"]) == (4, "failed")
    assert "It knows us, but did not reach our listener" in move["message"]
    assert "any PACS: AE title PYPX" in move["hint"]


def test_the_pacs_knows_us_at_another_address(px: Px, samples: Archive, tmp_path: Path) -> None:
    with (
        Archive(tmp_path / "elsewhere") as archive,
        Receiver(archive, port=0) as receiver,
        Pacs(samples, destinations={"PYPX": Address("PYPX", "127.0.0.1", receiver.port)}) as pacs,
    ):
        ran = px("doctor", pacs.address, "--port", free_port(), "--no-get", "--json")
    assert ran.code == 1
    assert "it knows PYPX at another address" in steps(ran)["C-MOVE"]["message"]


def test_our_own_rules_keep_the_pacs_out(px: Px, samples: Archive, home: Path) -> None:
    """It is called at one address, and calls us from another."""
    write_config(home, '[listen]\nallow = ["OTHER@10.1.2.3"]')
    port = free_port()
    here = {"PYPX": Address("PYPX", "127.0.0.1", port)}
    with Pacs(samples, host="::1", destinations=here) as pacs:
        ran = px("doctor", pacs.address, "--port", port, "--no-get", "--json")
    assert (ran.code, verdicts(ran)) == (4, {"C-MOVE": "failed"})
    move = steps(ran)["C-MOVE"]
    assert "It reached our listener from 127.0.0.1 as DEMO, and was refused." in move["message"]
    assert 'allow = ["*@127.0.0.1"]' in move["hint"]


def test_our_own_rules_let_in_whom_we_ask(doctored: Doctored, home: Path) -> None:
    write_config(home, '[listen]\nallow = ["OTHER@10.1.2.3"]\n[nodes.x]\naddress = "X@10.9.9.9:1"')
    ran = doctored(options=("--no-get", "--json"))
    assert ran.code == 0


def test_a_listener_that_runs_is_not_given_a_test_image(
    px: Px, pacs: Pacs, port: int, tmp_path: Path
) -> None:
    with Archive(tmp_path / "own") as archive, Receiver(archive, port=port) as receiver:
        ran = px("doctor", pacs.address, "--port", port, "--no-get", "--json")
        assert receiver.totals.instances == 0
    assert ran.code == 0
    move = steps(ran)["C-MOVE"]
    assert move["status"] == "skipped"
    assert "already runs" in move["message"]


@pytest.mark.parametrize(
    ("fault", "limit", "said"),
    [
        ("cap-silently=2", 2, "without saying so"),
        ("cap-silently", 10, "levels below"),
        ("cap-with-a700=2", 2, "with status A700H"),
    ],
)
def test_answers_are_cut(doctored: Doctored, fault: str, limit: int, said: str) -> None:
    ran = doctored(fault, options=("--no-get", "--no-move", "--json"))
    assert ran.code == 1
    assert verdicts(ran) == {"C-FIND image": "warning", "match limit": "warning"}
    found = steps(ran)["match limit"]
    assert found["facts"]["limit"] == limit
    assert said in found["message"] or said in steps(ran)["C-FIND image"]["message"]


def test_answers_that_are_cut_are_noticed_without_counts(doctored: Doctored) -> None:
    ran = doctored("no-counts", "cap-silently=2", options=("--no-get", "--no-move", "--json"))
    found = steps(ran)["match limit"]
    assert found["message"] == "It ends answers after 2 matches, without saying so."


@pytest.mark.parametrize("level", ["image", "series"])
def test_a_level_is_refused(doctored: Doctored, level: str) -> None:
    ran = doctored(f"refuse-{level}-level", options=("--json", "--no-move"))
    assert ran.code == 1
    assert verdicts(ran) == {f"C-FIND {level}": "warning"}
    assert steps(ran)[f"C-FIND {level}"]["facts"] == {"status": "A900"}
    # What cannot be asked for by itself is asked for with what is around it, if that is little.
    assert steps(ran)["C-GET"]["facts"]["level"] == ("series" if level == "image" else "study")


def test_a_key_is_ignored(doctored: Doctored) -> None:
    ran = doctored("ignore-modalities", options=("--no-get", "--no-move", "--json"))
    assert (ran.code, verdicts(ran)) == (1, {"modality": "warning"})


def test_answers_come_twice(doctored: Doctored) -> None:
    ran = doctored("answer-twice", options=("--no-get", "--no-move", "--json"))
    assert ran.code == 0
    assert steps(ran)["C-FIND study"]["facts"] == {"model": "study", "matches": 6, "repeated": 3}


def test_counts_are_left_out(doctored: Doctored) -> None:
    ran = doctored("no-counts", options=("--no-get", "--no-move", "--json"))
    assert ran.code == 0
    assert "NumberOfStudyRelatedInstances" in steps(ran)["return keys"]["message"]


@pytest.mark.parametrize("fault", ["wrong-character-set", "no-character-set"])
def test_text_is_not_what_it_is_said_to_be(doctored: Doctored, fault: str) -> None:
    ran = doctored(fault, options=("--no-get", "--no-move", "--json"))
    assert (ran.code, verdicts(ran)) == (1, {"character set": "warning"})
    assert steps(ran)["character set"]["facts"]["really"] == "ISO_IR 192"


def test_we_are_rejected(doctored: Doctored) -> None:
    ran = doctored("reject-aet")
    assert ran.code == 3
    found = steps(ran)
    assert verdicts(ran) == {"association": "failed"}
    assert "does not know our AE title 'PYPX'" in found["association"]["hint"]
    assert "any PACS: AE title PYPX" in found["association"]["hint"]
    assert found["association"]["facts"]["reason"] == 3
    assert found["C-MOVE"]["status"] == "skipped"
    assert found["C-MOVE"]["message"] == "It needs the step 'C-FIND study'."


def test_too_many_associations(doctored: Doctored) -> None:
    ran = doctored("reject-over-limit=0")
    assert (ran.code, verdicts(ran)) == (3, {"association": "failed"})
    assert "try again later" in steps(ran)["association"]["hint"]


# No PACS at all ---------------------------------------------------------------------------


def test_an_empty_pacs(px: Px, tmp_path: Path) -> None:
    with Archive(tmp_path / "empty") as archive, Pacs(archive) as pacs:
        ran = px("doctor", pacs.address, "--json")
    assert (ran.code, verdicts(ran)) == (1, {"C-FIND study": "failed"})
    assert "no study for us" in steps(ran)["C-FIND study"]["message"]


def test_an_unknown_node(px: Px, home: Path) -> None:
    write_config(home, '[nodes.hospital]\naddress = "ORTHANC@10.1.2.3:4242"')
    ran = px("doctor", "hopsital", "--json")
    assert (ran.code, verdicts(ran)) == (2, {"configuration": "failed"})
    assert steps(ran)["configuration"]["hint"] == "Did you mean hospital?"
    assert [step["step"] for step in ran.json] == ["configuration", *NAMES]


def test_a_name_without_an_address(px: Px) -> None:
    ran = px("doctor", "ORTHANC@pacs.invalid:104", "--json")
    assert (ran.code, verdicts(ran)) == (3, {"name look-up": "failed"})


def test_a_closed_port(px: Px) -> None:
    ran = px("doctor", f"ORTHANC@127.0.0.1:{free_port()}", "--json")
    assert (ran.code, verdicts(ran)) == (3, {"TCP": "failed"})
    assert "Nothing listens there" in steps(ran)["TCP"]["hint"]


def test_a_host_that_does_not_answer(px: Px) -> None:
    with socket.socket() as full:  # a backlog that is full drops what comes, as a firewall does
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(where)
        ran = px("doctor", f"ORTHANC@127.0.0.1:{where[1]}", "--timeout", "0.2", "--json")
        for one in waiting:
            one.close()
    assert (ran.code, verdicts(ran)) == (3, {"TCP": "failed"})
    assert "firewall" in steps(ran)["TCP"]["hint"]


def test_a_web_server_on_the_port(px: Px) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        ran = px("doctor", f"ORTHANC@127.0.0.1:{server.server_port}", "--timeout", "0.2", "--json")
        server.shutdown()
        thread.join()
    assert (ran.code, verdicts(ran)) == (3, {"association": "failed"})
    assert "A web server answers on this port." in steps(ran)["association"]["message"]
    assert "DICOM" in steps(ran)["association"]["hint"]


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Give a port where TLS is spoken, but no DICOM, and the file of its authority."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    certificates = Certificates(folder)
    context = server_context(ServerTls(certificates.issue("localhost", "127.0.0.1")))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                except OSError:
                    return
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], certificates.ca
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_tls_on_the_port_of_a_node_without(px: Px, tls_port: tuple[int, str]) -> None:
    ran = px("doctor", f"ORTHANC@127.0.0.1:{tls_port[0]}", "--timeout", "0.5", "--json")
    assert (ran.code, verdicts(ran)) == (3, {"association": "failed"})
    assert "TLS is spoken on this port." in steps(ran)["association"]["message"]


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_of_a_node(px: Px, home: Path, tls_port: tuple[int, str], trusted: bool) -> None:
    port, ca = tls_port
    settings = f'{{ ca = "{ca}" }}' if trusted else "true"
    write_config(home, f'[nodes.demo]\naddress = "D@127.0.0.1:{port}"\ntls = {settings}')
    ran = px("doctor", "demo", "--timeout", "0.5", "--json")
    assert ran.code == 3
    tls = steps(ran)["TLS"]
    assert tls["status"] == ("ok" if trusted else "failed")
    if trusted:
        assert tls["facts"]["version"] == "TLSv1.3"
        assert "127.0.0.1" in tls["facts"]["certificate_names"]
    else:
        assert "none that is trusted here" in tls["message"]
        assert steps(ran)["association"]["status"] == "skipped"


def test_a_certificate_that_is_missing(px: Px, home: Path) -> None:
    write_config(home, '[nodes.d]\naddress = "D@127.0.0.1:1"\ntls = { ca = "/nowhere" }')
    ran = px("doctor", "d", "--json")
    assert (ran.code, verdicts(ran)) == (2, {"configuration": "failed"})


def test_the_called_ae_title_is_wrong(px: Px) -> None:
    scripts = [[receive_pdu(), send(encode_pdu(AAssociateRJ(1, 1, 7)))] for _ in range(3)]
    scp = RawScp(*scripts)
    try:
        ran = px("doctor", f"OTHER@127.0.0.1:{scp.port}", "--timeout", "1", "--json")
    finally:
        scp.stop()
    assert ran.code == 3
    assert "check its spelling" in steps(ran)["association"]["hint"]


# What is saved ----------------------------------------------------------------------------


def test_what_was_learnt_is_saved_and_used(px: Px, samples: Archive, home: Path) -> None:
    port = free_port()
    here = {"PYPX": Address("PYPX", "127.0.0.1", port)}
    faults = ["cap-silently=2", "wrong-character-set"]
    with Pacs(samples, destinations=here, faults=faults) as pacs:
        path = write_config(
            home,
            f"# Of the hospital\n[listen]\nport = {port}\n\n[nodes.demo] # ours\n"
            f'address = "{pacs.address}"\n# its names\n\n[nodes.other]\naddress = "O@10.1.2.3"\n',
        )
        ran = px("doctor", "demo", "--save")
        assert ran.code == 1
        assert "Saved for demo" in ran.err
        assert path.read_text().splitlines() == [
            "# Of the hospital",
            "[listen]",
            f"port = {port}",
            "",
            "[nodes.demo] # ours",
            'model = "study"',
            'method = "move"',
            "match_limit = 2",
            'character_set = "ISO_IR 192"',
            f'address = "{pacs.address}"',
            "# its names",
            "",
            "[nodes.other]",
            'address = "O@10.1.2.3"',
        ]
        assert not path.with_suffix(".toml.bak").exists()
        assert px("doctor", "demo", "--save").code == 0  # what is known needs no warning
        shown = px("nodes", "show", "demo", "--json").json
        assert (shown["method"], shown["match_limit"]) == ("move", 2)

        found = px("find", "demo", "--jsonl")
        assert found.code == 1
        assert "ends its answers after 2 matches, as its configuration says" in found.err
        assert "Muster^Änne" in [row.get("PatientName") for row in found.rows]
        planned = px("retrieve", "demo", "-k", "StudyDate=20240101-20241231", "--dry-run")
        assert planned.code == 0, planned.err
        assert "A1003" in planned.out or "3 studies" in planned.out + planned.err


def test_what_does_not_work_is_saved_as_well(px: Px, pacs: Pacs, home: Path) -> None:
    """The PACS knows nobody to send to, so C-GET is what is begun with from now on."""
    path = write_config(
        home, f'[listen]\nport = {free_port()}\n[nodes.demo]\naddress = "{pacs.address}"\n'
    )
    keys = ("-k", "AccessionNumber=A1003")
    assert "A801" in px("retrieve", "demo", *keys, "--archive", home / "first").err
    assert px("doctor", "demo", "--save").code == 4
    assert 'method = "get"' in path.read_text()
    ran = px("retrieve", "demo", *keys, "--archive", home / "second")
    assert ran.code == 0
    assert "A801" not in ran.err


@pytest.mark.parametrize(("limit", "kept"), [(2, None), (500, 500)])
def test_what_is_no_longer_so_is_taken_out(
    px: Px, pacs: Pacs, port: int, home: Path, limit: int, kept: int | None
) -> None:
    """Three studies show that two are no limit, but nothing of 500."""
    write_config(
        home,
        f'[listen]\nport = {port}\n[nodes.demo]\naddress = "{pacs.address}"\n'
        f'match_limit = {limit}\ncharacter_set = "ISO_IR 13"\nrefused_levels = ["image"]',
    )
    assert px("doctor", "demo", "--save").code == 0
    shown = px("nodes", "show", "demo", "--json").json
    assert (shown["match_limit"], shown["character_set"]) == (kept, None)
    assert shown["refused_levels"] == []


def test_nothing_is_saved_of_a_pacs_that_does_not_answer(px: Px, home: Path) -> None:
    path = write_config(home, f'[nodes.demo]\naddress = "DEMO@127.0.0.1:{free_port()}"\n')
    before = path.read_text()
    ran = px("doctor", "demo", "--save")
    assert ran.code == 3
    assert "Nothing was saved" in ran.err
    assert path.read_text() == before


def test_an_address_has_no_profile(px: Px) -> None:
    ran = px("doctor", "DEMO@127.0.0.1:104", "--save", "--json")
    assert ran.code == 2
    assert "px nodes add NAME DEMO@127.0.0.1:104" in steps(ran)["configuration"]["hint"]
