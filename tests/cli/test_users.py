"""``px users``, ``px listen --users`` and user identities of nodes."""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.cli.output import Output
from pypx.cli.reception import allow_rules
from pypx.config import load
from pypx.errors import ConfigError
from pypx.net.identity import UserIdentity
from pypx.receiver.users import Users, add_user
from pypx.retrieve.landing import is_listening
from tests.cli.conftest import Px, write_config
from tests.listening import Listener, eventually
from tests.peers.process import HOST

PASSWORD = "correct horse"


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_add_list_and_remove(px: Px, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "users"
    given(monkeypatch, f"{PASSWORD}\nignored\n")
    added = px("users", "add", "alice", "--file", file)
    assert (added.code, added.out) == (0, ""), added.err
    assert added.err == f"alice is a user, in {file}.\n"
    assert Users(str(file)).verify("alice", PASSWORD.encode())
    given(monkeypatch, "other\n")
    again = px("users", "add", "alice", "--file", file)
    assert again.code == 2
    assert "already a user" in again.err
    given(monkeypatch, "other\n")
    assert px("users", "add", "alice", "--file", file, "--replace", "--json").json == {
        "name": "alice",
        "file": str(file),
    }
    assert Users(str(file)).verify("alice", b"other")
    write_config(home, f'[listen]\nusers = "{file}"\n')
    assert px("users", "list").out == "alice\n"
    assert px("users", "list", "--json").json == [{"name": "alice"}]
    assert px("users", "remove", "alice").code == 0
    assert px("users", "list").out == ""


def test_what_is_wrong(px: Px, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Which file of users?" in px("users", "list").err
    assert px("users", "list", "--file", home / "away").code == 2
    given(monkeypatch, "")
    empty = px("users", "add", "alice", "--file", home / "users")
    assert empty.code == 2
    assert "stdin has no password" in empty.err
    given(monkeypatch, "x\n")
    assert px("users", "add", "a b", "--file", home / "users").code == 2
    assert not (home / "users").exists()


@pytest.mark.parametrize(("second", "code"), [("one", 0), ("two", 2)])
def test_a_terminal_is_asked_twice(
    px: Px, home: Path, monkeypatch: pytest.MonkeyPatch, second: str, code: int
) -> None:
    answers = iter(["one", second])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert px("users", "add", "alice", "--file", home / "users").code == code


# Nodes ------------------------------------------------------------------------------------


def test_a_node_with_a_user(px: Px, home: Path) -> None:
    (home / "secret").write_text(f"{PASSWORD}\n")
    place = f"file:{home}/secret"
    added = px(
        *("nodes", "add", "a", "A@127.0.0.1:11", "--user", "alice"),
        *("--password-from", place, "--confirm-user"),
    )
    assert added.code == 0, added.err
    table = tomllib.loads((home / "config" / "pypx" / "config.toml").read_text())
    row = {"type": "password", "username": "alice", "secret": place, "confirm": True}
    assert table["nodes"]["a"]["identity"] == row
    assert load().nodes["a"].identity == UserIdentity("password", "alice", place, True)
    assert px("nodes", "show", "a", "--json").json["identity"] == row
    shown = px("nodes", "show", "a").out
    assert f"password alice ({place}) to be confirmed" in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "a", "--jwt-from", "env:T"], "takes no username"),
        (["--password-from", "env:T"], "needs username"),
        (["--confirm-user"], "needs username"),
        (["--jwt-from", "hunter2"], "A secret does not stand here"),
        (["--user", "a", "--password-from", "hunter2"], "A secret does not stand here"),
        (["--jwt-from", "env:T", "--saml-from", "env:T"], "exclude each other"),
        (["--jwt-from", "file:/nowhere"], "cannot be read"),
    ],
)
def test_options_that_do_not_go_together(px: Px, arguments: list[str], said: str) -> None:
    ran = px("nodes", "add", "a", "A@h", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ('username = "a"', UserIdentity("username", "a")),
        ('username = "a"\nsecret = "env:P"', UserIdentity("password", "a", "env:P")),
        ('type = "jwt"\nsecret = "env:P"', UserIdentity("jwt", "", "env:P")),
    ],
)
def test_an_identity_in_the_file(home: Path, text: str, identity: UserIdentity) -> None:
    write_config(home, f'[nodes.a]\naddress = "A@h"\n[nodes.a.identity]\n{text}\n')
    assert load().nodes["a"].identity == identity


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('username = "a"\nsecret = "hunter2"', "line 3: 'nodes.a.identity': A secret does not"),
        ('username = "a"\npassword = "hunter2"', "line 5: the key 'nodes.a.identity.password'"),
        ('type = "ticket"', "no type of user identity"),
        ("username = 1", "must be text"),
    ],
)
def test_mistakes_in_the_file(home: Path, text: str, said: str) -> None:
    write_config(home, f'[nodes.a]\naddress = "A@h"\n[nodes.a.identity]\n{text}\n')
    with pytest.raises(ConfigError) as caught:
        load()
    assert said in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_a_password_over_a_network_without_tls(px: Px, home: Path) -> None:
    rows = {
        "plain": 'address = "A@192.0.2.1"\nidentity = {username = "a", secret = "env:NOT_SET"}',
        "name": 'address = "A@192.0.2.1"\nidentity = {username = "a"}',
        "here": 'address = "A@127.0.0.1:1"\nidentity = {username = "a", secret = "env:NOT_SET"}',
        "tls": 'address = "A@192.0.2.1"\ntls = true\n'
        'identity = {username = "a", secret = "env:NOT_SET"}',
    }
    write_config(home, "".join(f"[nodes.{name}]\n{row}\n" for name, row in rows.items()))
    warned = "goes to A@192.0.2.1:104 without TLS"
    for command in ("echo", "find", "doctor"):
        ran = px(command, "plain", "--timeout", 0.2)
        assert warned in ran.err, ran.err
    added = px("nodes", "add", "b", "B@192.0.2.1", "--user", "b", "--password-from", "env:B")
    assert "goes to B@192.0.2.1:104 without TLS" in added.err
    for name in ("name", "here", "tls"):
        assert "without TLS" not in px("echo", name, "--timeout", 0.2).err
    ran = px("echo", "here", "--timeout", 5, "--json")
    assert "the environment variable NOT_SET, which is not set" in ran.out


