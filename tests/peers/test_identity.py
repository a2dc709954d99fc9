"""User identities with DCMTK, pynetdicom and Orthanc, in both roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification

from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import AssociationRejectedError, UserIdentityError
from pypx.net.identity import UserIdentity
from pypx.receiver.allow import AllowRule
from pypx.receiver.receiver import Receiver
from pypx.receiver.users import add_user
from tests.corpus import Corpus
from tests.peers.dcmtk import UNCOMPRESSED, storescu
from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST

pytestmark = pytest.mark.peers

PASSWORD = "correct horse"
TOKEN = "aGVhZGVy.cGF5bG9hZA.c2lnbmF0dXJl"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Receiver]:
    users = str(tmp_path / "users")
    add_user(users, "alice", PASSWORD)
    rules = [AllowRule.parse("*@127.0.0.1 as alice"), AllowRule.parse("FREE@127.0.0.1")]
    with (
        Archive(tmp_path / "archive", durability="none") as archive,
        Receiver(archive, port=0, allow=rules, users=users) as receiver,
    ):
        yield receiver


def test_storescu_sends_to_us(listener: Receiver, tmp_path: Path, corpus: Corpus) -> None:
    file = next(one.path for one in corpus.good if one.transfer_syntax_uid in UNCOMPRESSED)
    where = f"PYPX@{HOST}:{listener.port}"
    right = ("--user", "alice", "--password", PASSWORD)
    sent = storescu([file], where, *right, "--pos-response")
    assert sent.returncode == 0, sent.output
    assert listener.totals.instances == 1
    token = tmp_path / "token"
    token.write_text(TOKEN)
    for flags in (
        (),
        ("--user", "alice"),
        ("--user", "alice", "--empty-password"),
        ("--user", "alice", "--password", "wrong"),
        ("--user", "bob", "--password", PASSWORD),
        ("--jwt", token),
        ("--saml", token),
        ("--kerberos", token),
    ):
        refused = storescu([file], where, *flags, "-d")
        assert refused.returncode != 0, flags
        assert "Rejected Permanent, Source: Service Provider (ACSE Related)" in " ".join(
            refused.output.split()
        )
    assert storescu([file], where, "--jwt", token, calling="FREE").returncode == 0


@pytest.mark.parametrize("confirm", [False, True])
def test_pynetdicom_asks_us(listener: Receiver, confirm: bool) -> None:
    ae = AE(ae_title="PYNETDICOM")
    ae.add_requested_context(Verification)
    for password, is_right in (("wrong", False), (PASSWORD, True)):
        item = UserIdentityNegotiation()
        item.user_identity_type = 2
        item.positive_response_requested = confirm
        item.primary_field = b"alice"
        item.secondary_field = password.encode()
        association = ae.associate(HOST, listener.port, ext_neg=[item])
        assert association.is_established is is_right
        if is_right:
            answer = association.acceptor.user_identity
            assert (answer is not None) is confirm
            association.release()
        else:
            assert association.is_rejected


KINDS = [
    (UserIdentity("username", "alice"), (1, b"alice", None)),
    (UserIdentity("password", "alice", "env:SECRET"), (2, b"alice", TOKEN.encode())),
    (UserIdentity("kerberos", "", "file:ticket"), (3, b"\x60\x82\x00\n", None)),
    (UserIdentity("saml", "", "file:assertion"), (4, b"<a>\n</a>\n", None)),
    (UserIdentity("jwt", "", "env:SECRET"), (5, TOKEN.encode(), None)),
]


# pynetdicom 3.0 raises in a thread when it is stopped soon after it has rejected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("identity", "expected"), KINDS, ids=lambda value: getattr(value, "kind", "")
)
def test_we_ask_pynetdicom(
    scripted_scp: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    identity: UserIdentity,
    expected: tuple[int, bytes, bytes | None],
) -> None:
    """The secret is read for each association; what comes, and what is answered, is the peer's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", TOKEN)
    (tmp_path / "ticket").write_bytes(b"\x60\x82\x00\n")
    (tmp_path / "assertion").write_bytes(b"<a>\n</a>\n")
    seen: list[tuple[int, bytes, bytes | None]] = []
    verdicts = [True, False]

    def verify(event: evt.Event) -> tuple[bool, bytes | None]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field or None))
        return verdicts[len(seen) > 1], b"server ticket"

    with_verdict = scripted_scp(handlers=[(evt.EVT_USER_ID, verify)])
    with Client(with_verdict.address, identity=identity) as client:
        client.echo()
    monkeypatch.setenv("SECRET", "another")
    with (
        pytest.raises(AssociationRejectedError) as caught,
        Client(with_verdict.address, identity=identity) as client,
    ):
        client.echo()
    assert "user identity" in caught.value.hint
    assert seen[0] == expected
    assert (b"another" in seen[1]) is (TOKEN.encode() in expected)


def test_a_confirmation_that_pynetdicom_gives(
    scripted_scp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom 3.0 confirms tokens, and no user names."""
    monkeypatch.setenv("SECRET", "c2VjcmV0")
    answers = {"ticket": b"server ticket", "nothing": b""}
    given: list[bytes] = []
    peer = scripted_scp(handlers=[(evt.EVT_USER_ID, lambda event: (True, given[-1]))])

    def echo(kind: str, username: str = "") -> None:
        secret = "" if kind == "username" else "env:SECRET"
        identity = UserIdentity(kind, username, secret, confirm=True)
        with Client(peer.address, identity=identity) as client:
            client.echo()

    given.append(answers["ticket"])
    for kind in ("kerberos", "saml", "jwt"):
        echo(kind)
    given.append(answers["nothing"])
    echo("jwt")
    with pytest.raises(UserIdentityError, match="no ticket of its own"):
        echo("kerberos")
    with pytest.raises(UserIdentityError, match="did not confirm our user identity"):
        echo("username", "alice")


def test_orthanc_ignores_who_we_are(
    loaded_orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", PASSWORD)
    identity = UserIdentity("password", "alice", "env:SECRET")
    with Client(loaded_orthanc.address, identity=identity) as client:
        client.echo()
        assert list(client.find({"StudyInstanceUID": ""}))
    confirmed = UserIdentity("password", "alice", "env:SECRET", confirm=True)
    with (
        pytest.raises(UserIdentityError),
        Client(loaded_orthanc.address, identity=confirmed) as client,
    ):
        client.echo()
