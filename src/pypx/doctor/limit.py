"""After how many matches a PACS ends its answers, said or unsaid.

In: the answer to the widest query that was made. Out: a finding. How a query is split to see
whether it was cut is in ``pypx.retrieve.limits``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import date
from enum import Enum

from pypx.client.requestor import Found
from pypx.doctor.case import Case
from pypx.doctor.questions import MOST_MATCHES, Answer, Questions, SpentError
from pypx.doctor.steps import Finding, Status
from pypx.retrieve.finding import study_axes
from pypx.retrieve.limits import Limit, Query, Search
from pypx.retrieve.whole import Report

__all__ = ["find_limit"]


class _Verdict(Enum):
    CUT = "cut"
    WHOLE = "whole"
    UNKNOWN = "unknown"


def find_limit(
    case: Case,
    questions: Questions,
    widest: tuple[dict[str, str], Answer],
    cut_below: int | None,
    today: date,
) -> Finding:
    """Say after how many matches answers end.

    Args:
        case: What is known.
        questions: Asks, as often as it still may.
        widest: The query for studies with the most matches, and its answer.
        cut_below: After how many matches an answer with series or images was cut.
        today: For ranges of dates that have no end.
    """
    keys, answer = widest
    number = len({match.get("StudyInstanceUID") for match in answer.matches})
    verdict, how = _Verdict.WHOLE, ""
    if answer.is_cut:
        verdict, how = _Verdict.CUT, f"with status {answer.status:04X}H"
    elif cut_below is not None:
        verdict, how, number = _Verdict.CUT, "at the levels below the study", cut_below
    elif answer.is_all and Limit().suspects((number, number), closed=False):
        verdict, how = _split(case, questions, keys, number, today), "without saying so"
    facts = {"matches": number, "limit": number if verdict is _Verdict.CUT else None}
    if verdict is _Verdict.CUT:
        case.learnt.match_limit = number
        return Finding(
            f"It ends answers after {number} matches, {how}.",
            Status.WARNING,
            "px find shows that many and no more: ask for less at once. px retrieve splits its "
            "queries until it has all.",
            facts,
        ).unless(case.target.match_limit == number)
    case.learnt.most_matches = number if verdict is _Verdict.WHOLE else 0
    if verdict is _Verdict.UNKNOWN:
        said = f"Whether {number} studies are all, or its limit, cannot be seen in a few queries."
        return Finding(said, facts=facts)
    more = ", where we stopped it" if number >= MOST_MATCHES else ""
    return Finding(f"No limit was seen: it gave {number} studies{more}.", facts=facts)


def _split(
    case: Case, questions: Questions, keys: Mapping[str, str], number: int, today: date
) -> _Verdict:
    """Ask for the parts of a query, until they have more than it had."""
    axes = study_axes(today)
    wanted = tuple(axis.keyword for axis in axes)

    def ask(part: Mapping[str, str]) -> Found:
        return questions.begin(part, "study", case.model, wanted)

    report = Report()
    query = Query(
        keys, {}, "StudyInstanceUID", "studies", str(case.target.address), axes, closed=False
    )
    found = Search(query, ask, Limit(), report).matches()
    with closing(found):
        try:
            for count, _ in enumerate(found, 1):
                if count > number:
                    return _Verdict.CUT
        except SpentError:
            return _Verdict.UNKNOWN
    return _Verdict.WHOLE if report.is_whole else _Verdict.UNKNOWN
