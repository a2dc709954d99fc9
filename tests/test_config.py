"""The configuration: what the file says, what goes before it, and where a mistake is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.config import Config, Listen, Node, config_path, load
from pypx.config.amounts import parse_endpoint, parse_size
from pypx.config.edit import add_node, change_node, remove_node
from pypx.config.limits import LIMITS
from pypx.errors import ConfigError
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.receiver.hook_settings import HookSettings
from pypx.values import fields

WHOLE = """
aet = "LAB"
archive = "~/images"
layout = "uid"

[listen]
host = "0.0.0.0"
port = 11112
allow = ["ORTHANC@10.1.2.0/24", "*@10.1.2.3"]

[nodes.hospital]
address = "ORTHANC@10.1.2.3:4242"
aet = "RESEARCH"
model = "patient"
associations = 4

[nodes."the other"]
address = "OTHER@pacs.example"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str, **arguments: str) -> Config:
    file.write_text(text, encoding="utf-8")
    environ = {key: value for key, value in arguments.items() if key.startswith("PYPX")}
    flags = {key: value for key, value in arguments.items() if key not in environ}
    return load(str(file), environ=environ, **flags)


def test_all_of_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = read(file, WHOLE)
    hospital = Node("hospital", Address("ORTHANC", "10.1.2.3", 4242), "RESEARCH", "patient", 4)
    assert config == Config(
        path=str(file),
        aet="LAB",
        aet_forced=False,
        archive="/home/someone/images",
        layout="uid",
        listen=Listen("0.0.0.0", 11112, ("ORTHANC@10.1.2.0/24", "*@10.1.2.3")),
        nodes={
            "hospital": hospital,
            "the other": Node("the other", Address("OTHER", "pacs.example", 104)),
        },
    )
    assert config.node("hospital") is config.nodes["hospital"]
    assert config.calling_ae_title(hospital) == "RESEARCH"
    assert config.calling_ae_title(config.node("X@h")) == "LAB"


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    config = load(environ={"XDG_CONFIG_HOME": str(tmp_path)})
    assert config.aet == "PYPX"
    assert config.archive == str(Path("~/pypx").expanduser())
    assert config.listen == Listen("127.0.0.1", 10402, ())
    assert dict(config.nodes) == {}


def test_a_file_that_a_flag_names_must_be_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load(str(file), environ={})
    assert load(environ={"PYPX_CONFIG": str(file)}).aet == "PYPX"  # it may be made later
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load("", environ={})


def test_environment_goes_before_the_file_and_flags_before_both(file: Path) -> None:
    node = Node("a", Address("A", "h", 104), "NODE")
    text = 'aet = "FILE"\narchive = "/file"\n'
    config = read(file, text)
    assert (config.aet, config.archive) == ("FILE", "/file")
    assert config.calling_ae_title(node) == "NODE"
    config = read(file, text, PYPX_AET="ENV", PYPX_ARCHIVE="/env")
    assert (config.aet, config.archive) == ("ENV", "/env")
    assert config.calling_ae_title(node) == "ENV"
    config = read(file, text, PYPX_AET="ENV", PYPX_ARCHIVE="/env", aet="FLAG", archive="/flag")
    assert (config.aet, config.archive) == ("FLAG", "/flag")
    assert config.calling_ae_title(node) == "FLAG"
    config = read(file, text, PYPX_AET="", PYPX_ARCHIVE="")
    assert (config.aet, config.archive) == ("FILE", "/file")


