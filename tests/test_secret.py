"""Secrets that are named in the configuration, and stand elsewhere."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from pypx.config import load
from pypx.errors import ConfigError
from pypx.net.tls import server_context
from pypx.net.tls_settings import ServerTls
from pypx.receiver.hook_settings import HookSettings
from pypx.receiver.hook_webhook import WebhookHook
from pypx.secret import resolve


def test_where_secrets_are(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    assert resolve(f"file:{tmp_path}/token", "It") == "s3cret"
    assert resolve("env:TOKEN", "It", {"TOKEN": "s3cret"}) == "s3cret"
    assert resolve("s3cret", "It") == "s3cret"


@pytest.mark.parametrize(
    "text", ["env:TOKEN", "file:/nowhere", "keyring:x", "env:EMPTY", "env:TWO"]
)
def test_secrets_that_are_not_to_be_had(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(text, "The hook report", {"EMPTY": "", "TWO": "s3cret\ns3cret"})
    assert error.value.message.startswith("The hook report needs ")
    assert "s3cret" not in str(error.value)


def test_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not installed"):
        monkeypatch.setitem(sys.modules, "keyring", None)
        resolve("keyring:pypx/report", "It")
    ring, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")
    entries = {("pypx", "report"): "s3cret"}
    ring.get_password = lambda service, user: entries.get((service, user))  # type: ignore[attr-defined]
    errors.KeyringError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    assert resolve("keyring:pypx/report", "It") == "s3cret"
    with pytest.raises(ConfigError, match="keyring entry pypx/other, which is not set"):
        resolve("keyring:pypx/other", "It")


def test_a_header_of_a_webhook(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer s3cret\n")
    headers = {"Authorization": f"file:{tmp_path}/token", "X-Key": "env:KEY", "X-Old": "a${KEY}"}
    settings = HookSettings("report", webhook="https://host/", headers=headers)
    hook = WebhookHook(settings, {"KEY": "k"})
    expected = {b"Authorization": b"Bearer s3cret", b"X-Key": b"k", b"X-Old": b"ak"}
    assert hook._headers == expected
    assert "s3cret" not in repr(settings)


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    """Give a certificate and its key, which has a passphrase, in one file."""
    from trustme import CA

    ca = CA()
    issued = ca.issue_cert("127.0.0.1")
    key, file = tmp_path / "key.pem", tmp_path / "both.pem"
    issued.private_key_pem.write_to_path(str(key))
    done = subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:s3cret"],
        capture_output=True,
        check=True,
    )
    file.write_bytes(done.stdout + issued.cert_chain_pems[0].bytes())
    return file


def test_a_key_with_a_passphrase(encrypted: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("s3cret\n")
    (tmp_path / "wrong").write_text("s3kret\n")
    server_context(ServerTls(str(encrypted), passphrase=f"file:{tmp_path}/passphrase"))
    for settings in (
        ServerTls(str(encrypted)),
        ServerTls(str(encrypted), passphrase=f"file:{tmp_path}/wrong"),
    ):
        with pytest.raises(ConfigError) as error:
            server_context(settings)
        assert "s3" not in f"{error.value.message}{error.value.hint}"


def test_a_passphrase_does_not_stand_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    tls = '[listen.tls]\ncertificate = "a.pem"\npassphrase = "{}"\n'
    file.write_text(tls.format("s3cret"))
    with pytest.raises(ConfigError, match=r"line 3.*only where it is") as error:
        load(str(file))
    assert "s3cret" not in str(error.value)
    file.write_text(tls.format("env:PASS"))
    secured = load(str(file)).listen.tls
    assert secured is not None
    assert secured.passphrase == "env:PASS"
