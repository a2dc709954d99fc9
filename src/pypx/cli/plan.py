"""What to ask for: from the keys of the user to the unique keys that a retrieval takes.

In: keys and a client. Out: the level, and an identifier for each C-MOVE or C-GET. One with
other keys than unique ones is refused by most PACS (PS3.4 §C.4.2.1.4.1), or moves more
than was meant; so such keys are looked up with C-FIND, level by level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from pypx.cli.notes import Notes
from pypx.cli.output import Output
from pypx.dicom.levels import UNIQUE_KEYS, level_of
from pypx.errors import ConfigError, PypxError
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.client.requestor import Requestor

__all__ = ["NoMatchError", "Wish", "identifiers", "read_wish"]

_LEVELS = tuple(UNIQUE_KEYS)


class NoMatchError(PypxError):
    """Nothing on the PACS has the keys: nothing was asked for."""

    kind = "no-match"


class _TooManyError(PypxError):
    kind = "truncated"


class _IgnoredKeyError(PypxError):
    kind = "ignored-key"


@frozen
class Wish:
    """What the user wants.

    Attributes:
        keys: All with values.
        level: Of what is asked for.
        model: The query/retrieve model.
    """

    keys: Mapping[str, str]
    level: str
    model: str

    def keys_at(self, level: str) -> dict[str, str]:
        """Give the keys that belong to a level; the study root model has no patient level."""
        levels = {level, "patient"} if level == "study" and self.model == "study" else {level}
        return {key: value for key, value in self.keys.items() if level_of(key) in levels}

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of the model down to that of what is asked for."""
        first = 0 if self.model == "patient" else 1
        return _LEVELS[first : _LEVELS.index(self.level) + 1]


def read_wish(
    keys: Mapping[str, str], level: str | None, model: str | None, node_model: str
) -> Wish:
    """Decide level and model.

    Without a level it is the lowest one that a key belongs to; of the patient only where one
    Patient ID is the only key, since attributes of patients are also those of studies.

    Args:
        keys: As the user gave them.
        level: As the user gave it, or None.
        model: As the user gave it, or None.
        node_model: That of the node.

    Raises:
        ConfigError: The keys name nothing, or do not belong to the level.
    """
    empty = [key for key, value in keys.items() if not value]
    if empty:
        raise ConfigError(
            f"{empty[0]} has no value: it does not say what is to be sent.",
            hint=f"-k {empty[0]}=VALUE; if really everything is meant, -k '{empty[0]}=*'.",
        )
    if not keys:
        raise ConfigError(
            "Nothing says what is to be sent.",
            hint="Give a key, for example -k StudyInstanceUID=… or -k AccessionNumber=…",
        )
    if level is None:
        lowest = max(_LEVELS.index(level_of(key)) for key in keys)
        # A wildcard names studies: many images have no Patient ID to move them by.
        one_patient = set(keys) == {"PatientID"} and not set(keys["PatientID"]) & set("*?")
        only_patient = one_patient and model != "study"
        level = _LEVELS[max(lowest, 0 if only_patient else 1)]
    wish = Wish(keys, level, model or ("patient" if level == "patient" else node_model))
    unused = [key for key in keys if not any(key in wish.keys_at(one) for one in wish.levels)]
    if unused:
        raise ConfigError(
            f"{unused[0]} is no key of the {level} level, nor of one above.",
            hint=f"Take --level {level_of(unused[0])}, or leave {unused[0]} out.",
        )
    return wish


def identifiers(client: Requestor, wish: Wish, out: Output) -> list[dict[str, str]]:
    """Give the keys of each request: one for each patient, study, series or image.

    Raises:
        NoMatchError: Nothing on the PACS has the keys.
        PypxError: The PACS could not be asked, or gave only a part of what matches.
    """
    found: list[dict[str, str]] = [{}]
    for level in wish.levels:
        own = wish.keys_at(level)
        if not own and level != wish.level:
            _check_below(wish, level)
            continue
        unique = UNIQUE_KEYS[level]
        if set(own) == {unique} and not set(own[unique]) & set("*?"):
            values = own[unique].split("\\") if unique != "PatientID" else [own[unique]]
            found = [{**above, unique: value} for above in found for value in values]
        else:
            found = [one for above in found for one in _look_up(client, wish, level, above, own)]
            out.detail(f"{len(found)} found at the {level} level")
            if not found:
                raise NoMatchError(
                    f"Nothing on {client.address} matches the keys, so nothing was asked for.",
                    hint="px find with the same keys shows what there is.",
                )
    return found


def _check_below(wish: Wish, level: str) -> None:
    """Refuse to go through all studies, or all series of a study, to find the ones below."""
    below = wish.levels[wish.levels.index(level) + 1 :]
    for one in below:
        own = wish.keys_at(one)
        if own and UNIQUE_KEYS[one] not in own:
            key = next(iter(own))
            raise ConfigError(
                f"{key} alone would look through every {level} of the PACS.",
                hint=f"Add a key of the {level} level, for example {UNIQUE_KEYS[level]}.",
            )
        if own:
            return


def _look_up(
    client: Requestor, wish: Wish, level: str, above: Mapping[str, str], own: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Ask with C-FIND for the unique keys of a level.

    A PACS that ignores a key gives everything, and everything would then be sent.
    """
    unique = UNIQUE_KEYS[level]
    seen = set()
    # "*" means the same as no value (PS3.4 §C.2.2.2.4), but Orthanc 1.10 then leaves out
    # what does not have the attribute at all.
    own = {key: value if value.strip("*") else "" for key, value in own.items()}
    notes = Notes(own)
    found = client.find(
        {**above, **own}, level=level, model=wish.model, return_keys=(*above, unique)
    )
    with closing(found):
        for match in found:
            notes.look_at(match)
            value = match.get(unique)
            if value and value not in seen:
                seen.add(value)
                yield {**above, unique: value}
    if found.truncated:
        raise _TooManyError(
            f"{client.address} has more matches than the {found.count} that it gave; "
            "nothing was asked for.",
            hint="Ask for less at once, for example by ranges of StudyDate.",
        )
    if found.count and notes.ignored:
        raise _IgnoredKeyError(
            f"{client.address} seems to ignore the key {', '.join(notes.ignored)}; "
            "nothing was asked for.",
            hint="Look with px find, and give the UIDs of what you want.",
        )
