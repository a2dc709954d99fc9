"""Users of a listener: who is let in with a name and a password, and what it costs us."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import AssociationRejectedError, ConfigError, UserIdentityError
from pypx.net import served
from pypx.net.connection import Timeouts
from pypx.net.identity import UserIdentity
from pypx.receiver import identities
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.identities import Identities
from pypx.receiver.receiver import Receiver
from pypx.receiver.users import Users, add_user, check_name, read_users, remove_user
from pypx.ul.user_information import UserIdentityRQ

PASSWORD = "correct horse"
NOT_AUTHORIZED = (1, 2, 1)  # PS3.7 §D.3.3.7.3
PATIENT = Timeouts(20, 60, 60, 2)


@pytest.fixture(scope="module")
def kept_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users"
    add_user(str(path), "alice", PASSWORD)
    add_user(str(path), "bj\xf6rn", "lösenord")
    return path


@pytest.fixture
def users(kept_users: Path, tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_bytes(kept_users.read_bytes())
    return path


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.ended: list[AssociationSummary] = []

    def association_began(self, event: AssociationBegan) -> None:
        self.began.append(event)

    def instance_received(self, event: InstanceReceived) -> None:
        pass

    def association_ended(self, event: AssociationSummary) -> None:
        self.ended.append(event)

    def last(self) -> AssociationSummary:
        """Wait for the end of an association."""
        deadline = time.monotonic() + 30
        while not self.ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.ended.pop()


Listen = Callable[..., Address]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def listen(
    tmp_path: Path, users: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Listen]:
    monkeypatch.setattr(identities, "_PENALTY", 0.0)
    monkeypatch.setattr(served, "_CLOSE_WAIT", 0.05)
    with ExitStack() as stack:

        def call(*rules: str, **options: Any) -> Address:
            archive = stack.enter_context(Archive(tmp_path / "archive", durability="none"))
            allow = [AllowRule.parse(rule) for rule in rules]
            settings = {"users": str(users), **options}
            receiver = Receiver(archive, port=0, allow=allow, observer=heard, **settings)
            stack.enter_context(receiver)
            return Address("PYPX", receiver.host, receiver.port)

        yield call


def echo(address: Address, identity: UserIdentity | None, **options: Any) -> None:
    with Client(
        address, calling_ae_title="CT1", timeouts=PATIENT, identity=identity, **options
    ) as client:
        client.echo()


def refused(address: Address, identity: UserIdentity | None) -> tuple[int, int, int]:
    with pytest.raises(AssociationRejectedError) as caught:
        echo(address, identity)
    return caught.value.result, caught.value.source, caught.value.reason


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> Callable[..., UserIdentity]:
    """Give an identity with a password."""

    def call(user: str = "alice", text: str = PASSWORD, *, confirm: bool = False) -> UserIdentity:
        monkeypatch.setenv("IDENTITY_PASSWORD", text)
        return UserIdentity("password", user, "env:IDENTITY_PASSWORD", confirm)

    return call


Password = Callable[..., UserIdentity]


# The file -------------------------------------------------------------------------------


def test_the_file(users: Path) -> None:
    assert list(read_users(str(users))) == ["alice", "bj\xf6rn"]
    assert PASSWORD not in users.read_text()
    with pytest.raises(ConfigError, match="already a user 'alice'"):
        add_user(str(users), "alice", "other")
    before = read_users(str(users))["alice"]
    add_user(str(users), "alice", "other", replace=True)
    assert read_users(str(users))["alice"] != before
    remove_user(str(users), "alice")
    assert list(read_users(str(users))) == ["bj\xf6rn"]
    with pytest.raises(ConfigError, match="no user 'alice'"):
        remove_user(str(users), "alice")


def test_a_new_file_is_for_its_owner(kept_users: Path) -> None:
    assert stat.S_IMODE(kept_users.stat().st_mode) == 0o600


def test_comments_stay_and_other_files_are_refused(users: Path) -> None:
    users.write_text(f"# ours\n\n{users.read_text()}")
    remove_user(str(users), "alice")
    assert users.read_text().startswith("# ours\n")
    users.write_text("alice:secret-in-the-clear\n")
    with pytest.raises(ConfigError) as caught:
        add_user(str(users), "bob", "x")
    assert "secret-in-the-clear" not in f"{caught.value.message} {caught.value.hint}"
    assert users.read_text() == "alice:secret-in-the-clear\n"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "#a", "*", "a\n", "\x1b[31m", "x" * 65])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


def test_names_are_one_however_they_are_typed(users: Path) -> None:
    assert Users(str(users)).verify("bjo\u0308rn", "lösenord".encode())


def test_nobody_costs_as_much_as_somebody(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not there is hashed with the effort of those that are."""
    from argon2 import PasswordHasher, extract_parameters

    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    users.write_text(f"alice:{weak.hash(PASSWORD)}\n")
    looked: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, code: str, given: bytes) -> bool:
        looked.append(code)
        return verify(self, code, given)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    asked = Users(str(users))
    assert asked.verify("alice", PASSWORD.encode())
    assert not asked.verify("nobody", PASSWORD.encode())
    assert not asked.verify("alice", b"wrong")
    assert len(looked) == 3
    assert extract_parameters(looked[0]) == extract_parameters(looked[1])


# Who gets in ----------------------------------------------------------------------------


