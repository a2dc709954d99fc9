"""The face of the engine: :class:`pypx.client.requestor.Requestor`, by DCMTK's programs.

In: an address, our AE title, keys. Out: results, matches, progress. Each operation is one run of
one program, with an association of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING

from pypx.address import DEFAULT_AE_TITLE, Address, check_ae_title
from pypx.client.client import Echo, Peer
from pypx.client.query import RETURN_KEYS, Keys, Level, Model, make_identifier
from pypx.client.sop_classes import SOPClasses
from pypx.dcmtk.arguments import requestor_arguments
from pypx.dcmtk.dialogue import Dialogue
from pypx.dcmtk.folder import PrivateFolder
from pypx.dcmtk.programs import Programs
from pypx.dcmtk.query import DcmtkMatches
from pypx.dcmtk.retrieval import RECEIVED, DcmtkGet, DcmtkMove
from pypx.dicom import uids
from pypx.dimse import status as status_codes
from pypx.errors import ConfigError, NoPresentationContextError, StatusError
from pypx.net.connection import Timeouts

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.client.asked import Asked
    from pypx.client.commit import Commit
    from pypx.client.commitment import Reports
    from pypx.client.get import OnStore
    from pypx.client.sources import Unsendable
    from pypx.client.store import Instance
    from pypx.dcmtk.store import DcmtkSending
    from pypx.dicom.data_set import DataSet
    from pypx.net.tls_settings import ClientTls
    from pypx.ul.negotiation import AcceptedContext

__all__ = ["DcmtkClient"]

_SYNTAXES = {
    "LittleEndianImplicit": uids.IMPLICIT_VR_LITTLE_ENDIAN,
    "LittleEndianExplicit": uids.EXPLICIT_VR_LITTLE_ENDIAN,
    "BigEndianExplicit": uids.EXPLICIT_VR_BIG_ENDIAN,
}
# What echoscu says where it has no number; PS3.7 Annex C.
_ECHO_STATUSES = {
    "Success": status_codes.SUCCESS,
    "Refused: SOPClassNotSupported": 0x0122,
    "Refused: NotAuthorized": 0x0124,
    "Failed: DuplicateInvocation": 0x0210,
    "Failed: UnrecognizedOperation": 0x0211,
    "Failed: MistypedArgument": 0x0212,
}
_PROCESSING_FAILURE = 0x0110
_MODELS = {Model.STUDY: "-S", Model.PATIENT: "-P"}


class DcmtkClient:
    """Our side towards one peer, by DCMTK; a context manager.

    Args:
        address: Where it is, as :class:`~pypx.Address` or ``AET@host:port``.
        programs: Where DCMTK's programs are.
        calling_ae_title: What we call ourselves.
        timeouts: How long each phase may take; ``response`` for the silence of a program.
        model: The query/retrieve model where an operation does not name one.
        tls: For a peer that speaks TLS, where the program does.
        character_set: In which the text of its matches is; None for the declared one.

    Attributes:
        on_asked: Hears of each C-FIND, C-MOVE and C-GET before it is sent, if it is set.

    Raises:
        ConfigError: The address or the AE title is none.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        programs: Programs | None = None,
        calling_ae_title: str = DEFAULT_AE_TITLE,
        timeouts: Timeouts | None = None,
        model: Model | str = "study",
        tls: ClientTls | None = None,
        character_set: str | None = None,
    ) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.calling_ae_title = check_ae_title(calling_ae_title)
        self.timeouts = timeouts or Timeouts()
        self._programs = programs or Programs()
        self._model = model
        self._tls = tls
        self._character_set = character_set
        self._peer: Peer | None = None
        self.on_asked: Callable[[Asked], None] | None = None

    def __enter__(self) -> DcmtkClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept between operations."""

    def abort(self) -> None:
        """Nothing is kept between operations."""

    def release_idle(self) -> None:
        """Nothing is kept between operations."""

    @property
    def peer(self) -> Peer | None:
        """What the peer said of itself in the last association; None before one."""
        return self._peer

    @property
    def contexts(self) -> tuple[AcceptedContext, ...]:
        """None: DCMTK tells them by names of its own."""
        return ()

    def _begin(self, program: str, options: Sequence[str], *files: str) -> Dialogue:
        """Run a program until it has its association."""
        command, place = requestor_arguments(
            self._programs, program, self.address, self.calling_ae_title, self.timeouts, self._tls
        )
        command = [*command, *options, *place, *files]
        dialogue = Dialogue(program, command, self.address, self.calling_ae_title, self.timeouts)
        dialogue.associate()
        self._peer = dialogue.said.peer or self._peer
        return dialogue

    def echo(self) -> Echo:
        """Have echoscu ask the peer to answer; as :meth:`pypx.Client.echo`.

        The seconds are those from the start of the program to the answer: its lines come in
        one go, and say nothing of the time between them.

        Raises:
            StatusError: It answered with something else than success.
            NetworkError, AssociationError, ProtocolError: It did not answer.
        """
        started = received = time.perf_counter()
        dialogue = self._begin("echoscu", [])
        answer = ""
        try:
            while not dialogue.over:
                heard = dialogue.hear()
                if heard is None:
                    dialogue.check_silence()
                elif isinstance(heard, str) and heard.startswith("Received Echo Response"):
                    received = time.perf_counter()
                    answer = heard.partition("(")[2].rpartition(")")[0]
            if not answer:
                raise dialogue.failure()
        finally:
            dialogue.close()
        self._check_echo(answer)
        said = dialogue.said
        syntax = _SYNTAXES.get(said.transfer_syntax, said.transfer_syntax)
        return Echo(received - started, said.peer or Peer("", "", 0), syntax)

    def _check_echo(self, answer: str) -> None:
        status = _ECHO_STATUSES.get(answer)
        if status is None:
            number = answer.rpartition("0x")[2]
            is_number = bool(number) and all(c in "0123456789abcdef" for c in number.lower())
            status = int(number, 16) if is_number else _PROCESSING_FAILURE
        if status != status_codes.SUCCESS:
            meaning = status_codes.sentence(status, "C-ECHO")
            raise StatusError(
                f"{self.address} answered C-ECHO with status {status:04X}H: {meaning}.",
                status=status,
                hint=status_codes.hint(status),
            )

    def associate(self, model: Model | str | None = None, *, service: str = "C-MOVE") -> None:
        """Find out whether the peer can be had, with echoscu, unless it was heard before.

        Whether it takes the service shows only when that is asked for.

        Raises:
            ConfigError: The model is unknown, or a program is missing.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        Model.parse(model or self._model)
        self._check_program("getscu" if service == "C-GET" else "movescu")
        if self._peer is not None:
            return
        try:
            self.echo()
        except (StatusError, NoPresentationContextError):
            return  # it is there, and has nothing for C-ECHO

    def _check_program(self, program: str) -> None:
        """Raise ConfigError where a program cannot be used for this peer."""
        requestor_arguments(
            self._programs, program, self.address, self.calling_ae_title, self.timeouts, self._tls
        )

    def find(
        self,
        keys: Keys,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        limit: int | None = None,
        return_keys: Sequence[str] | None = None,
    ) -> DcmtkMatches:
        """Query the PACS with findscu; as :meth:`pypx.Client.find`."""
        level, model = Level.parse(level), Model.parse(model or self._model)
        wanted = RETURN_KEYS[level] if return_keys is None else return_keys
        identifier = make_identifier(keys, level, return_keys=wanted)
        folder, file = self._prepare(identifier, model.find_sop_class)
        options = [_MODELS[model], "-sr", "-X", "-od", str(folder.path)]
        if limit is not None and limit > 0:
            options += ["--cancel", str(limit)]
        self._tell("C-FIND", model.find_sop_class, identifier)
        try:
            dialogue = self._begin("findscu", options, file)
        except BaseException:
            folder.remove()
            raise
        return DcmtkMatches(
            dialogue,
            folder,
            self.address,
            limit=limit,
            character_set=self._character_set,
            release=self.timeouts.release,
        )

    def _tell(
        self, service: str, sop_class: str, identifier: DataSet, destination: str = ""
    ) -> None:
        """Tell who wants to hear what is about to be asked."""
        if self.on_asked is not None:
            from pypx.client.asked import Asked

            syntax = uids.EXPLICIT_VR_LITTLE_ENDIAN
            self.on_asked(Asked(service, sop_class, identifier, syntax, destination))

    def _prepare(self, identifier: DataSet, sop_class_uid: str) -> tuple[PrivateFolder, str]:
        folder = PrivateFolder()
        try:
            return folder, folder.write_identifier(identifier, sop_class_uid)
        except BaseException:
            folder.remove()
            raise

    def move(
        self,
        keys: Keys,
        *,
        destination: str,
        level: Level | str = "study",
        model: Model | str | None = None,
        last_activity: Callable[[], float] | None = None,
    ) -> DcmtkMove:
        """Have the PACS send with movescu; as :meth:`pypx.Client.move`."""
        model, destination = Model.parse(model or self._model), check_ae_title(destination)
        if destination.startswith(("-", "+", "@")):
            raise ConfigError(f"DCMTK's movescu would take {destination!r} for an option.")
        identifier = make_identifier(keys, Level.parse(level))
        folder, file = self._prepare(identifier, model.move_sop_class)
        self._tell("C-MOVE", model.move_sop_class, identifier, destination)
        try:
            dialogue = self._begin("movescu", [_MODELS[model], "-aem", destination], file)
        except BaseException:
            folder.remove()
            raise
        return DcmtkMove(
            dialogue,
            folder,
            self.address,
            self.timeouts,
            destination,
            last_activity=last_activity,
        )

    def sop_classes(
        self, keys: Keys, *, level: Level | str = "study", model: Model | str | None = None
    ) -> SOPClasses:
        """Give none: getscu proposes what it proposes, whatever is to come."""
        return SOPClasses((), exact=False)

    def get(
        self,
        keys: Keys,
        on_store: OnStore,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        sop_classes: SOPClasses | None = None,
    ) -> DcmtkGet:
        """Have the PACS send with getscu, over its association; as :meth:`pypx.Client.get`."""
        model = Model.parse(model or self._model)
        identifier = make_identifier(keys, Level.parse(level))
        folder, file = self._prepare(identifier, model.get_sop_class)
        self._tell("C-GET", model.get_sop_class, identifier, self.calling_ae_title)
        # With +B the data set is written as it came.
        options = [_MODELS[model], "+B", "-od", str(folder.below(RECEIVED))]
        try:
            dialogue = self._begin("getscu", options, file)
        except BaseException:
            folder.remove()
            raise
        return DcmtkGet(
            dialogue, folder, self.address, self.timeouts, self.calling_ae_title, on_store
        )

    def store_files(
        self,
        paths: Iterable[str | PathLike[str]],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> DcmtkSending:
        """Send files and folders with storescu; as :meth:`pypx.Client.store_files`.

        Raises:
            ConfigError: ``transcode`` is wanted, or storescu is missing.
        """
        from pypx.client.sources import heard, in_files

        source = heard(in_files(fspath(path) for path in paths), on_instance)
        return self._send(source, associations, transcode=transcode)

    def store_archived(
        self,
        archive: Archive,
        keys: Mapping[str, str],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> DcmtkSending:
        """Send what an archive has with storescu; as :meth:`pypx.Client.store_archived`.

        Raises:
            ConfigError: ``transcode`` is wanted, or storescu is missing.
        """
        from pypx.client.sources import heard, in_archive

        source = heard(in_archive(archive, keys), on_instance)
        return self._send(source, associations, transcode=transcode)

    def _send(
        self, source: Iterable[Instance | Unsendable], associations: int, *, transcode: bool
    ) -> DcmtkSending:
        from pypx.dcmtk.store import DcmtkSending

        if transcode:
            raise ConfigError(
                "DCMTK's storescu does not convert compressed images.",
                hint="Take --engine native for --transcode.",
            )
        self._check_program("storescu")
        return DcmtkSending(self._begin, source, associations=associations)

    def commit(self, reports: Reports, *, timeout: float = 60.0, listening: bool = False) -> Commit:
        """DCMTK has no program for storage commitment.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "DCMTK has no program that asks for storage commitment.",
            hint="Take --engine native for --commit.",
        )
