"""Commands that README and docs show, and a user's home in which they can be run.

In: Markdown. Out: commands, one by one; and a sandbox with a real PACS under the names and
addresses that the pages use. Which commands cannot be run, and why, stands in ``CANNOT_RUN``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pypx.address import Address
from pypx.client.client import Client
from tests.objects import write_file
from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
SHELLS = ("sh", "bash", "console")

CANNOT_RUN = {
    r"docker (build|logs|compose) ": "no Docker here; make image-check builds and runs the image",
    r"docker run -d ": "as above; tests/package/test_container.py runs the entry point",
    r"(sudo |/opt/pypx/bin/)?pip install |sudo .*/pip install ": "tests/package/test_packages.py",
    r"make \w+": "this is what runs the tests; CI calls make lint, test and image-check",
    r"sudo (install|python3|systemctl|systemd-sysusers)\b": "changes the machine",
    r"journalctl ": "there is no systemd in a container of CI",
}
"""What is not run, as a pattern of its beginning, and why; each has to match something."""

FAILS = {r"px demo --fault drop-objects=1": 1}
"""What ends with another exit code than 0, and says so in the text around it."""

UNTIL_STOPPED = re.compile(r"px listen\b")
PASSWORD = "correct horse battery staple\n"

_PYTHON = """
import ast, asyncio, inspect, sys, pypx
code = compile(sys.argv[1], "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
done = eval(code)
if inspect.iscoroutine(done):
    asyncio.run(done)
"""
"""Runs a program that may await, as those in a notebook."""

_JOB = r"\b\d{8}-[0-9a-f]{6}\b"


class Command(NamedTuple):
    """A command of a page.

    Attributes:
        line: Where it stands, from 1.
        language: ``sh`` or ``python``.
        text: All of it, with the lines that go on.
    """

    line: int
    language: str
    text: str


def blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Give the fenced blocks: the number of their first line, their language, their lines."""
    language, begin, inside = "", 0, []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.lstrip().startswith("```"):
            inside.append(line)
        elif begin:
            yield begin, language, inside
            begin = 0
        else:
            language, begin, inside = line.strip()[3:], number + 1, []


def commands(text: str) -> Iterator[Command]:
    """Give the commands of a page in their order."""
    for begin, language, lines in blocks(text):
        if language == "python":
            yield Command(begin, "python", "\n".join(lines))
        if language not in SHELLS:
            continue
        rest = iter(enumerate(lines, start=begin))
        for number, line in rest:
            if language == "console":  # what has no $ is what the command says
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            if not line.strip() or line.startswith("#"):
                continue
            whole = [line]
            end = re.search(r"<<-?\s*'?(\w+)'?", line)
            while end and whole[-1].strip() != end[1]:
                whole.append(next(rest)[1])
            while whole[-1].endswith("\\"):
                whole.append(next(rest)[1])
            yield Command(number, "sh", "\n".join(whole))


def why_not(command: Command) -> str | None:
    """Give the pattern of ``CANNOT_RUN`` that the command matches."""
    return next((one for one in CANNOT_RUN if re.match(one, command.text)), None)


class Sandbox:
    """A user who has nothing but the programs of pypx, files to send, and a PACS.

    Args:
        home: An empty folder.
        environment: Where px and its like are in PATH, and HOME is that folder.
        pacs: An Orthanc that sends to PYPX at ``port``.
        port: Of our listener.
        page: The text of the page; where it does not name the PACS itself, it is configured.
    """

    PATIENCE = 90.0  # seconds for any command

    def __init__(
        self, home: Path, environment: Mapping[str, str], pacs: Orthanc, port: int, page: str
    ) -> None:
        self.home = home
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._pacs = pacs
        self._port = port
        self._listener: subprocess.Popen[bytes] | None = None
        self._listened = home.parent / "listener.log"
        self._configure("px nodes add hospital" not in page)
        self._write_files()

    def _configure(self, is_named: bool) -> None:
        config = self.home / ".config/pypx/config.toml"
        config.parent.mkdir(parents=True)
        node = f'[nodes.hospital]\naddress = "ORTHANC@127.0.0.1:{self._pacs.port}"\n'
        listen = f"[listen]\nport = {self._port}\nsettle = 0.2\nmin_free = 0\n"
        config.write_text(listen + (node if is_named else ""))

    def _write_files(self) -> None:
        import openpyxl

        # What upstream has left: its archive, what storescp had received, and its PACS.
        for number, part in enumerate(("data/4711-Doe", "tmp/series"), start=5):
            folder = self.home / "dicom" / part
            folder.mkdir(parents=True)
            write_file(folder, number)
        (self.home / "services").mkdir()
        pacs = {"aet": "PYPX", "aec": "ORTHANC", "serverIP": HOST, "serverPort": self._pacs.port}
        services = self.home / "services/pacs.json"
        services.write_text(json.dumps({"BCH-chris": pacs}), encoding="utf-8")
        (self.home / "export").mkdir()
        for number in (1, 2):
            uids = {"SOPInstanceUID": f"1.2.9.{number}", "SeriesInstanceUID": "1.2.9"}
            study = {"StudyInstanceUID": "1.2.9.9", "PatientID": "EXPORTED"}
            write_file(self.home / "export", number, **uids, **study)
        (self.home / "cohort.csv").write_text("PatientID\n4711\nPID1\n")
        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for row in (["PatientID"], ["4711"], ["PID1"]):
            sheet.append(row)
        book.save(self.home / "cohort.xlsx")

    def replaced(self, text: str) -> str:
        """Give a command with addresses and names that exist here."""
        entry = f"{sys.executable} {REPOSITORY}/docker/entrypoint.py"
        pacs = self._pacs.port
        if re.search(_JOB, text):
            text = re.sub(_JOB, self._job(), text)
        for pattern, replacement in (
            (r"docker run --rm pypx ", f"{entry} "),
            (r"docker exec pypx ", ""),
            (r"ORTHANC@[\d.]+:4242", f"ORTHANC@127.0.0.1:{pacs}"),
            (r"(--serverIP) [\d.]+( --serverPort \d+)?", rf"\1 127.0.0.1 --serverPort {pacs}"),
            (
                r'"serverIP": "[\d.]+", "serverPort": "4242"',
                f'"serverIP": "{HOST}", "serverPort": "{pacs}"',
            ),
            (r"\b10402\b", str(self._port)),
            (r"\b0\.0\.0\.0\b", "127.0.0.1"),
            (r"--metrics (\S+:)?9104", "--metrics 0"),
            (r"/etc/pypx/|/home/dicom/", "~/"),
            (r"(?<![\w~])/dicom/", "~/dicom/"),
            (r"--between \S+", "--between 00:00-23:59"),  # whatever the time is
        ):
            text = re.sub(pattern, replacement, text)
        return text

    def _job(self) -> str:
        """Give the ID of a job of px retrieve."""
        said = self._run(["px", "status", "--json"]).stdout
        return str(json.loads(said)["transfers"][0]["id"])

    def _run(self, line: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line,
            env=self._environment,
            cwd=self.home,
            input=PASSWORD,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.PATIENCE,
            check=False,
        )

    def complaint(self, command: Command) -> str:
        """Run a command; give what is wrong with it, or nothing."""
        text = self.replaced(command.text)
        if command.language == "python":
            if said := self.stop():  # it may listen itself
                return said
            done = self._run([sys.executable, "-c", _PYTHON, text])
        elif UNTIL_STOPPED.match(text):
            return self._listen(text)
        else:
            done = self._run(["bash", "-c", text])
        codes = [code for one, code in FAILS.items() if re.match(one, text)]
        if done.returncode == (codes or [0])[0]:
            return ""
        return f"line {command.line}: {text}\nended with {done.returncode}:\n{done.stdout[-1500:]}"

    # A listener runs until the next one, or the end of the page.

    def _listen(self, text: str) -> str:
        if said := self.stop():
            return said
        with self._listened.open("w") as log:
            self._listener = subprocess.Popen(
                ["bash", "-c", f"exec {text}"],
                env=self._environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + self.PATIENCE
        while "Listening on" not in self._listened.read_text():
            if self._listener.poll() is not None or time.monotonic() > deadline:
                return f"{text}\ndoes not listen:\n{self._listened.read_text()}"
            time.sleep(0.05)
        return ""

    def stop(self) -> str:
        """Stop the listener; give what is wrong with its end, or nothing."""
        listener, self._listener = self._listener, None
        if listener is None:
            return ""
        listener.send_signal(signal.SIGTERM)
        try:
            code = listener.wait(self.PATIENCE)
        finally:
            listener.kill()
        return f"the listener ended with {code}:\n{self._listened.read_text()}" if code else ""


def fill(pacs: Orthanc, folder: Path) -> None:
    """Store the patients that the pages ask for: 4711 with the study 1.2.3, PID1, 1234567."""
    folder.mkdir()
    for number in (1, 2):
        write_file(folder, number, Modality="MR", StudyDate="20240115")
    for number in (3, 4):
        study = {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1", "PatientID": "PID1"}
        write_file(folder, number, Modality="MR", StudyDate="20240302", **study)
    write_file(folder, 9, PatientID="1234567", StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.6")
    with Client(Address("ORTHANC", HOST, pacs.port)) as client:
        outcomes = [sent.outcome for sent in client.store_files([folder])]
    assert outcomes == ["completed"] * 5
