"""Query keys as users write them: ``-k KEY=VALUE`` and ``--PatientID VALUE``.

In: arguments. Out: keyword to value, checked against the dictionary. Values are passed on
as they are; only a full ISO date, which no PACS takes, becomes a DICOM one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from pypx.cli.command import PxCommand
from pypx.dicom.dictionary import keyword_of, parse_tag, tag_of, tag_text, vr_of
from pypx.errors import ConfigError

__all__ = [
    "KeyCommand",
    "check_values",
    "key_named",
    "key_option",
    "key_value",
    "level_option",
    "model_option",
    "parse_keys",
    "wrong_shape",
]

model_option = click.option(
    "--model",
    type=click.Choice(["patient", "study"]),
    help="Information model.  [default: the node's, or study]",
)


def level_option(what: str) -> Callable[[Any], Any]:
    """Give a command ``--level``.

    Args:
        what: What it decides, and what it is by default, for the help.
    """
    return click.option(
        "--level", type=click.Choice(["patient", "study", "series", "image"]), help=what
    )


_ISO_DATE = re.compile(r"(\d{4})([-/])(\d{2})\2(\d{2})")
_SHAPES = {
    "DA": (re.compile(r"(\d{8})?"), "a date like 2024-01-31"),
    "TM": (re.compile(r"(\d\d(:?\d\d(:?\d\d(\.\d{1,6})?)?)?)?"), "a time like 083000"),
}
_DATE_RANGE = re.compile(r"(\d{8})?(?:\.\.|-)(\d{8})?")


def parse_keys(texts: Iterable[str]) -> dict[str, str]:
    """Read keys.

    Args:
        texts: ``KEY`` or ``KEY=VALUE``, where KEY is a keyword or ``gggg,eeee``.

    Returns:
        Keyword (or ``gggg,eeee`` where there is none) to value, which is empty where none
        was given. Several UIDs for one key become a list of UIDs.

    Raises:
        ConfigError: A key is unknown, or has two values that cannot be a list.
    """
    keys: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        keyword = key_named(name)
        vr = vr_of(parse_tag(keyword))
        value = key_value(vr, value)
        if keys.get(keyword) and value and keys[keyword] != value:
            if vr != "UI":
                raise ConfigError(
                    f"{keyword} has two values, {keys[keyword]!r} and {value!r}.",
                    hint="A key matches one value; use the wildcards * and ?, or ask twice.",
                )
            value = f"{keys[keyword]}\\{value}"
        keys[keyword] = value or keys.get(keyword, "")
    return keys


def key_named(name: str) -> str:
    """Give the keyword of a key, or ``gggg,eeee`` where there is none.

    Args:
        name: A keyword, ``gggg,eeee``, ``(gggg,eeee)`` or ``ggggeeee``.

    Raises:
        ConfigError: There is no such keyword, or it cannot be a key.
    """
    tag = parse_tag(name)
    keyword = keyword_of(tag)
    if keyword is None or tag_of(keyword) != tag:
        keyword = tag_text(tag)[1:-1]
    if vr_of(tag) == "SQ":
        raise ConfigError(
            f"{keyword} is a sequence, which cannot be a key here.",
            hint="Give an attribute that has a value.",
        )
    if tag >> 16 == 0:
        raise ConfigError(
            f"{keyword} belongs to the messages of DICOM, and cannot be a key.",
            hint="Give an attribute of patients, studies, series or images.",
        )
    if keyword == "QueryRetrieveLevel":
        raise ConfigError("The query/retrieve level is not given with -k.", hint="--level")
    return keyword


def key_value(vr: str, text: str) -> str:
    """Give the value of a key as a PACS takes it: only full ISO dates are written otherwise."""
    return _date(text) if vr == "DA" else text


def _date(value: str) -> str:
    """Write full ISO dates, and ranges of them, as DICOM does (PS3.5 §6.2, VR DA)."""
    text = _ISO_DATE.sub(r"\1\3\4", value)
    if text == value and ".." not in value:
        return value
    both = _DATE_RANGE.fullmatch(text)
    if both is not None:
        return f"{both[1] or ''}-{both[2] or ''}"
    return text


def wrong_shape(vr: str, value: str) -> str:
    """Say what a date, a time or a range of them should look like; nothing if the value does.

    Args:
        vr: Of the key.
        value: As a PACS would take it; one with wildcards may be anything.
    """
    if vr not in _SHAPES or set(value) & set("*?"):
        return ""
    pattern, example = _SHAPES[vr]
    return "" if all(pattern.fullmatch(end) for end in value.split("-", 1)) else example


def check_values(keys: Mapping[str, str]) -> None:
    """Refuse dates and times that are none: a PACS may pass over such a key and give everything.

    Raises:
        ConfigError: There is one.
    """
    for keyword, value in keys.items():
        if example := wrong_shape(vr_of(parse_tag(keyword)), value):
            raise ConfigError(f"{keyword} is {value!r}, which is not {example}.")


def key_option(function: Any) -> Any:
    """Give a command ``-k``; it gets ``keys`` as the texts."""
    return click.option(
        "-k",
        "keys",
        multiple=True,
        metavar="KEY[=VALUE]",
        help="A key to look for: a DICOM keyword or gggg,eeee. Without a value it is only "
        "asked to be returned. --PatientID VALUE and so on work for every keyword.",
    )(function)


class KeyCommand(PxCommand):
    """A command that takes every DICOM keyword as an option: ``--PatientID X`` is ``-k``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Turn the keyword options into ``-k`` before the others are read."""
        try:
            rewritten = self._rewritten(ctx, args)
        except ConfigError:
            if not ctx.resilient_parsing:  # a shell asks how half a line may go on
                raise
            rewritten = [one for one in args if not one.startswith("--")]
        return super().parse_args(ctx, rewritten)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete options, keywords among them."""
        from pypx.cli.completing import keyword_options

        return [*super().shell_complete(ctx, incomplete), *keyword_options(incomplete)]

    def _rewritten(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {
            name: parameter
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            for name in parameter.opts
        }
        rewritten: list[str] = []
        rest = iter(args)
        for argument in rest:
            name, equals, value = argument.partition("=")
            if argument == "--":
                return [*rewritten, argument, *rest]
            if name in options or not argument.startswith("--"):
                rewritten.append(argument)
                if name in options and not equals and not options[name].is_flag:
                    rewritten.extend(next(([one] for one in rest), []))
                continue
            _check_keyword(name, options)
            if not equals:
                value = _value_of(name, rest)
            rewritten += ["-k", f"{name[2:]}={value}"]
        return rewritten


def _value_of(name: str, rest: Any) -> str:
    value: str | None = next(rest, None)
    if value is None or value.startswith("--"):
        raise ConfigError(
            f"{name} needs a value.",
            hint=f"To have it returned whatever it is, write -k {name[2:]}.",
        )
    return value


def _check_keyword(name: str, options: Mapping[str, object]) -> None:
    """Refuse an option that is neither ours nor a keyword."""
    try:
        parse_tag(name[2:])
    except ConfigError as error:
        from difflib import get_close_matches  # only a wrong option needs it

        near = get_close_matches(name, options, n=1)
        hint = f"Did you mean {near[0]}?" if near else error.hint
        for word in re.findall(r"\b[A-Z]\w*[A-Z]\w*", hint) if not near else ():
            hint = hint.replace(word, f"--{word}")
        raise ConfigError(f"There is no option {name}, and no DICOM keyword.", hint=hint) from None
