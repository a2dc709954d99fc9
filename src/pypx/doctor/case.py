"""What a diagnosis is about, and what its steps have learnt so far.

In: a node and our listener. Out: values that one step leaves for the next ones. Not here: steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pypx.address import Address
from pypx.client.client import Client
from pypx.client.query import Model
from pypx.client.requestor import Requestor
from pypx.engine import Engine
from pypx.net.connection import Timeouts
from pypx.net.identity import UserIdentity
from pypx.net.tls_settings import ClientTls
from pypx.retrieve.entry import entry_for, seen_from
from pypx.retrieve.landing import Listening
from pypx.values import frozen

__all__ = ["Case", "Learnt", "Sample", "Target"]


@frozen
class Target:
    """Whom to examine: a PACS, and how we come to it.

    Attributes:
        address: Where it is.
        calling_ae_title: What we call ourselves.
        timeouts: How long each phase may take.
        model: Its query/retrieve model, as configured.
        tls: How it speaks TLS; None if it does not.
        listening: Where a C-MOVE sends to.
        match_limit: After how many matches its answers end, as configured; None for no limit.
        refused_levels: Levels at which it refuses queries, as configured.
        character_set: That of its text, as configured; None for the one that it declares.
        engine: With what the PACS is examined besides, where that is not our own.
        identity: Which user we are, as configured.
        heard: Is shown each client that is made.
    """

    address: Address
    calling_ae_title: str
    timeouts: Timeouts
    model: Model
    tls: ClientTls | None
    listening: Listening
    match_limit: int | None = None
    refused_levels: tuple[str, ...] = ()
    character_set: str | None = None
    engine: Engine = Engine()
    identity: UserIdentity | None = None
    heard: Callable[[Requestor], Requestor] = lambda client: client

    def entry(self) -> str:
        """Give what its administrator enters, so that it can send to us."""
        listening = self.listening
        entry = entry_for(seen_from(self.address, listening.own, listening.bind))
        return entry if listening.tls is None else f"{entry}\nIt is to send with TLS."

    def other_client(self) -> Requestor:
        """Make a client of the other engine.

        Raises:
            ConfigError: Something is wrong with what it is told.
        """
        client = self.engine.client(
            self.address,
            calling_ae_title=self.calling_ae_title,
            timeouts=self.timeouts,
            model=self.model,
            tls=self.tls,
            identity=self.identity,
        )
        self.heard(client)
        return client

    def client(self) -> Client:
        """Make a client of our own engine.

        Raises:
            ConfigError: A certificate cannot be read.
        """
        client = Client(
            self.address,
            calling_ae_title=self.calling_ae_title,
            timeouts=self.timeouts,
            model=self.model,
            tls=self.tls,
            identity=self.identity,
        )
        self.heard(client)
        return client


@dataclass(slots=True)
class Sample:
    """What is there to ask for; texts are empty where the PACS does not give them.

    Attributes:
        patient_id: Of the study.
        patient_name: Of the study.
        accession_number: Of the study.
        study_date: Of the study.
        modalities: Of the study.
        study: Its UID.
        instances: Of the study; None where the PACS does not count them.
        series: UID of one of its series.
        in_series: Instances of that; None where they are not counted.
        instance: UID of an instance of that.
        sop_class: Of the instance.
    """

    study: str
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    study_date: str = ""
    modalities: tuple[str, ...] = ()
    instances: int | None = None
    series: str = ""
    in_series: int | None = None
    instance: str = ""
    sop_class: str = ""

    def secrets(self) -> tuple[str, ...]:
        """Give what no step may show."""
        return (
            *(self.patient_id, self.patient_name, self.accession_number),
            *(self.study, self.series, self.instance),
        )


@dataclass(slots=True)
class Learnt:
    """What is worth keeping in the profile of a node.

    Attributes:
        model: The query/retrieve model that answers; empty where none does.
        method: ``move`` or ``get``: which one brings images.
        match_limit: After how many matches answers end; None where no limit was seen.
        refused_levels: Levels at which it refuses queries.
        character_set: In which text is sent that is declared otherwise or not at all.
        most_matches: So many came in one whole answer, so that no limit is lower.
        text_fits: Text that is not ASCII came in the character set that is declared.
    """

    model: str = ""
    method: str = ""
    match_limit: int | None = None
    refused_levels: list[str] = field(default_factory=list)
    character_set: str = ""
    most_matches: int = 0
    text_fits: bool = False


@dataclass(slots=True)
class Case:
    """What is known so far.

    Attributes:
        target: Whom it is about.
        client: Of one association at a time.
        accepted: Abstract syntaxes that the PACS takes.
        model: The model that is used for the questions.
        sample: What there is to ask for; None where nothing was found.
        learnt: For the profile.
        tried: For C-MOVE and C-GET: whether an instance came.
    """

    target: Target
    client: Requestor
    model: Model
    accepted: frozenset[str] = frozenset()
    sample: Sample | None = None
    learnt: Learnt = field(default_factory=Learnt)
    tried: dict[str, bool] = field(default_factory=dict)

    def keys(self, model: Model | None = None) -> dict[str, str]:
        """Give the unique keys above the study, which the model has."""
        assert self.sample is not None  # who asks for more needs the step that found it
        patient = {"PatientID": self.sample.patient_id}
        return patient if (model or self.model) is Model.PATIENT else {}

    def secrets(self) -> tuple[Any, ...]:
        """Give what no step may show."""
        return () if self.sample is None else self.sample.secrets()
