"""AE titles and ``AET@host:port``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.address import Address, check_ae_title
from pypx.errors import ConfigError, PypxError

ADDRESSES = [
    ("ORTHANC@127.0.0.1:4242", ("ORTHANC", "127.0.0.1", 4242)),
    ("ORTHANC@pacs.example", ("ORTHANC", "pacs.example", 104)),
    ("A@[::1]:11112", ("A", "::1", 11112)),
    ("A@[fe80::1%eth0]", ("A", "fe80::1%eth0", 104)),
    ("TWO WORDS@h:1", ("TWO WORDS", "h", 1)),
    (" PADDED @h:1", ("PADDED", "h", 1)),
    ("AT@HOME@h:65535", ("AT@HOME", "h", 65535)),
    ("x" * 16 + "@h", ("x" * 16, "h", 104)),
]


@pytest.mark.parametrize(("text", "parts"), ADDRESSES)
def test_parse(text: str, parts: tuple[str, str, int]) -> None:
    address = Address.parse(text)
    assert (address.ae_title, address.host, address.port) == parts
    assert Address.parse(str(address)) == address


def test_brackets_are_written_around_ipv6() -> None:
    assert str(Address("A", "::1", 104)) == "A@[::1]:104"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no address"),
        ("ORTHANC", "is no address"),
        ("127.0.0.1:4242", "is no address"),
        ("@h:1", "AE title cannot be empty"),
        ("   @h:1", "AE title cannot be empty"),
        ("A@", "has no host"),
        ("A@:1", "has no host"),
        ("A@h:", "'' is no port"),
        ("A@h:x", "'x' is no port"),
        ("A@h:٣", "is no port"),
        ("A@h:-1", "'-1' is no port"),
        ("A@h:0", "not between 1 and 65535"),
        ("A@h:65536", "not between 1 and 65535"),
        ("A@::1:104", "is no address"),
        ("A@[::1", "is no address"),
        ("A@[::1]x", "is no address"),
        ("A@h h:1", "is no host name"),
        ("A@h\x1b:1", "is no host name"),
        ("x" * 17 + "@h", "17 characters"),
        ("Ü@h", "a character that AE titles cannot have"),
        ("A\\B@h", "a character that AE titles cannot have"),
        ("A\nB@h", "a character that AE titles cannot have"),
    ],
)
def test_what_is_no_address(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse(text)
    assert said in caught.value.message
    assert caught.value.exit_code == 2


@given(st.text())
def test_any_text_is_an_address_or_a_configuration_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except PypxError as error:
        assert isinstance(error, ConfigError)
    else:
        assert Address.parse(str(address)) == address


@pytest.mark.parametrize("title", ["A", " A ", "ORTHANC-1", "a b_c", "x" * 16, "~!$"])
def test_titles(title: str) -> None:
    assert check_ae_title(title) == title.strip()