# The listener -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_listener_with_users(home: Path, tmp_path: Path, workers: int, px: Px) -> None:
    users = tmp_path / "users"
    add_user(str(users), "alice", PASSWORD)
    flags = ("--users", users, "--allow", "*@127.0.0.1 as alice", "--workers", workers, "-v")
    with Listener(tmp_path / "archive", tmp_path, *flags) as listener:
        write_config(
            home,
            f'[nodes.us]\naddress = "PYPX@{HOST}:{listener.port}"\n'
            '[nodes.us.identity]\nusername = "alice"\nsecret = "file:~/secret"\nconfirm = true\n',
        )
        (home / "secret").write_text(PASSWORD)
        [told] = px("echo", "us", "--json").json
        assert told["status"] == "success", told
        (home / "secret").write_text("wrong-password")
        [told] = px("echo", "us", "--json").json
        assert told["error"]["kind"] == "association-rejected"
        assert "user identity" in told["error"]["hint"]
        eventually(lambda: "is wrong" in listener.log)
    log = listener.log
    assert "PYPX@127.0.0.1 as alice to PYPX" in log
    assert "the user name or the password of 'alice' is wrong" in log
    assert PASSWORD not in log
    assert "wrong-password" not in log


def test_a_node_of_which_a_rule_wants_a_user(home: Path) -> None:
    """Nodes may associate by themselves, but what is written goes before."""
    write_config(
        home,
        '[nodes.a]\naddress = "A@10.0.0.1"\n[nodes.b]\naddress = "B@10.0.0.2"\n',
    )
    rules = ["A@10.0.0.0/8 as alice", "B@10.0.0.0/8 tls h.org"]
    found = allow_rules(rules, load().nodes.values(), "0.0.0.0", Output())
    assert [str(rule.network) for rule in found if rule.ae_title == "*"] == ["10.0.0.2/32"]


def test_a_listener_whose_users_are_not_there(px: Px, home: Path) -> None:
    for flags in (["--allow", "*@* as alice"], ["--users", home / "away"]):
        ran = px("listen", "--port", 0, *flags)
        assert ran.code == 2, ran.err
    assert "cannot be read" in ran.err


def test_what_a_probe_of_our_own_listener_sees(tmp_path: Path) -> None:
    """A listener that wants a user is one that runs, and nothing to complain about."""
    users = tmp_path / "users"
    add_user(str(users), "alice", PASSWORD)
    flags = ("--users", users, "--allow", "*@127.0.0.1 as alice")
    with Listener(tmp_path / "archive", tmp_path, *flags, "--host", "0.0.0.0") as listener:
        eventually(lambda: "Passwords of users come without TLS" in listener.log)
        assert is_listening(Address("PYPX", HOST, listener.port)) == ""
