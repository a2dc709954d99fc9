"""The diagnosis of one PACS: which steps there are, and in which order.

In: a target and what not to try. Out: steps as they end, and what was learnt. What each step does
is in the modules beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from pypx.doctor.beside import Beside
from pypx.doctor.case import Case, Learnt, Target
from pypx.doctor.fetching import Fetching
from pypx.doctor.limit import find_limit
from pypx.doctor.querying import Querying
from pypx.doctor.questions import Questions
from pypx.doctor.reach import Reach
from pypx.doctor.steps import Check, Finding, Status, Step, examine

__all__ = ["NAMES", "Doctor"]

NAMES = (
    *("name look-up", "TCP", "TLS", "association", "peer", "presentation contexts", "C-ECHO"),
    *("C-FIND study", "C-FIND series", "C-FIND image", "C-FIND patient", "other model"),
    *("wildcard", "date range", "modality", "relational query"),
    *("return keys", "match limit", "character set", "C-GET", "C-MOVE"),
)
"""The steps in their order; before them comes that of the configuration, which others do."""


class Doctor:
    """Examine one PACS.

    It makes at most ``pypx.doctor.questions.MOST_QUERIES`` queries, reads at most
    ``MOST_MATCHES`` matches of each, has one association at a time, and asks for one instance by
    C-GET and one by C-MOVE.

    Args:
        target: Whom to examine.
        today: For ranges of dates.
        get: Try C-GET.
        move: Try C-MOVE.

    Attributes:
        learnt: For the profile of the node.
    """

    def __init__(self, target: Target, today: date, *, get: bool = True, move: bool = True) -> None:
        self.learnt = Learnt()
        self._target = target
        self._today = today
        self._get = get
        self._move = move
        self._outcomes: dict[str, Status] = {}

    def steps(self) -> Iterator[Step]:
        """Do the steps, and give each as it ends.

        Raises:
            ConfigError: A certificate of the node cannot be read.
        """
        with self._target.client() as client:
            case = Case(self._target, client, self._target.model, learnt=self.learnt)
            reach, self._questions = Reach(case, client), Questions(client)
            try:
                for step in examine(self._checks(case, reach), secrets=case.secrets):
                    self._outcomes[step.name] = step.status
                    yield step
            finally:
                reach.close()
        brought = [method for method in ("move", "get") if case.tried.get(method)]
        if "move" in case.tried and brought:
            self.learnt.method = brought[0]
        if not self._target.engine.is_native:
            yield from self._beside(case)

    def _beside(self, case: Case) -> Iterator[Step]:
        """Do the steps of the other engine."""
        target = self._target

        def other() -> Case:
            # What it learns is not for the profile: that is of what pypx itself gets.
            client = target.other_client()
            return Case(target, client, case.model, accepted=case.accepted, sample=case.sample)

        beside = Beside(
            other,
            target.engine.installed(),
            self._outcomes,
            self._today,
            get=self._get,
            move=self._move,
        )
        yield from examine(beside.checks(), secrets=case.secrets)

    def _checks(self, case: Case, reach: Reach) -> list[Check]:
        questions = self._questions
        querying = Querying(case, questions, self._today)
        fetching = Fetching(case)

        def limit() -> Finding:
            assert querying.widest is not None  # it needs the step that asked
            cut = querying.cut_at
            return find_limit(case, questions, querying.widest, cut, self._today)

        def get() -> Finding:
            case.client.close()  # some PACS take only one association at once
            return fetching.get() if self._get else _not_wanted("--no-get")

        def move() -> Finding:
            case.client.close()
            return fetching.move() if self._move else _not_wanted("--no-move")

        open_, known = ("association",), ("C-FIND study",)
        return [
            Check("name look-up", reach.name),
            Check("TCP", reach.tcp, ("name look-up",)),
            Check("TLS", reach.tls, ("TCP",)),
            Check("association", reach.association, ("TLS",)),
            Check("peer", reach.peer, open_),
            Check("presentation contexts", reach.contexts, open_),
            Check("C-ECHO", reach.echo, open_),
            Check("C-FIND study", querying.studies, ("presentation contexts",)),
            Check("C-FIND series", querying.series, known),
            Check("C-FIND image", querying.images, known),
            Check("C-FIND patient", querying.patients, known),
            Check("other model", querying.other_model, known),
            Check("wildcard", querying.wildcard, known),
            Check("date range", querying.date_range, known),
            Check("modality", querying.modalities, known),
            Check("relational query", querying.relational, known),
            Check("return keys", querying.return_keys, known),
            Check("match limit", limit, known),
            Check("character set", querying.character_set, known),
            Check("C-GET", get, known),
            Check("C-MOVE", move, known),
        ]


def _not_wanted(option: str) -> Finding:
    return Finding(f"It was not tried ({option}).", Status.SKIPPED)
