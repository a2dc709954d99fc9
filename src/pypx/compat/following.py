"""What follows a query: retrieve, status, push, report, as ``--then`` names them.

In: studies as ``find`` gives them. Out: ``then``, with the answer of each step for each series. A
step that cannot be done here says so, and counts as not done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from pypx.compat.answers import Caller, answer, failed, line, value_of
from pypx.compat.options import Request, then_arguments
from pypx.errors import CancelledError, ConfigError, NetworkError, PypxError, error_object

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.client.requestor import Requestor
    from pypx.config import Node

__all__ = ["Following"]

STEPS = ("retrieve", "status", "push", "register", "report")
_MOST_LOSSES = 2
Entry = dict[str, Any]
Step = Callable[[Entry, Entry], dict[str, Any]]


class _NotHereError(ConfigError):
    kind = "not-here"


class _StepError(PypxError):
    kind = "partial"

    def __init__(self, message: str, first: dict[str, Any]) -> None:
        super().__init__(message, hint=first.get("error", {}).get("hint", ""))
        self.exit_code = first["returncode"]


class Following:
    """The steps of one call.

    Attributes:
        steps: Their names, in their order.
    """

    def __init__(
        self, request: Request, caller: Caller, steps: list[str], arguments: list[dict[str, Any]]
    ) -> None:
        self.steps = steps
        self._request = request
        self._caller = caller
        self._arguments = arguments
        self._pause = _pause(request.text("intraSeriesRetrieveDelay"))
        self._waiting = 0.0  # seconds before the next C-MOVE
        self._losses = 0  # associations that were lost or not made, one after another

    @classmethod
    def of(cls, request: Request, caller: Caller) -> Following:
        """Read what is to follow.

        Raises:
            ConfigError: A step, its arguments or the delay make no sense.
        """
        steps = request.words("then")
        for step in steps:
            if step not in STEPS:
                raise ConfigError(f"There is no step {step!r}.", hint=f"--then {','.join(STEPS)}")
        arguments = then_arguments(request.args.get("thenArgs") or "", len(steps))
        if (request.is_on("retrieve") or request.is_on("move")) and "retrieve" not in steps:
            steps, arguments = ["retrieve", *steps], [{}, *arguments]
        return cls(request, caller, steps, arguments)

    @property
    def retrieves(self) -> bool:
        """Whether images will come."""
        return "retrieve" in self.steps

    @property
    def needs_series(self) -> bool:
        """Whether a step is about series."""
        return bool(self.steps)

    def follow(self, found: dict[str, Any], client: Requestor) -> None:
        """Do the steps, and add to what was found what came of them."""
        self._caller.polite = True
        then: dict[str, Any] = {"do": True}
        found["then"] = then
        wrong: list[tuple[str, dict[str, Any]]] = []
        for number, (name, arguments) in enumerate(zip(self.steps, self._arguments, strict=True)):
            with ExitStack() as stack:
                try:
                    step = self._step(name, arguments, client, stack)
                except PypxError as error:
                    step = _failing(error)
                results = list(self._each(found["data"], step))
            then[f"{number:02d}-{name}"] = {"study": [{uid: rest} for uid, rest in results]}
            every = [one for _, series in results for one in series]
            # That not all is here is what a status says, and no failure to say it.
            wrong += [
                (name, one)
                for one in every
                if one["returncode"] and not (name == "status" and one["status"] == "success")
            ]
        if wrong and found["returncode"] == 0:
            name, first = wrong[0]
            failure = _StepError(f"{name} did not do all: {first['data']}", first)
            found.update(
                status="partial", returncode=failure.exit_code, error=error_object(failure)
            )

    def _each(self, studies: list[Entry], step: Step) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        for study in studies:
            uid = value_of(study, "StudyInstanceUID")
            series = []
            for one in study.get("series", ()):
                if self._caller.cancelled:
                    series.append(failed(_interrupted()))
                    continue
                if not value_of(one, "SeriesInstanceUID"):
                    nameless = PypxError("The PACS does not tell the UID of this series.")
                    series.append(failed(nameless))
                    continue
                try:
                    series.append(step(study, one))
                except PypxError as error:
                    series.append(failed(error))
            if "error" in study:
                unknown = f"Not all series are known: {study['error']['value']}"
                series.append(failed(PypxError(unknown)))
            yield uid, series

    def _step(
        self,
        name: str,
        arguments: dict[str, Any],
        client: Requestor,
        stack: ExitStack,
    ) -> Step:
        """Give what does a step for one series; what it needs to be open, the stack closes.

        Raises:
            PypxError: What it needs is not there.
        """
        match name:
            case "retrieve":
                return lambda study, series: self._retrieve(client, study, series)
            case "status":
                from pypx.compat.state import State

                state = stack.enter_context(State.open(self._request))
                return lambda study, series: _status(state, series)
            case "push":
                client.release_idle()  # a PACS that allows one association may be the same one
                return self._pushing(arguments, stack)
            case "register":
                raise _NotHereError(
                    "There is no ChRIS client in pypx, so nothing was registered.",
                    hint="A hook of px listen can do it, or what reads px ls --json.",
                )
            case _:
                from pypx.compat.reports import row_of

                return lambda study, series: answer("success", row_of(self._request, series), "", 0)

    def _retrieve(self, client: Requestor, study: Entry, series: Entry) -> dict[str, Any]:
        """Have one series sent, after the pause that the one before it asked for."""
        from pypx.compat.peer import move_over

        self._sleep()
        if self._caller.cancelled:
            return failed(_interrupted())
        if self._losses >= _MOST_LOSSES:
            return failed(PypxError("Not asked for: the PACS cannot be reached any more."))
        keys = {
            "StudyInstanceUID": value_of(study, "StudyInstanceUID"),
            "SeriesInstanceUID": value_of(series, "SeriesInstanceUID"),
        }
        if self._request.node().model == "patient":  # its unique key, too (PS3.4 §C.6.1.1)
            keys = {"PatientID": value_of(study, "PatientID"), **keys}
        images = value_of(series, "NumberOfSeriesRelatedInstances")
        self._waiting = self._pause(int(images) if images.isdecimal() else 0)
        result = move_over(client, self._request, keys, self._caller)
        if self._request.is_on("withFeedBack"):
            self._caller.tell(f"Series {keys['SeriesInstanceUID']}: {result['status']}.")
        lost = result["returncode"] == NetworkError.exit_code
        self._losses = self._losses + 1 if lost else 0
        good = result["status"] == "success"
        series["PACS_Retrieve"] = {
            "tag": 0,
            "value": " [ OK ] " if good else " [ FAIL ] ",
            "label": "PACS_Retrieve",
        }
        return result

    def _sleep(self) -> None:
        """Wait, in pieces, so that Ctrl-C does not wait as well."""
        end = time.monotonic() + self._waiting
        while not self._caller.cancelled and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _pushing(self, arguments: dict[str, Any], stack: ExitStack) -> Step:
        """Give what sends a series out of our archive (C-STORE).

        Raises:
            ConfigError: No node is named.
            ArchiveError: There is no archive, or it cannot be read.
        """
        from pypx.archive import Archive

        request = _push_request(self._request, arguments)
        node = request.node()
        client = stack.enter_context(closing(request.client(node, self._caller)))
        root = self._request.config.archive
        archive = stack.enter_context(Archive(root, create=False, read_only=True))

        def push(study: Entry, series: Entry) -> dict[str, Any]:
            uid = value_of(series, "SeriesInstanceUID")
            return _push(archive, client, node, uid, self._caller)

        return push


def _interrupted() -> CancelledError:
    return CancelledError("Interrupted before this series.")


def _failing(error: PypxError) -> Step:
    """Give a step that fails for each series."""
    return lambda study, series: failed(error)


def _status(state: Any, series: Entry) -> dict[str, Any]:
    """Say what the archive has of a series, against what the PACS says that there is."""
    images = value_of(series, "NumberOfSeriesRelatedInstances")
    expected = int(images) if images.isdecimal() else None
    found: dict[str, Any] = state.of_series(value_of(series, "SeriesInstanceUID"), expected)
    return found


def _push_request(request: Request, arguments: dict[str, Any]) -> Request:
    """Give the request for the node that ``thenArgs`` names.

    Raises:
        ConfigError: They name none.
    """
    from pypx.compat.options import read

    if not (arguments.get("node") or arguments.get("serverIP")):
        swift = " Swift storage is not." if "swift" in arguments or "db" in arguments else ""
        raise _NotHereError(
            f"push is C-STORE to a node here, and --thenArgs names none.{swift}",
            hint='--thenArgs \'{"node": "ORTHANC@10.1.2.3:4242"}\'',
        )
    inherited: dict[str, Any] = {
        key: request.args[key] for key in ("aet", "timeout") if key in request.args
    }
    return read("find", {**inherited, **arguments}, config=request.config)


def _push(
    archive: Archive, client: Requestor, node: Node, uid: str, caller: Caller
) -> dict[str, Any]:
    """Send one series, and say what became of it."""
    located = next(archive.instances({"SeriesInstanceUID": uid}), None)
    if located is None:
        return failed(PypxError(f"The archive has nothing of series {uid}: it cannot be sent."))
    folder = str(located.path.parent)
    command = line("storescu", node, client.calling_ae_title, [], folder, "+sd")
    sent = refused = 0
    first: PypxError | None = None
    account = caller.sending(client)
    hear = None if account is None else account.begin
    sending = client.store_archived(archive, {"SeriesInstanceUID": uid}, on_instance=hear)
    caller.doing(sending.stop)
    try:
        for one in sending:
            if account is not None:
                account.sent(one)
            sent += one.error is None
            refused += one.error is not None
            first = first or one.error
    except PypxError as error:
        first = error
    finally:
        caller.doing(None)
        if account is not None:
            account.end(first.message if first else "")
    counts = {"completed": sent, "failed": refused}
    if first is None:
        return {**answer("success", [], command, 0), **counts}
    return {
        **answer("partial" if sent else "error", first.message, command, first.exit_code, first),
        **counts,
    }


def _pause(text: str) -> Callable[[int], float]:
    """Read ``--intraSeriesRetrieveDelay``: seconds, or ``dynamic:N`` for a second every N images.

    Raises:
        ConfigError: It is neither.
    """
    kind, dynamic, number = (text or "0").strip().partition("dynamic:")
    try:
        value = float(number if dynamic else kind)
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400 or (dynamic and (kind or not value)):
        raise ConfigError(
            f"--intraSeriesRetrieveDelay cannot be {text!r}.", hint="Give seconds, or dynamic:N."
        )
    return (lambda images: images / value) if dynamic else (lambda images: value)
