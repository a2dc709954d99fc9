"""What a dictionary of upstream asks for: whom, in whose name, and for what.

In: dictionaries. Out: checked values. Nothing is opened or asked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pypx.address import Address, check_ae_title
from pypx.compat.flags import defaults
from pypx.config import Config, Node, load
from pypx.dicom.dictionary import find_tag, parse_tag, vr_of
from pypx.errors import ConfigError
from pypx.values import frozen, replace

if TYPE_CHECKING:
    from pypx.client.requestor import Requestor
    from pypx.compat.answers import Caller

__all__ = [
    "Request",
    "check_uid_keys",
    "query_keys",
    "read",
    "then_arguments",
    "with_json",
]

_MODULE_DEFAULTS = {"aet": "CHRIS-AET", "aec": "CHRIS-AEC", "serverIP": "127.0.0.1"}
_PEER = frozenset({"aet", "aec", "serverIP", "serverPort"})
_PROGRAMS = ("echoscu", "findscu", "movescu")
_NO_KEYS = frozenset({"PACS", "CUBE", "JSONargString", "QueryReturnTags", "StudyOnly"})
_SET_BY_US = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet"})
_DATE = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)")
_LONGEST = 1e6  # seconds
_FALSE = frozenset({"", "0", "false", "no", "none"})


@frozen
class Request:
    """What one call asks for.

    Attributes:
        args: The dictionary, with the defaults of what it leaves out.
        given: The dictionary as it came.
        config: The configuration in force.
    """

    args: dict[str, Any]
    given: Mapping[str, Any]
    config: Config

    def text(self, key: str) -> str:
        """Give a value as text; empty where there is none."""
        value = self.args.get(key)
        return "" if value is None or value is False else str(value)

    def words(self, key: str) -> list[str]:
        """Give the parts of a list with commas, or of a list."""
        value = self.args.get(key) or ()
        parts = value.split(",") if isinstance(value, str) else [str(one) for one in value]
        return [part.strip() for part in parts if part.strip()]

    def is_on(self, key: str) -> bool:
        """Whether a flag is on; JSON may say it as text."""
        return str(self.args.get(key, "")).strip().lower() not in _FALSE

    @property
    def calling(self) -> str:
        """Our AE title.

        Raises:
            ConfigError: It is none.
        """
        return check_ae_title(self.text("aet"))

    @property
    def destination(self) -> str:
        """The AE title that a C-MOVE sends to: our own, or that of our listener.

        Raises:
            ConfigError: It is none.
        """
        return check_ae_title(self.text("aet_listener") or self.text("aet"))

    def node(self) -> Node:
        """Give the PACS.

        TLS, identity, character set and model are those of the node that was named, or of the
        configured one with this host and port.

        Raises:
            ConfigError: A part of its address is none.
        """
        port = _port(self.args["serverPort"])
        address = Address(self.text("aec"), self.text("serverIP"), port)
        base = self.named
        for node in self.config.nodes.values():
            if base is None and (node.address.host, node.address.port) == (address.host, port):
                base = node
        if base is None:
            return Node(str(address), address)
        return replace(base, name=str(address), address=address)

    @property
    def engine(self) -> str:
        """What asks the PACS: what the dictionary says, what its node says, or what is so for all.

        Raises:
            ConfigError: There is no such engine.
        """
        from pypx.engine import check_engine

        return check_engine(self.text("engine") or self.node().engine or self.config.engine)

    @property
    def timeout(self) -> float | None:
        """Seconds that a phase may take; None for the usual ones.

        Raises:
            ConfigError: It is no such number.
        """
        value = self.args.get("timeout")
        if value is None:
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0 < seconds <= _LONGEST:
            raise ConfigError(f"--timeout is a number of seconds above 0, not {value!r}.")
        return seconds

    @property
    def named(self) -> Node | None:
        """The node that ``node``, or else ``PACS``, names; None where they name none.

        Raises:
            ConfigError: There is no such ``node``.
        """
        if name := self.text("node"):
            return self.config.node(name)
        return self.config.nodes.get(self.text("PACS"))

    def client(self, node: Node, caller: Caller) -> Requestor:
        """Make a client for the PACS."""
        from pypx.engine import Engine
        from pypx.net.connection import Timeouts

        timeouts = Timeouts()
        if (longest := self.timeout) is not None:
            timeouts = Timeouts(longest, longest, longest, min(longest, 5.0))
        given = {name: str(self.given[name]) for name in _PROGRAMS if self.given.get(name)}
        engine = Engine(self.engine, {**self.config.dcmtk, **given})
        client = engine.client(
            node.address,
            calling_ae_title=self.calling,
            timeouts=timeouts,
            model=node.model,
            tls=node.tls,
            character_set=node.character_set,
            identity=node.identity,
        )
        caller.reaching(node, client)
        return client


def read(
    program: str,
    opt: Mapping[str, Any] | None,
    *,
    usual: Mapping[str, Any] = _MODULE_DEFAULTS,
    config: Config | None = None,
) -> Request:
    """Read a dictionary; every key may be missing.

    Args:
        program: Whose it is, without ``px-``.
        opt: The dictionary.
        usual: What the PACS is where nobody says: the functions and the command line of upstream
            differed there.
        config: The configuration; None to load it, as the dictionary says.

    Raises:
        ConfigError: A value makes no sense, or the configuration is wrong.
    """
    given = with_json(opt or {})
    said = {key: value for key, value in given.items() if value or key not in _PEER}
    args = {**defaults(program), **usual, **said}
    if "serverPort" in args:
        args["serverPort"] = str(args["serverPort"])
    if config is None:
        config = load(given.get("config"), archive=given.get("archive"))
    request = Request(args, given, config)
    if (node := request.named) is not None:
        address = node.address
        of_node = {
            "aet": config.calling_ae_title(node),
            "aec": address.ae_title,
            "serverIP": address.host,
            "serverPort": str(address.port),
        }
        args.update({key: value for key, value in of_node.items() if not given.get(key)})
    return request


def with_json(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Give a dictionary with what its ``JSONargString`` says, which goes before the rest.

    Raises:
        ConfigError: That is no JSON object.
    """
    return {**opt, **_from_json(opt.get("JSONargString") or opt.get("JSONargs"))}


