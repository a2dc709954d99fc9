"""Match limits: notice that a PACS cuts its answers, and split the query until the parts are whole.

In: one query, and who asks. Out: matches as they come, each once, and a report of whether they
are all. What is asked for, and what becomes of the matches, does not belong here.

Of a PACS that says that it cut its answer, with a warning or a failure, that is known. Of one that
cuts in silence it is guessed from a round number, and tested: if the parts together have more than
the query had, it was cut; if they have the same, each match of the query again in some part, it
was not. An answer smaller than another one of this PACS was never cut in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from xxhash import xxh3_128_intdigest

from pypx.dimse.status import SUCCESS, is_out_of_resources, sentence
from pypx.errors import StatusError
from pypx.retrieve.finding.axes import Axis, Keys, Numbers
from pypx.retrieve.finding.matching import Filter
from pypx.retrieve.finding.whole import Report
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.client.requestor import Found as Answers
    from pypx.dicom.data_set import DataSet

__all__ = ["Limit", "Query", "Search"]

Found = Generator["DataSet", None, None]
Verdict = Generator["DataSet", None, bool]
"""Gives matches, and at its end whether all were given."""
Size = tuple[int, int]

_FEW = 10  # fewer matches of a narrow query are no sign of a limit
_PATIENCE = 100  # queries in a row along one axis that find nothing new
_GUESSES = 100  # queries in all that find nothing new along an axis that only guesses
_FUTILE = 3  # queries that were split because of a number, and the number was wrong
_RESOURCE_LIMITATION = 0x0213


def _is_about_the_amount(status: int) -> bool:
    """Say whether a failure speaks of the amount, and not of the query (PS3.4 Table C.4-1)."""
    return is_out_of_resources(status) or status == _RESOURCE_LIMITATION


def _is_round(number: int) -> bool:
    return number % 10 == 0 or number & (number - 1) == 0


class Limit:
    """What one PACS has shown of its limit at one level.

    The size of an answer is two numbers: of responses, and of different ones among them, since
    it is not known which of them a PACS counts.

    Attributes:
        unheeded: Keys that did not split a query: it ignores or refuses them.
        heeded: Keys that did: all matches of a part fitted that have the attribute.
        futile: How often a query was split because the PACS counts more, and nothing was found.
    """

    def __init__(self) -> None:
        self.unheeded: set[str] = set()
        self.heeded: set[str] = set()
        self.futile = 0
        self._confirmed: set[int] = set()
        self._most = (0, 0)

    def suspects(self, size: Size, *, closed: bool) -> bool:
        """Say whether an answer of this size may have been cut in silence.

        Args:
            size: Of the answer.
            closed: The query is so narrow that few matches are to be expected.
        """
        least = _FEW if closed else 1
        return any(
            number in self._confirmed or (number >= max(most, least) and _is_round(number))
            for number, most in zip(size, self._most, strict=True)
        )

    def saw(self, size: Size) -> None:
        """Learn that there was an answer of this size: no limit is lower."""
        self._most = max(self._most[0], size[0]), max(self._most[1], size[1])

    def confirm(self, size: Size) -> None:
        """Learn that an answer of this size was cut."""
        self._confirmed.update(number for number in size if number)


@frozen
class Query:
    """One query, and how it may be split.

    Attributes:
        keys: With values, those of levels above included.
        above: Those of levels above.
        unique: The unique key of its level.
        noun: What it looks for, in the plural.
        pacs: What to call the PACS.
        axes: In the order to try them.
        closed: A key names one thing, so that few matches are to be expected.
        total: How many the PACS says there are; None if it does not.
    """

    keys: Keys
    above: Keys
    unique: str
    noun: str
    pacs: str
    axes: tuple[Axis, ...]
    closed: bool = False
    total: int | None = None


class _Answer:
    """What came of one C-FIND.

    Attributes:
        responses: How many, those that came twice included.
        uids: Digests of those that are different.
        size: Both numbers, once all came.
        said: How the PACS said that there is more; empty if it did not.
        unheeded: The key that splits is ignored or refused.
        seen: What each axis wants to know.
    """

    def __init__(self, axes: Iterable[Axis], uids: set[int]) -> None:
        self.responses = 0
        self.uids = uids
        self.size: Size = (0, 0)
        self.said = ""
        self.unheeded = False
        self.seen: dict[Axis, Counter[str]] = {axis: Counter() for axis in axes}


class _Doubt:
    """An answer that may have been cut, while the parts of its query are asked for.

    Attributes:
        unreached: Its matches that came in no part yet.
        is_cut: There was more.
    """

    def __init__(self, answer: _Answer, *, is_cut: bool = False) -> None:
        self.answer = answer
        self.size = answer.size
        self.unreached = set(answer.uids)
        self.is_cut = is_cut or bool(answer.said)

    def is_refuted_by(self, axis: Axis) -> bool:
        """Say whether the parts show that the answer had all, since they found no more."""
        if isinstance(axis, Numbers):
            return not self.is_cut and len(self.unreached) < self.size[1]
        return not self.is_cut and not self.unreached


class Search:
    """Ask for one query until its answers are whole.

    Args:
        query: What is asked.
        ask: Asks the PACS for keys.
        limit: What is known of the PACS; it is added to.
        report: Gets what is noticed.
    """

    def __init__(
        self, query: Query, ask: Callable[[Keys], Answers], limit: Limit, report: Report
    ) -> None:
        self._query = query
        self._ask_for = ask
        self._limit = limit
        self._report = report
        self._filter = Filter(query.keys, silent=query.above)
        self._known: set[int] = set()
        self._doubts: list[_Doubt] = []
        self._used: dict[str, None] = {}
        self._reasons: dict[str, None] = {}
        self._given = self._queries = self._guesses = 0
        self._without_uid = False

    def matches(self) -> Found:
        """Give the matches; the report is complete at the end.

        Raises:
            StatusError: The PACS refuses the query.
            NetworkError, AssociationError, ProtocolError: It did not answer to the end.
        """
        query = self._query
        answer = yield from self._ask(query.keys)
        total = query.total
        suspect = self._is_suspect(answer, closed=query.closed)
        if total is not None:
            suspect = answer.size[1] < total
        if answer.said or suspect:
            doubt = _Doubt(answer, is_cut=suspect and total is not None)
            shown = False
            if answer.said or self._limit.futile < _FUTILE:
                shown = yield from self._resolve(query.keys, doubt, query.axes)
            self._conclude(doubt, shown)
        if self._without_uid:
            self._report.doubt(
                f"{query.pacs} gave matches without {query.unique}, which cannot be asked for."
            )
        for sentence_ in self._filter.notes(query.pacs, query.noun):
            self._report.note(sentence_)

    def _is_suspect(self, answer: _Answer, *, closed: bool) -> bool:
        suspect = self._limit.suspects(answer.size, closed=closed)
        self._limit.saw(answer.size)
        return suspect

    def _ask(self, keys: Keys, axis: Axis | None = None) -> Generator[DataSet, None, _Answer]:
        """Ask once, and give what is new.

        Args:
            keys: Of the query, or of a part of it.
            axis: What made the part.
        """
        axes = [one for one in self._query.axes if one.serves(keys)]
        answer = _Answer(axes, self._known if axis is None else set())  # one of 100,000 is enough
        part = None if axis is None else axis.heeds(keys[axis.keyword])
        verdicts: set[bool | None] = set()
        try:
            with closing(self._ask_for(keys)) as matches:
                for match in matches:
                    if self._is_new(match, keys, answer) and self._filter.admits(match):
                        self._given += 1
                        yield match
                    if part is not None:
                        verdicts.add(part.fits(match))
            if matches.status != SUCCESS:
                answer.said = f"status {matches.status:04X}H"
        except StatusError as error:
            if answer.responses or _is_about_the_amount(error.status):
                answer.said = f"status {error.status:04X}H ({sentence(error.status, 'C-FIND')})"
            elif axis is None:
                raise
            answer.unheeded |= not answer.said
        if axis is not None:
            answer.unheeded |= self._ignores(axis, verdicts)
        answer.size = answer.responses, len(answer.uids)
        if answer.said:
            self._limit.confirm(answer.size)
        self._queries += 1
        return answer

    def _ignores(self, axis: Axis, verdicts: set[bool | None]) -> bool:
        """Say whether the PACS ignores what makes a part, from how its matches fit."""
        if False in verdicts:
            return True
        if True in verdicts:
            self._limit.heeded.add(axis.keyword)
        # To Orthanc 1.10 what has no date is before any other: it comes with the first part.
        return None in verdicts and axis.keyword not in self._limit.heeded

    def _is_new(self, match: DataSet, keys: Keys, answer: _Answer) -> bool:
        """Note a match where it belongs, and say whether it is the first with its UID."""
        answer.responses += 1
        uid = match.get(self._query.unique)
        if not uid:
            self._without_uid = True
            return False
        digest = xxh3_128_intdigest(uid.encode())  # a third of the memory of the UID
        is_new = digest not in self._known
        if digest not in answer.uids:
            answer.uids.add(digest)
            for axis, seen in answer.seen.items():
                seen.update(axis.sort(keys, match))
        for doubt in self._doubts:
            doubt.unreached.discard(digest)
        if not is_new:
            return False
        self._known.add(digest)
        for doubt in self._doubts:
            doubt.is_cut = True
            self._limit.confirm(doubt.size)
        return True

    def _resolve(self, keys: Keys, doubt: _Doubt, axes: tuple[Axis, ...]) -> Verdict:
        """Split a query whose answer is in doubt by one axis after the other."""
        self._doubts.append(doubt)
        try:
            for number, axis in enumerate(axes):
                if not axis.serves(keys):
                    continue
                shown = yield from self._split(keys, doubt.answer, axes[number:])
                if shown is None:
                    self._reasons[f"the PACS does not heed {axis.keyword}"] = None
                elif axis.holds_all(keys):
                    return shown
                elif shown and doubt.is_refuted_by(axis):
                    return True
                elif doubt.is_cut and not (axis.guesses and self._reasons):
                    self._reasons[f"{self._query.noun} {axis.gap}"] = None
            return False
        finally:
            self._doubts.pop()

    def _split(
        self, keys: Keys, answer: _Answer, axes: tuple[Axis, ...]
    ) -> Generator[DataSet, None, bool | None]:
        """Split by the first axis until the parts are whole, and what is left by the others.

        It ends with None if the PACS does not heed the axis.
        """
        axis = axes[0]
        shown = True
        fruitless = 0
        doubtful = [(keys, answer)]
        while doubtful:
            keys, answer = doubtful.pop()
            values = axis.pieces(keys, answer.seen.get(axis, Counter()))
            if not values:
                shown &= yield from self._resolve(keys, _Doubt(answer), axes[1:])
            for value in values:
                if axis.keyword in self._limit.unheeded:
                    return None
                if fruitless == _PATIENCE or (axis.guesses and self._guesses == _GUESSES):
                    if not (axis.guesses and self._reasons):
                        self._reasons[f"so many queries by {axis.keyword} found nothing new"] = None
                    return False
                part = {**keys, axis.keyword: value}
                known = len(self._known)
                its = yield from self._ask(part, axis)
                fruitless = 0 if len(self._known) > known else fruitless + 1
                self._guesses += axis.guesses and fruitless > 0
                if its.unheeded:
                    self._limit.unheeded.add(axis.keyword)
                    return None
                if self._is_suspect(its, closed=self._query.closed or axis.closes) or its.said:
                    doubtful.append((part, its))
            self._used[axis.keyword] = None
        return shown

    def _conclude(self, doubt: _Doubt, shown: bool) -> None:
        """Report what was noticed of the query as a whole."""
        query, report = self._query, self._report
        total, number = query.total, doubt.size[1]
        split = (
            f"{self._queries:,} queries, split by {' and '.join(self._used)}, "
            f"gave {self._given:,} in all"
            if self._used
            else "no key splits this query"
        )
        if doubt.answer.said or self._given > number:
            how = f"with {doubt.answer.said}" if doubt.answer.said else "without saying so"
            report.note(
                f"{query.pacs} ended an answer after {number:,} {query.noun} {how}; {split}."
            )
        elif shown:
            report.details.append(
                f"{number:,} {query.noun} might have been a limit of {query.pacs}; {split}."
            )
        else:
            self._limit.futile += total is not None
        if total is not None and self._given < total:
            report.doubt(f"{query.pacs} counts {total:,} {query.noun}, but gives {self._given:,}.")
        elif total is None and not shown:
            because = "; ".join(self._reasons) or f"{number:,} may be a limit of the PACS"
            report.doubt(f"Whether these are all {query.noun} cannot be shown: {because}.")