def test_a_wrong_title_in_the_environment_is_told_as_such(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^PYPX_AET: The AE title"):
        read(file, "", PYPX_AET="x" * 17)


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_path("/flag", {"PYPX_CONFIG": "/env"}) == "/flag"
    assert config_path(None, {"PYPX_CONFIG": "/env"}) == "/env"
    monkeypatch.setenv("HOME", "/home/someone")
    assert config_path("~/x.toml", {}) == "/home/someone/x.toml"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs itself is asked")
@pytest.mark.parametrize("base", [None, "", " ", "/somewhere"])
def test_it_is_where_platformdirs_says(base: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from platformdirs import user_config_dir

    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    if base is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", base)
    assert config_path(None, os.environ) == f"{user_config_dir('pypx')}/config.toml"


HOOK = "[[hooks]]\ncommand = ['a', 'b']\n"
WEBHOOK = "[[hooks]]\nwebhook = 'http://h/x'\n"

MISTAKES = [
    ('atf = "X"', 1, "the key 'atf' is unknown", "'aet'"),
    ('\n\narchiv = "X"', 3, "'archiv' is unknown", "'archive'"),
    ("aet = 1", 1, "'aet' must be text", ""),
    ("aet = true", 1, "'aet' must be text", ""),
    ('aet = "12345678901234567"', 1, "'aet': The AE title", "spelled"),
    ('aet = "X"\n[listen]\nport = "104"', 3, "'listen.port' must be a whole number", ""),
    ("[listen]\nport = true", 2, "'listen.port' must be a whole number", ""),
    ("[listen]\nport = 0", 2, "between 1 and 65535", ""),
    ("[listen]\nport = 70000", 2, "between 1 and 65535", ""),
    ("listen = { prot = 1 }", 1, "'listen.prot' is unknown", "'port'"),
    ("listen.prot = 1", 1, "'listen.prot' is unknown", "'port'"),
    ("listen = 1", 1, "'listen' must be a table", ""),
    ('[listen]\nallow = "A@*"', 2, "must be a list", ""),
    ("[listen]\nallow = [1]", 2, "must be a text", ""),
    ('[listen]\nallow = [\n "A@*",\n "B",\n]', 2, "'B' is no rule", "AET@"),
    ("[lisen]\nport = 1", 1, "'lisen' is unknown", "'listen'"),
    ("nodes = 1", 1, "'nodes' must be a table", ""),
    ("[nodes]\na = 1", 2, "node 'a' must be a table", ""),
    ("[nodes.a]", 1, "node 'a' has no address", "address = "),
    ('[nodes.a]\nadress = "A@h"', 2, "'nodes.a.adress' is unknown", "'address'"),
    ('[nodes.a]\naddress = "h:104"', 2, "'nodes.a.address'", "AET@host:port"),
    ('[nodes."x@y"]\naddress = "A@h"', 1, "'x@y' is no name", ""),
    ('[nodes.a]\naddress = "A@h"\nmodel = "both"', 3, "no query/retrieve model", "study"),
    ('[nodes.a]\naddress = "A@h"\nassociations = 0', 3, "at least 1", ""),
    ('[nodes.a]\naddress = "A@h"\nmethod = "auto"', 3, "no way to retrieve", "move or get"),
    ('[nodes.a]\naddress = "A@h"\nmatch_limit = 0', 3, "at least 1 match", ""),
    ('[nodes.a]\naddress = "A@h"\nrefused_levels = ["study"]', 3, "do without", "image"),
    ('[nodes.a]\naddress = "A@h"\ncharacter_set = "X"', 3, "no character set", "ISO_IR 192"),
    ('[nodes.a]\naddress = "A@h"\ntls = 1', 3, "must be a table, true or false", ""),
    ('[nodes.a]\naddress = "A@h"\nassociations = true', 3, "must be a whole number", ""),
    ('[nodes.a]\naddress = "A@h"\n[nodes.a.tls]\nca = true', 4, "must be text", ""),
    ('[nodes.a]\naddress = "A@h"\n[nodes.a.tls]\nminimum = "1.1"', 4, "TLS 1.1", "1.2"),
    ('[nodes.a]\naddress = "A@h"\n[nodes.a.tls]\nkey = "k"', 4, "needs its certificate", ""),
    ('[nodes.a]\naddress = "A@h"\n[nodes.b]\naddress = "B@h"\naet = ""', 5, "nodes.b.aet", ""),
    ("[[nodes]]\na = 1", 1, "'nodes' must be a table", ""),
    ("[listen]\nsettle = 'x'", 2, "'listen.settle' must be a number", ""),
    ("[listen]\nsettle = -1", 2, "from 0 to 86400", ""),
    ("[listen]\nindex_wait = -1", 2, "from 0 to 86400", ""),
    ("[listen]\nsettle = nan", 2, "from 0 to 86400", ""),
    ("[listen]\nmax_associations = 0", 2, "0 is no number from 1 to 10000", ""),
    ("[listen]\nmax_associations = 1.5", 2, "must be a whole number", ""),
    ("[listen]\nmax_pdu = '1K'", 2, "1K is no number of bytes from 4096 to 134217728", ""),
    ("[listen]\nmax_pdu = 'big'", 2, "'big' is no size", ""),
    ("[listen]\npdu_timeout = -1", 2, "no number of seconds from 0 to 86400", ""),
    ("[listen]\nartim_timeout = nan", 2, "no number of seconds from 1 to 86400", ""),
    ("[listen]\nworkers = 0", 2, "no number of workers from 1 to 64", ""),
    ("[listen]\nworkers = '2'", 2, "'listen.workers' must be a whole number", ""),
    ("[listen]\nmin_free = 'much'", 2, "'listen.min_free': 'much' is no size", ""),
    ("[listen]\nmetrics = 'host'", 2, "'listen.metrics': 'host' is no address", ""),
    ("[listen]\nmetrics = 70000", 2, "'listen.metrics': 70000 is no address", ""),
    ("[listen]\nmetrics = true", 2, "must be a text or a whole number", ""),
    ("hooks = 1", 1, "'hooks' must be tables, each under [[hooks]]", ""),
    ("hooks = [1]", 1, "hook 1 must be a table", "[[hooks]]"),
    ("[hooks]\ncommand = ['a']", 1, "'hooks' must be tables", ""),
    ("[[hooks]]", 1, "hook 1 needs either a command or a webhook", "webhook = "),
    (f"{HOOK}webhook = 'http://h'", 1, "hook 1 needs either a command or a webhook", ""),
    (f"{HOOK}[[hooks]]\ncomand = ['a']", 4, "'hooks[2].comand' is unknown", "'command'"),
    (f"{HOOK}[[hooks]]\ncommand = 'a'", 4, "'hooks[2].command' must be a list", ""),
    (f"{HOOK}[[hooks]]\ncommand = []", 4, "list of texts, the program first", "No shell"),
    (f"{HOOK}[[hooks]]\ncommand = ['']", 4, "program of the command is empty", ""),
    ("hooks = [{command = ['a', 1]}]", 1, "list of texts, the program first", ""),
    ('[[hooks]]\ncommand = ["a\\u0000"]', 2, "list of texts", ""),
    (f"{HOOK}timeout = 0", 3, "'hooks[1].timeout': 0 is no number of seconds", ""),
    (f"{HOOK}timeout = true", 3, "'hooks[1].timeout' must be a number", ""),
    (f"{HOOK}on = 'study'", 3, "no event 'study'", "series"),
    (f"{HOOK}name = 'a/b'", 3, "'a/b' is no name for a hook", "letters"),
    (f"{HOOK}name = 'python-x'", 3, "those of installed packages", ""),
    (f"{HOOK}headers = {{ A = 'b' }}", 3, "only a webhook has headers", ""),
    ("[[hooks]]\nwebhook = 'ftp://h/x'", 2, "no address of a webhook", "https://"),
    ("[[hooks]]\nwebhook = 'http://'", 2, "no address of a webhook", "https://"),
    (f"{WEBHOOK}[hooks.headers]\nA = 1", 3, "must be a text of one line", ""),
    (f'{WEBHOOK}[hooks.headers]\nA = "x\\ny"', 3, "must be a text of one line", ""),
    (f"{WEBHOOK}[hooks.headers]\n'a b' = 'x'", 3, "no name of a header", ""),
    (f"{HOOK}{HOOK}", 3, "two hooks have the name 'command-", "Give each a name"),
]


@pytest.mark.parametrize(("text", "line", "said", "hint"), MISTAKES)
def test_a_mistake_has_file_line_and_key(file: Path, text: str, line: int, said: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        read(file, text)
    assert caught.value.message.startswith(f"{file} line {line}: ")
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.message.endswith(".")


def test_a_listener_with_workers_and_metrics(file: Path) -> None:
    config = read(file, '[listen]\nworkers = 4\nmetrics = "0.0.0.0:9104"\nmin_free = "20G"\n')
    assert config.listen.workers == 4
    assert parse_endpoint(config.listen.metrics or "") == ("0.0.0.0", 9104)
    assert parse_size(config.listen.min_free) == 20 << 30
    assert read(file, "").listen.workers == 1


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [(0, ("127.0.0.1", 0)), ("9104", ("127.0.0.1", 9104)), ("[::1]:9104", ("::1", 9104))],
)
def test_where_metrics_are(text: str | int, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", ":9104", "host:", "9.1", "-1", "٣", "a:b"])
def test_where_metrics_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("512", 512), ("1K", 1024), ("1.5 MiB", 3 << 19), ("2gb", 2 << 30), ("1T", 1 << 40)],
)
def test_a_size_has_a_unit(text: str, number: int) -> None:
    assert parse_size(text) == number


def test_limits_of_a_listener(file: Path) -> None:
    text = """
[listen]
max_associations_per_host = 0
max_pdu = "64KiB"
max_bytes = 0
pdu_timeout = 2.5
"""
    limits = AcceptorLimits(
        max_associations_per_host=0, max_pdu=65536, max_bytes=0, pdu_timeout=2.5
    )
    assert read(file, text).listen == Listen(limits=limits)


def test_each_limit_has_a_key_and_a_range_with_its_default() -> None:
    assert tuple(LIMITS) == fields(AcceptorLimits)
    for key, limit in LIMITS.items():
        limit.check(getattr(DEFAULT_LIMITS, key))
        for wrong in (limit.least - 1, limit.most + 1):
            with pytest.raises(ConfigError):
                limit.check(wrong)


def test_hooks(file: Path) -> None:
    text = """
[listen]
settle = 2.5
index_wait = 0.5

[[hooks]]
command = ["convert", "--fast"]

[[hooks]]
on = "series"
name = "pipeline"
webhook = "https://h/series?key=${KEY}"
timeout = 3
headers = { Authorization = "Bearer ${TOKEN}" }
"""
    config = read(file, text)
    assert (config.listen.settle, config.listen.index_wait) == (2.5, 0.5)
    command, webhook = config.hooks
    assert command == HookSettings("command-98b02b70", ("convert", "--fast"))
    # The configuration is read by commands that have no use for the secrets.
    assert webhook == HookSettings(
        "pipeline",
        webhook="https://h/series?key=${KEY}",
        headers={"Authorization": "Bearer ${TOKEN}"},
        timeout=3,
    )


def test_a_hook_without_a_name_keeps_the_one_it_gets(file: Path) -> None:
    (first,) = read(file, HOOK).hooks
    assert read(file, f"{WEBHOOK}{HOOK}timeout = 9").hooks[1].name == first.name
    assert read(file, HOOK.replace("b", "c")).hooks[0].name != first.name


def test_hooks_stay_in_a_file_that_is_edited(file: Path) -> None:
    hooks = read(file, f"{HOOK}{WEBHOOK}").hooks
    add_node(str(file), Node("new", Address("N", "::1", 11)))
    assert load(str(file), environ={}).hooks == hooks


def test_what_is_no_toml_has_its_line(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no TOML: .*line 2") as caught:
        read(file, 'aet = "X"\naet = PYPX\n')
    assert str(file) in caught.value.message


def test_what_is_no_text(file: Path) -> None:
    file.write_bytes(b'aet = "\xff"')
    with pytest.raises(ConfigError, match="UTF-8"):
        load(str(file), environ={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(file.parent), environ={})


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hospitl", "Did you mean hospital?"),
        ("zzz", "Configured are hospital"),
        ("PatientID=1", "-k PatientID=VALUE"),
        ("10.1.2.3:4242", "AET@10.1.2.3:4242"),
    ],
)
def test_an_unknown_node_has_a_hint(file: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, WHOLE).node(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["", WHOLE, "nodes = { a = { address = 'A@h' } }\n", "# empty\n"])
def test_what_is_added_is_read_back_and_removed(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    before = dict(load(str(file), environ={}).nodes)
    node = Node("new", Address("N", "::1", 11), "US", "patient", 7)
    add_node(str(file), node)
    config = load(str(file), environ={})
    assert dict(config.nodes) == {**before, "new": node}
    remove_node(str(file), "new")
    assert dict(load(str(file), environ={}).nodes) == before


def test_what_is_known_of_a_node_is_read_back(file: Path) -> None:
    known = {
        "method": "get",
        "match_limit": 100,
        "refused_levels": ("series", "image"),
        "character_set": "ISO_IR 192",
    }
    node = Node("new", Address("N", "h", 11), **known)  # type: ignore[arg-type]
    add_node(str(file), node)
    assert load(str(file), environ={}).nodes["new"] == node


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("[nodes.a]", '[nodes.a]\nmatch_limit = 7\nrefused_levels = ["image"]', False),
        ("[nodes.a]\nmodel = 'patient'", None, False),
        ("[nodes.'a']\n# mine", None, True),
    ],
)
def test_keys_of_a_node_are_changed(file: Path, before: str, after: str | None, lost: bool) -> None:
    text = (
        f'# top\naet = "X"\n{before}\naddress = "A@h" # its address\n\n[nodes.b]\naddress = "B@h"\n'
    )
    file.write_text(text, encoding="utf-8")
    values = {"match_limit": 7, "refused_levels": ["image"], "model": None}
    for _ in range(2):  # once more changes nothing
        assert change_node(str(file), "a", values) == lost
        lost = False
    nodes = load(str(file), environ={}).nodes
    assert nodes["a"] == Node("a", Address("A", "h"), match_limit=7, refused_levels=("image",))
    assert nodes["b"] == Node("b", Address("B", "h"))
    if after is not None:
        assert file.read_text(encoding="utf-8") == text.replace(before, after)
    with pytest.raises(ConfigError, match="no node 'c'"):
        change_node(str(file), "c", values)


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text("", encoding="utf-8")
    link.symlink_to(real)
    add_node(str(link), Node("a", Address("A", "h", 1)))
    assert link.is_symlink()
    assert "A@h:1" in real.read_text(encoding="utf-8")


def test_a_folder_that_is_locked_is_not_waited_for_for_ever(file: Path) -> None:
    import fcntl
    import os

    fd = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="Another process"):
        add_node(str(file), Node("a", Address("A", "h", 1)), timeout=0.05)
    os.close(fd)
    add_node(str(file), Node("a", Address("A", "h", 1)))
