"""Whose style a command line is in: ours, or that of the pypx before this one.

In: arguments. Out: yes or no, and what they say. What is then done is in ``upstream_run``; each
command comes through here, so this module stays light.

The rule: upstream's style has

* ``px-report``, which is only upstream's, and ``px-listen`` with ``-x`` or ``-y``;
* a command line with a flag that only upstream has (``--then``, ``--JSONargs``, ``-x``, …),
  with or without a NODE;
* ``px-echo``, ``px-find`` and ``px-move``, but not ``px echo`` and so on, where ``--aec``,
  ``--serverIP`` or ``--serverPort`` name the PACS instead of a NODE, and no flag is only ours.
"""

from __future__ import annotations

from pypx.errors import ConfigError

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pypx.compat.flags import Flag

__all__ = ["SIGNS", "Parsed", "for_listen", "is_upstream", "parse", "with_verbosity"]

SIGNS = frozenset(
    {
        *("--echoscu", "--findscu", "--movescu", "--JSONargs", "--db", "--dblogbasepath", "--PACS"),
        *("--CUBE", "--swift", "--StudyOnly", "--QueryReturnTags", "--withFeedBack", "--then"),
        *("--thenArgs", "--intraSeriesRetrieveDelay", "--retrieve", "--move", "--colorize"),
        *("--waitForUserTerminate", "--printReport", "--reportTags", "--reportLayout"),
        *("--StudyInstanceUID", "--SeriesInstanceUID", "--verifySeriesInStudy"),
        *("--verbosity", "-x", "--desc", "-y", "--synopsis"),
    }
)
"""What a flag that only upstream has may be; the table in ``pypx.compat.flags`` says of which
program. It stands here as well, so that a command in our own style does not load that."""

_PROGRAMS = frozenset({"echo", "find", "move", "status"})
_INFORMING = frozenset({"-x", "--desc", "-y", "--synopsis"})
_WHO = frozenset({"--aec", "--serverIP", "--serverPort"})
_HELP = frozenset({"-h", "--help"})
# Flags of ours that go with upstream's style as well, and the keys of those with a value.
_OURS = {
    "--config": "config",
    "--archive": "archive",
    "--timeout": "timeout",
    "--engine": "engine",
    "-o": "o",
}
_OUR_SWITCHES = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"} | {
    "--log-json": "log_json"
}


class Parsed:
    """What arguments say.

    Attributes:
        opt: The dictionary for ``pypx.compat``.
        ours: The flags of ours that both styles have.
        flags: Upstream's flags that were given.
        nodes: What is no flag.
        foreign: Flags that are only ours, or nobody's.
    """

    def __init__(self) -> None:
        self.opt: dict[str, Any] = {}
        self.ours: dict[str, Any] = {}
        self.flags: list[Flag] = []
        self.nodes: list[str] = []
        self.foreign: list[str] = []


def is_upstream(program: str, name: str, arguments: Sequence[str]) -> bool:
    """Say whether arguments are in upstream's style.

    Args:
        program: How the program was called: ``px`` or ``px-find`` and so on.
        name: Its command.
        arguments: What follows it.
    """
    if name not in _PROGRAMS:
        asks = name == "listen" and not _INFORMING.isdisjoint(arguments)
        return asks or name == "report"
    if "--" in arguments:
        arguments = arguments[: arguments.index("--")]
    names = {argument.partition("=")[0] for argument in arguments}
    if names & _HELP:
        return False
    if names & SIGNS:
        from pypx.compat.flags import only_upstream

        if names & only_upstream(name):
            return True
    if program == "px" or not names & _WHO:
        return False
    try:
        parsed = parse(name, arguments)
    except ConfigError:
        return False  # the words of our own commands say more
    return not (parsed.nodes or parsed.foreign)


def parse(name: str, arguments: Sequence[str]) -> Parsed:
    """Read arguments.

    Raises:
        ConfigError: A flag has no value, or one that it cannot have.
    """
    from pypx.compat.flags import flags_of

    parsed = Parsed()
    known = flags_of(name)
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if argument == "--":
            parsed.nodes += rest
        elif not argument.startswith("-") or argument == "-":
            parsed.nodes.append(argument)
        elif flag in known and not known[flag].takes_value:
            if equals:
                raise ConfigError(f"{flag} takes no value.")
            parsed.opt[known[flag].key] = True
            parsed.flags.append(known[flag])
        elif argument in _OUR_SWITCHES:
            parsed.ours[_OUR_SWITCHES[argument]] = True
        elif flag in known or flag in _OURS or _is_keyword(name, flag):
            text = value if equals else _value_of(flag, rest)
            if flag in _OURS:
                parsed.ours[_OURS[flag]] = text
            else:
                parsed.opt[known[flag].key if flag in known else flag[2:]] = text
                parsed.flags += [known[flag]] if flag in known else []
        else:
            parsed.foreign.append(flag)
    return parsed


def _value_of(flag: str, rest: Iterator[str]) -> str:
    value: str | None = next(rest, None)
    if value is None or value.startswith("--"):
        raise ConfigError(f"{flag} needs a value.")
    return value


def _is_keyword(name: str, flag: str) -> bool:
    """Whether a flag is a query key that upstream did not have."""
    if name != "find" or not flag.startswith("--"):
        return False
    from pypx.dicom.dictionary import tag_of

    return tag_of(flag[2:]) is not None


def with_verbosity(arguments: Sequence[str]) -> list[str]:
    """Write ``-v N``, which upstream had, as ``--verbosity N``; ``-v`` alone is ours."""
    found = list(arguments)
    for place, argument in enumerate(found[:-1]):
        if argument == "-v" and found[place + 1].isdecimal():
            found[place] = "--verbosity"
    return found


def for_listen(arguments: Sequence[str]) -> list[str]:
    """Write upstream's ``--verbosity N`` as the ``-q`` or ``-v`` of our own command.

    Raises:
        ConfigError: There is no number.
    """
    found = []
    rest = iter(with_verbosity(arguments))
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag != "--verbosity":
            found.append(argument)
            continue
        number = value if equals else _value_of(flag, rest)
        if not number.isdecimal():
            raise ConfigError(f"--verbosity is a number, not {number!r}.")
        found += {0: ["-q"], 1: []}.get(int(number), ["-v"])
    return found
