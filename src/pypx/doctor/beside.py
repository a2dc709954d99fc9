"""What DCMTK's programs say of the same PACS, step by step beside what pypx has found.

In: a case, and how our own steps ended. Out: findings that say whose fault it is, where only one of
the two gets an answer. What is asked is what was asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta

from pypx.client.query import Level
from pypx.dcmtk.programs import Programs
from pypx.doctor.case import Case
from pypx.doctor.fetching import Fetching
from pypx.doctor.steps import Check, Finding, Status
from pypx.errors import PypxError
from pypx.values import replace

__all__ = ["NAMES", "Beside"]

NAMES = ("DCMTK", "echoscu", "findscu", "getscu", "movescu")
"""The steps in their order."""

_USED = ("echoscu", "findscu", "getscu", "movescu")
_BEFORE = ("name look-up", "TCP", "TLS", "association", "presentation contexts", "C-FIND study")
_DAYS = 30
_FEW = 10


class Beside:
    """Ask with DCMTK's programs.

    Args:
        case: Whom it is about, with a client of theirs, and what our own steps have found.
        programs: Where they are.
        outcomes: How our own steps ended, by name.
        today: For a range of dates.
        get: Try getscu.
        move: Try movescu.
    """

    def __init__(
        self,
        case: Callable[[], Case],
        programs: Programs,
        outcomes: Mapping[str, Status],
        today: date,
        *,
        get: bool,
        move: bool,
    ) -> None:
        self._case = case
        self._programs = programs
        self._outcomes = outcomes
        self._today = today
        self._get = get
        self._move = move

    def checks(self) -> list[Check]:
        """Give the steps."""
        return [
            Check("DCMTK", self._installed),
            Check("echoscu", self._echo, ("DCMTK",)),
            Check("findscu", self._find, ("DCMTK",)),
            Check("getscu", self._fetch_by_get, ("DCMTK",)),
            Check("movescu", self._fetch_by_move, ("DCMTK",)),
        ]

    def _installed(self) -> Finding:
        found = {program: self._programs.path(program) for program in _USED}
        version = self._programs.version("findscu")
        return Finding(
            f"Version {version}, {found['findscu']} and others.",
            facts={"version": version, "programs": found},
        )

    def _beside(self, ours: str, program: str, run: Callable[[], Finding]) -> Finding:
        """Let a program do what a step of ours did, and say what it means."""
        try:
            found = run()
        except PypxError as error:
            found = Finding(error.message, Status.FAILED, error.hint, exit_code=error.exit_code)
        ours, outcome = self._outcome(ours)
        if found.status is Status.SKIPPED or outcome in (None, Status.SKIPPED):
            return found
        is_theirs_good = found.status is not Status.FAILED
        is_ours_good = outcome is not Status.FAILED
        facts = {**found.facts, "pypx": outcome.value if outcome else None}
        match is_ours_good, is_theirs_good:
            case True, True:
                said = f"{found.message} So it is with pypx."
                return replace(found, message=said, facts=facts)
            case False, False:
                said = f"{found.message} pypx fails as well: it is the PACS, or the way to it."
                return replace(found, message=said, facts=facts)
            case False, True:
                said = f"{found.message} pypx fails in the step {ours!r}."
                hint = (
                    f"It is pypx's fault: take --engine dcmtk for now, and report it with {ours}."
                )
                return Finding(said, Status.WARNING, hint, facts)
            case _:
                said = f"{found.message} pypx succeeds in the step {ours!r}."
                hint = f"It is {program} that does not get on with this PACS: --engine native does."
                return Finding(said, Status.WARNING, hint, facts)

    def _outcome(self, step: str) -> tuple[str, Status | None]:
        """Give how a step of ours ended; where it was never reached, what kept us from it."""
        outcome = self._outcomes.get(step)
        if outcome is Status.SKIPPED:
            for before in _BEFORE:
                if self._outcomes.get(before) is Status.FAILED:
                    return before, Status.FAILED
        return step, outcome

    def _echo(self) -> Finding:
        def run() -> Finding:
            echo = self._case().client.echo()
            return Finding(
                f"It answers in {echo.seconds * 1000:.1f} ms.",
                facts={"time_ms": round(echo.seconds * 1000, 3)},
            )

        return self._beside("C-ECHO", "echoscu", run)

    def _find(self) -> Finding:
        return self._beside("C-FIND study", "findscu", self._ask)

    def _ask(self) -> Finding:
        case = self._case()
        if case.sample is not None:
            keys = {**case.keys(), "StudyInstanceUID": case.sample.study}
            with case.client.find(keys, level=Level.STUDY, model=case.model) as found:
                number = sum(1 for _ in found)
            if number:
                return Finding("It finds the study.", facts={"matches": number})
            return Finding(
                "It does not find the study that pypx found.", Status.FAILED, facts={}, exit_code=1
            )
        begin = self._today - timedelta(days=_DAYS)
        keys = {"StudyDate": f"{begin:%Y%m%d}-{self._today:%Y%m%d}"}
        with case.client.find(keys, level=Level.STUDY, model=case.model, limit=_FEW) as found:
            number = sum(1 for _ in found)
        said = f"The query is answered, with {number} studies of the last {_DAYS} days."
        return Finding(said, facts={"matches": number})

    def _fetch_by_get(self) -> Finding:
        if not self._get:
            return Finding("It was not tried (--no-get).", Status.SKIPPED)
        case = self._case()
        if case.sample is None:
            return Finding("There is nothing to ask for.", Status.SKIPPED)
        return self._beside("C-GET", "getscu", Fetching(case).get)

    def _fetch_by_move(self) -> Finding:
        if not self._move:
            return Finding("It was not tried (--no-move).", Status.SKIPPED)
        case = self._case()
        if case.sample is None:
            return Finding("There is nothing to ask for.", Status.SKIPPED)
        return self._beside("C-MOVE", "movescu", Fetching(case).move)
