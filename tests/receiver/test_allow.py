"""Rules of who may send."""

from __future__ import annotations

import pytest

from pypx.errors import ConfigError
from pypx.receiver.allow import AllowRule, is_loopback

RULES = [
    ("ORTHANC@10.1.2.0/24", "ORTHANC", "10.1.2.77", True),
    ("ORTHANC@10.1.2.0/24", "ORTHANC", "10.1.3.77", False),
    ("ORTHANC@10.1.2.0/24", "orthanc", "10.1.2.77", False),
    ("*@10.1.2.3", "ANY", "10.1.2.3", True),
    ("*@10.1.2.3", "ANY", "10.1.2.4", False),
    ("*@10.1.2.3/24", "ANY", "10.1.2.4", True),
    ("ORTHANC@*", "ORTHANC", "192.0.2.1", True),
    ("ORTHANC@*", "OTHER", "192.0.2.1", False),
    ("*@*", "ANY", "2001:db8::1", True),
    ("*@2001:db8::/32", "ANY", "2001:db8::1", True),
    ("*@2001:db8::/32", "ANY", "10.1.2.3", False),
    ("*@10.1.2.3", "ANY", "::ffff:10.1.2.3", True),
    ("*@fe80::1", "ANY", "fe80::1%eth0", True),
]


@pytest.mark.parametrize(("rule", "title", "host", "allowed"), RULES)
def test_a_rule_matches_title_and_network_together(
    rule: str, title: str, host: str, allowed: bool
) -> None:
    assert AllowRule.parse(rule).matches(title, host) is allowed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A@*", (None, None, None)),
        ("A@* to B", ("B", None, None)),
        ("A@* as alice", (None, "alice", None)),
        ("A@* tls h.org", (None, None, "h.org")),
        ("A@* to MY PACS as * tls h.org", ("MY PACS", "*", "h.org")),
        ("A B@10.0.0.0/8 as alice tls h.org", (None, "alice", "h.org")),
    ],
)
def test_what_may_follow(text: str, expected: tuple[str | None, ...]) -> None:
    rule = AllowRule.parse(text)
    assert (rule.called, rule.user, rule.name) == expected


@pytest.mark.parametrize(
    ("text", "nobody", "alice"),
    [("A@*", True, True), ("A@* as *", False, True), ("A@* as alice", False, True)],
)
def test_users(text: str, nobody: bool, alice: bool) -> None:
    rule = AllowRule.parse(text)
    assert (rule.admits(None), rule.admits("alice")) == (nobody, alice)
    assert rule.admits("bob") is (rule.user != "alice")


@pytest.mark.parametrize(
    "text",
    [
        "A@* as",
        "A@* as a b",
        "A@* tls h as a",
        "",
        "ORTHANC",
        "@10.1.2.3",
        "ORTHANC@",
        "ORTHANC@pacs.example",
        "A@1.2.3",
        "A\\B@*",
    ],
)
def test_what_is_no_rule_is_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AllowRule.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
        ("10.1.2.3", False),
        ("pacs.example", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