def test_who_has_the_password_gets_in(listen: Listen, heard: Heard, password: Password) -> None:
    address = listen("CT1@127.0.0.1 as alice")
    echo(address, password(confirm=True))
    assert heard.began[0].user == "alice"
    summary = heard.last()
    assert (summary.user, summary.error) == ("alice", None)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("alice", "hunter2"),
        ("nobody", PASSWORD),
        ("alice\x1b[31m\n", "x"),
        ("*", "*"),
        ("x" * 999, "x"),
    ],
)
def test_who_has_not_is_refused(
    listen: Listen, heard: Heard, password: Password, user: str, text: str
) -> None:
    address = listen("CT1@127.0.0.1 as *", "OTHER@*")
    assert refused(address, password(user, text)) == NOT_AUTHORIZED
    error = heard.last().error
    assert isinstance(error, UserIdentityError)
    assert "the user name or the password of" in error.message
    assert len(text) < 2 or text not in error.message
    assert len(error.message) < 200
    assert "\x1b" not in error.message
    assert not heard.began
    echo(address, password())  # and the next one is served


def test_a_wrong_password_is_refused_though_none_is_needed(
    listen: Listen, password: Password
) -> None:
    for address in (listen("CT1@127.0.0.1"), listen()):
        assert refused(address, password(text="wrong")) == NOT_AUTHORIZED
        echo(address, password())
        echo(address, None)


def test_the_right_password_of_the_wrong_user(
    listen: Listen, heard: Heard, password: Password
) -> None:
    address = listen("CT1@127.0.0.1 as alice")
    assert refused(address, password("bj\xf6rn", "lösenord")) == NOT_AUTHORIZED
    assert "no rule lets the user 'bj\xf6rn' in" in str(heard.last().error)


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (None, "it sent no user identity"),
        (UserIdentity("username", "alice"), "a user name without a password, which"),
        (UserIdentity("jwt", "", "env:TOKEN"), "a JSON Web Token, which we cannot verify"),
        (UserIdentity("saml", "", "env:TOKEN"), "a SAML assertion, which we cannot verify"),
        (UserIdentity("kerberos", "", "env:TOKEN"), "a Kerberos ticket, which we cannot verify"),
    ],
)
def test_what_proves_nothing(
    listen: Listen,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    identity: UserIdentity | None,
    said: str,
) -> None:
    monkeypatch.setenv("TOKEN", "c2VjcmV0")
    assert refused(listen("CT1@127.0.0.1 as *"), identity) == NOT_AUTHORIZED
    assert said in str(heard.last().error)
    echo(listen("CT1@127.0.0.1"), identity)  # where nobody asks, it is ignored
    assert heard.last().user == ""


def test_an_unknown_type(listen: Listen, heard: Heard) -> None:
    identity = UserIdentityRQ(9, b"alice", b"x")
    verified = Identities.verify(object.__new__(Identities), identity, "127.0.0.1")
    assert verified is None
    assert "of an unknown type" in identities.unproven(identity)


def test_no_confirmation_without_users(
    listen: Listen, password: Password, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener without users ignores identities, and the requestor notices."""
    address = listen(users=None)
    echo(address, password(text="anything"))
    with pytest.raises(UserIdentityError, match="did not confirm our user identity"):
        echo(address, password(confirm=True))


def test_strangers_cost_no_hash(
    listen: Listen, password: Password, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a password was looked at")

    monkeypatch.setattr(Users, "verify", fail)
    assert refused(listen("OTHER@* as alice"), password()) == (1, 1, 3)
    assert refused(listen("CT1@* to OTHER as alice"), password()) == (1, 1, 7)


def test_a_change_of_the_file_holds_at_once(
    listen: Listen, users: Path, heard: Heard, password: Password
) -> None:
    address = listen("CT1@127.0.0.1 as *")
    echo(address, password())
    heard.last()
    remove_user(str(users), "alice")
    assert refused(address, password()) == NOT_AUTHORIZED
    heard.last()
    users.unlink()
    assert refused(address, password("bj\xf6rn", "lösenord")) == NOT_AUTHORIZED
    assert "cannot be read" in str(heard.last().error)


def test_rules_that_name_users_need_a_file(tmp_path: Path, listen: Listen) -> None:
    with pytest.raises(ConfigError, match="no file of users"):
        listen("CT1@* as alice", users=None)
    with pytest.raises(ConfigError, match="cannot be read"):
        listen("CT1@* as alice", users=str(tmp_path / "away"))


# What it costs us -----------------------------------------------------------------------


class _SlowUsers(Users):
    """Users whose passwords are looked at until a test lets go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.running: list[str] = []
        self.most = 0

    def verify(self, name: str, password: bytes) -> bool:
        with self.lock:
            self.running.append(name)
            self.most = max(self.most, len(self.running))
        assert self.go.wait(30)
        with self.lock:
            self.running.remove(name)
        return True


def test_only_few_passwords_are_looked_at_at_once() -> None:
    users = _SlowUsers()
    checks = Identities(users, patience=60)
    results: list[object] = []

    def ask(host: str) -> None:
        results.append(checks.verify(UserIdentityRQ(2, host.encode(), b"x"), host))

    hosts = [f"10.0.0.{number % 4}" for number in range(12)]
    threads = [threading.Thread(target=ask, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(users.running) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(set(users.running)) == 2  # of two hosts
    users.go.set()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == sorted(hosts)  # type: ignore[type-var]
    assert users.most == 2


def test_who_finds_no_turn_is_rejected_for_now() -> None:
    users = _SlowUsers()
    checks = Identities(users, patience=0.05)
    first = threading.Thread(target=checks.verify, args=(UserIdentityRQ(2, b"a", b"x"), "10.0.0.1"))
    first.start()
    deadline = time.monotonic() + 30
    while not users.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found = checks.verify(UserIdentityRQ(2, b"b", b"x"), "10.0.0.1")
    assert isinstance(found, identities.Refusal)
    assert (found.answer.result, found.answer.source, found.answer.reason) == (2, 3, 1)
    users.go.set()
    first.join(30)
    assert checks.verify(UserIdentityRQ(2, b"b", b"x"), "10.0.0.1") == "b"
