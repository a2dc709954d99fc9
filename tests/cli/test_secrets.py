"""Known secrets, and every place where a command leaves something: none of them is there.

A listener with TLS, users, a webhook and an audit trail, and each command against it, run as users
run them. Looked at are stdout, stderr, the command lines of all processes, and all files that there
are afterwards.
"""

from __future__ import annotations

import os
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pypx.receiver.users import add_user
from tests.listening import Listener, at_home, eventually
from tests.net.certificates import Certificates
from tests.objects import write_file
from tests.peers.process import HOST, free_port, run
from tests.receiver.hook_server import HookServer, hook_server

SECRETS = {
    "password": "zq-PASSWORD-of-alice",
    "wrong": "zq-WRONG-password",
    "passphrase": "zq-PASSPHRASE-of-the-key",
    "header": "Bearer zq-HEADER-of-the-webhook",
    "jwt": "zq-HEAD.zq-BODY.zq-SIGNATURE",
}
MARK = "zq-"
"""What all of them have."""

COMMANDS = [
    ("echo", "us"),
    ("echo", "us", "wrong", "token", "--json"),
    ("find", "us", "--PatientID", "A"),
    ("get", "us", "--PatientID", "A"),
    ("move", "us", "--PatientID", "A", "--port", "0"),
    ("retrieve", "us", "--PatientID", "A", "--method", "get"),
    ("store", "us", "{files}"),
    ("store", "wrong", "{files}", "--json"),
    ("doctor", "us", "--no-move"),
    ("doctor", "wrong", "--no-move", "--json"),
    ("nodes", "list", "--json"),
    ("nodes", "show", "us"),
    ("nodes", "show", "us", "--json"),
    ("nodes", "show", "token"),
    ("nodes", "add", "new", "A@h", "--user", "a", "--password-from", "file:{secrets}/password"),
    ("users", "list", "--json"),
    ("status", "--json"),
    ("ls",),
    ("verify",),
    ("support-bundle", "us", "-o", "{out}/bundle.tar.gz"),
]


def encrypted(path: str, password: str) -> None:
    """Give the key in a file with a certificate a passphrase."""
    text = Path(path).read_bytes()
    start = text.index(b"-----BEGIN CERTIFICATE")
    key = serialization.load_pem_private_key(text[:start], None)
    kind = serialization.BestAvailableEncryption(password.encode())
    form = serialization.PrivateFormat.PKCS8
    secured = key.private_bytes(serialization.Encoding.PEM, form, kind)
    Path(path).write_bytes(secured + text[start:])


class Processes:
    """Keeps the command lines of all processes that began while it looked."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        own = os.getpid()
        while not self._over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if int(path.parent.name) != own:
                        self.seen.add(path.read_bytes())
                except OSError:  # it has ended
                    continue


class Place:
    """A home with everything configured, and where all is kept."""

    def __init__(self, root: Path, hooks: HookServer) -> None:
        self.secrets = root / "secrets"
        self.home = root / "home"
        self.out = root / "out"
        self.files = root / "files"
        for folder in (self.secrets, self.home, self.out, self.files, root / "certificates"):
            folder.mkdir()
        for name, text in SECRETS.items():
            (self.secrets / name).write_text(f"{text}\n")
        self.users = root / "users"
        add_user(str(self.users), "alice", SECRETS["password"])
        certificates = Certificates(root / "certificates")
        own, theirs = certificates.issue(HOST), certificates.issue("client.example.org")
        for path in (own, theirs):
            encrypted(path, SECRETS["passphrase"])
        write_file(self.files, PatientID="A")
        self.port = free_port()
        tls = f'ca = "{certificates.ca}"\npassphrase = "file:{self.secrets}/passphrase"\n'
        text = f"""
[listen]
port = {self.port}
users = "{self.users}"
allow = ["*@127.0.0.1 as alice"]
settle = 0.1
[listen.tls]
certificate = "{own}"
{tls}
[audit]
to = "file:{root}/audit.log"
[[hooks]]
on = "series"
webhook = "{hooks.url}/"
headers = {{ Authorization = "file:{self.secrets}/header" }}
"""
        identities = {
            "us": 'username = "alice"\nsecret = "file:{}/password"\nconfirm = true',
            "wrong": 'username = "alice"\nsecret = "file:{}/wrong"',
            "token": 'type = "jwt"\nsecret = "file:{}/jwt"',
        }
        for name, identity in identities.items():
            text += f'[nodes.{name}]\naddress = "PYPX@{HOST}:{self.port}"\n'
            text += f'[nodes.{name}.tls]\ncertificate = "{theirs}"\n{tls}'
            text += f"[nodes.{name}.identity]\n{identity.format(self.secrets)}\n"
        self.config = root / "config.toml"
        self.config.write_text(text)

    def px(self, *arguments: str) -> str:
        """Run px with all that it can tell; give what it wrote."""
        names = {"secrets": self.secrets, "out": self.out, "files": self.files}
        chosen = [one.format(**names) for one in arguments]
        more = ["-v", "--config", str(self.config)]
        program, *beginning = at_home(self.home)
        done = run(program, *beginning, sys.executable, "-m", "pypx", *chosen, *more, timeout=150)
        assert "Traceback" not in done.output
        return done.output


@pytest.mark.timeout(600)  # some twenty processes, one after the other
@pytest.mark.parametrize("flags", [(), ("--workers", "2", "--log-json")], ids=["one", "workers"])
def test_no_secret_is_left_anywhere(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with hook_server() as hooks:
        place = Place(tmp_path, hooks)
        listener = Listener(tmp_path / "archive", tmp_path, "--config", place.config, "-v", *flags)
        text = place.config.read_text().replace(str(place.port), str(listener.port))
        place.config.write_text(text)
        with Processes() as processes, listener:
            chosen = COMMANDS if not flags else [one for one in COMMANDS if one[0] == "store"]
            said = {command: place.px(*command) for command in chosen}
            hooks.wait_for(1)
            eventually(lambda: "is wrong" in listener.log)
            listener.stop()
        assert hooks.got[0][1]["Authorization"] == SECRETS["header"]  # it went where it belongs
    assert "1 image sent" in said["store", "us", "{files}"]
    assert "is wrong" in listener.log
    if not flags:
        assert "which we cannot verify" in listener.log  # the rule goes before the node
    for command, text in said.items():
        assert MARK not in text, command
    assert MARK not in listener.log
    assert any(b"pypx" in line and b"listen" in line for line in processes.seen)
    if flags:
        assert any(b"pypx.receiver.worker" in line for line in processes.seen)
    assert not [line for line in processes.seen if MARK.encode() in line]
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "audit.log" in left
    mark = MARK.encode()
    for path in left:
        if path.parent != place.secrets:
            assert mark not in path.read_bytes(), path
    if not flags:
        assert mark not in _unpacked(place.out / "bundle.tar.gz")


def _unpacked(path: Path) -> bytes:
    with tarfile.open(path) as bundle:
        files = [bundle.extractfile(member) for member in bundle.getmembers()]
        return b"".join(file.read() for file in files if file is not None)