def _from_json(text: object) -> dict[str, Any]:
    """Give the keys of ``--JSONargs``."""
    if not text:
        return {}
    if isinstance(text, Mapping):
        return dict(text)
    try:
        found = json.loads(str(text))
    except ValueError as error:
        raise ConfigError(
            f"The value of --JSONargs is no JSON: {error}.", hint='Write {"PatientID": "PID1"}.'
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(
            "The value of --JSONargs is no JSON object.", hint='Write {"PatientID": "PID1"}.'
        )
    return found


def _port(value: object) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"The port {text!r} is no number.", hint="Give 1 to 65535.")
    return int(text)


def query_keys(request: Request) -> dict[str, str]:
    """Give the query keys that have a value, as a PACS takes them.

    Every keyword of DICOM is one. A key that looks like a keyword and is none is refused: to
    leave it out would have everything match.

    Raises:
        ConfigError: There is such a key.
    """
    keys = {}
    for name, value in request.given.items():
        if name in _NO_KEYS or name in _SET_BY_US:
            continue
        if find_tag(name) is None:
            if name[:1].isupper():
                parse_tag(name)  # raises, with the nearest keyword
            continue
        text = "\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
        if text:
            is_date = vr_of(parse_tag(name)) == "DA"
            keys[name] = _DATE.sub(r"\1\2\3", text) if is_date else text
    return keys


def check_uid_keys(request: Request) -> dict[str, str]:
    """Give what a move is about: the study, and the series if there is one.

    Raises:
        ConfigError: There is no study.
    """
    keys = {name: request.text(name) for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    if not keys["StudyInstanceUID"]:
        raise ConfigError("Nothing says which study is to be moved.", hint="Give StudyInstanceUID.")
    return {name: value for name, value in keys.items() if value}


def then_arguments(value: object, steps: int) -> list[dict[str, Any]]:
    """Read ``thenArgs``: an object for all steps, a list of objects, or objects with ``;`` between.

    Args:
        value: The text, or what its JSON stands for.
        steps: How many steps there are.

    Raises:
        ConfigError: It is none of these.
    """
    found = _then_objects(value) if isinstance(value, str) else value
    if not found:
        return [{} for _ in range(steps)]
    if isinstance(found, Mapping):
        return [dict(found) for _ in range(steps)]
    if isinstance(found, list) and all(isinstance(one, Mapping) for one in found):
        return [dict(found[number]) if number < len(found) else {} for number in range(steps)]
    raise _no_arguments()


def _then_objects(text: str) -> Any:
    """Read one JSON value, or several with ``;`` between; the values may have such in them."""
    decoder = json.JSONDecoder()
    found: list[Any] = [None]
    several = False
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
        elif text[place] == ";":
            several = True
            found.append(None)
            place += 1
        elif found[-1] is not None:
            raise _no_arguments()
        else:
            try:
                found[-1], place = decoder.raw_decode(text, place)
            except ValueError:
                raise _no_arguments() from None
    return [one or {} for one in found] if several else found[0]


def _no_arguments() -> ConfigError:
    return ConfigError(
        "The value of --thenArgs is no JSON.",
        hint='Write one object, {"node": "ORTHANC@host:4242"}, or one for each step with ; '
        "between.",
    )
