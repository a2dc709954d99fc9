"""How ``px retrieve`` does its job: what it opens, shows meanwhile, and says at the end.

In: a node, keys and options. Out: an exit code. What the arguments are is in ``retrieve``, what a
job does in ``pypx.retrieve``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from pypx.archive.files import unique
from pypx.archive.locks import TransferLock
from pypx.archive.transfers import Query, Standing, Transfer
from pypx.cli.auditing import audited
from pypx.cli.job_progress import JobProgress
from pypx.cli.jobs import resolve
from pypx.cli.options import Invocation
from pypx.cli.retrieved import show_plan, show_result
from pypx.cli.show import count
from pypx.config.amounts import parse_size
from pypx.errors import CancelledError, ConfigError, PypxError
from pypx.receiver.observers import Observers
from pypx.retrieve.finding import check_keys
from pypx.retrieve.job import Pacs, fingerprint, preparing
from pypx.retrieve.landing import Listening
from pypx.retrieve.load import Window
from pypx.retrieve.planning import batches
from pypx.retrieve.settings import Settings
from pypx.retrieve.summary import judge
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.cli.list_results import ListResults
    from pypx.cli.lists import ListRows
    from pypx.config import Node
    from pypx.retrieve.run import Retrieval

__all__ = ["Options", "Retrieving"]

_LOOK = 0.2  # seconds between looks at the job
_GRACE = 30.0  # seconds for requests to end that were cancelled
_MOST_OF_A_ROW = 100  # studies
_ROWS = 500  # that are noted down at once


@frozen
class Options:
    """The options of ``px retrieve``, by the names that they have there."""

    list_file: str | None
    resume: str | None
    dry_run: bool
    method: str
    by: str
    associations: int | None
    retries: int
    wait: float
    between: str | None
    max_rate: str | None
    max_studies_per_row: int | None
    manifest: str | None
    report: str | None
    host: str | None
    port: int | None


class Retrieving:
    """One run of the command.

    Args:
        invocation: For output, configuration and Ctrl-C.
        node: Whom to ask; None for that of the job that is resumed.
        keys: What is wanted, of every row where there is a list.
        model: The query/retrieve model, or None for the node's.
        options: The options.
    """

    def __init__(
        self,
        invocation: Invocation,
        node: Node | None,
        keys: Mapping[str, str],
        model: str | None,
        options: Options,
    ) -> None:
        self._invocation = invocation
        self._out = invocation.out
        self._node = node
        self._keys = dict(keys)
        self._model = model
        self._options = options
        self._results: ListResults | None = None
        self._bad_rows = 0

    def run(self) -> int:
        """Do it, and give the exit code.

        Raises:
            ConfigError: The options, the list or the job cannot be used.
            ArchiveError: The archive cannot.
        """
        from pypx.cli.reception import log_to, tell_notes, watching

        self._check_files()
        if self._node is not None and self._options.list_file is None:
            check_keys(self._keys)
        settings = self._settings(self._node)  # what is wrong is no reason to make an archive
        invocation, config = self._invocation, self._invocation.config
        log_to(self._out)
        with ExitStack() as stack:
            rows = self._open_list(stack)
            archive = stack.enter_context(
                invocation.open_archive(create=True, index_wait=config.listen.index_wait)
            )
            tell_notes(self._out, archive.notes)
            transfer, node = self._transfer(archive, rows, stack)
            if self._node is None:
                settings = self._settings(node)
            trail = stack.enter_context(audited(invocation, archive))
            watch = stack.enter_context(watching(invocation, archive))
            job = stack.enter_context(
                preparing(
                    archive,
                    transfer,
                    self._pacs(node),
                    settings,
                    listening=self._listening(node),
                    min_free=parse_size(config.listen.min_free),
                    observer=watch if trail is None else Observers(watch, trail),
                    promise=watch.expect,
                    plan_only=self._options.dry_run,
                    on_query=self._take_query,
                    tell=self._out.say,
                    detail=self._out.detail,
                )
            )
            self._work(job, archive, transfer)
            return self._tell(job, archive, transfer)

    # Before

    def _settings(self, node: Node | None) -> Settings:
        options = self._options
        rate = parse_size(options.max_rate.removesuffix("/s")) if options.max_rate else None
        if rate == 0:
            raise ConfigError("--max-rate 0 would never get anything.", hint="Write 10M.")
        listed = options.list_file is not None
        return Settings(
            method=options.method,
            by=options.by,
            associations=options.associations or (node.associations if node else 2),
            retries=options.retries,
            settle=self._invocation.config.listen.settle,
            outage=options.wait,
            between=Window.parse(options.between) if options.between else None,
            max_rate=rate,
            max_studies=options.max_studies_per_row or (_MOST_OF_A_ROW if listed else None),
        )

    def _open_list(self, stack: ExitStack) -> ListRows | None:
        path = self._options.list_file
        if path is None:
            return None
        from pypx.cli.find_list import check_keys
        from pypx.cli.list_results import ListResults
        from pypx.cli.lists import read_list

        rows = stack.enter_context(closing(read_list(path, note=self._out.warn)))
        rows.learn = self._out.identifiers.learn
        check_keys(self._keys, rows)
        if not self._options.dry_run:
            self._results = stack.enter_context(ListResults(path, rows.columns))
        return rows

    def _check_files(self) -> None:
        """Refuse files that could not be written at the end."""
        if self._options.manifest:
            from pypx.retrieve.manifest import check_path

            check_path(self._options.manifest)
        if self._options.report:
            from pypx.retrieve.html import check_path as check_report

            check_report(self._options.report)

    def _transfer(
        self, archive: Archive, rows: ListRows | None, stack: ExitStack
    ) -> tuple[Transfer, Node]:
        """Begin a job, or take up the one that was not finished; nobody else may have it."""
        if self._node is None:
            return self._resumed(archive, stack)
        node, ledger = self._node, archive.ledger
        request = {
            "node": node.name,
            "address": str(node.address),
            "aet": self._invocation.config.calling_ae_title(node),
            "model": self._model or node.model,
            "keys": self._keys,
            **_list_facts(self._options.list_file),
        }
        mark = fingerprint(request)
        old = None if self._options.dry_run else ledger.unfinished(mark)
        if old is not None:
            self._go_on(archive, old, stack)
            return old, node
        mark = unique() if self._options.dry_run else mark  # nobody goes on with a plan
        transfer = ledger.begin(node.name, request, mark)
        stack.enter_context(TransferLock.acquire(archive.root, transfer.id))
        queries = [(0, self._keys)] if rows is None else self._queries(rows)
        for batch in batches(queries, _ROWS):
            ledger.add_queries(transfer, batch)
        return transfer, node

    def _queries(self, rows: ListRows) -> Iterator[tuple[int, Mapping[str, str]]]:
        """Give the rows that can be asked for, and tell of the others."""
        from pypx.cli.list_results import RowResult, RowStatus

        for row in rows:
            keys, error = {**self._keys, **row.keys}, row.error
            if not error:
                try:
                    check_keys(keys)
                except ConfigError as refused:
                    error = refused.message
            if not error:
                yield row.number, keys
                continue
            self._out.warn(f"Row {row.number}: {error}")
            if self._results is not None:
                self._results.add(row, RowResult(RowStatus.FAILED, reason=error))
            self._bad_rows += 1

    def _resumed(self, archive: Archive, stack: ExitStack) -> tuple[Transfer, Node]:
        """Take up the job that the user names."""
        transfer = resolve(archive.ledger, self._options.resume or "")
        request, config = transfer.request, self._invocation.config
        node = config.nodes.get(transfer.node) or config.node(str(request["address"]))
        self._model = str(request["model"])
        if request.get("list"):
            self._open_results(archive, transfer, stack)
        self._go_on(archive, transfer, stack)
        return transfer, node

    def _open_results(self, archive: Archive, transfer: Transfer, stack: ExitStack) -> None:
        from pypx.cli.list_results import ListResults
        from pypx.cli.lists import read_list

        path = str(transfer.request["list"])
        with closing(read_list(path, note=self._out.warn)) as rows:
            self._results = stack.enter_context(ListResults(path, rows.columns))

    def _go_on(self, archive: Archive, transfer: Transfer, stack: ExitStack) -> None:
        """Open a job again, and write the results of rows that a killed process had no time for."""
        stack.enter_context(TransferLock.acquire(archive.root, transfer.id))
        self._out.say(f"Going on with job {transfer.id}, begun {transfer.began_at[:16]} UTC.")
        archive.ledger.resume(transfer)
        if self._results is None:
            return
        done = self._results.done
        for query in archive.ledger.queries(transfer):
            if query.number not in done and query.state not in ("open", "found"):
                self._take_query(query, query.state, None)

    def _pacs(self, node: Node) -> Pacs:
        return Pacs(
            node.name,
            node.address,
            self._invocation.config.calling_ae_title(node),
            self._model or node.model,
            self._invocation.timeouts(),
            node.tls,
        )

    def _listening(self, node: Node) -> Listening:
        from pypx.cli.reception import allow_rules, own_address

        config, options = self._invocation.config, self._options
        aet = config.calling_ae_title(node)
        own = own_address(self._invocation, options.host, options.port, aet)
        bind = config.listen.host if options.host is None else options.host
        nodes = [*config.nodes.values(), node]
        rules = allow_rules(config.listen.allow, nodes, bind, self._out)
        return Listening(own, bind, tuple(rules), config.listen.limits, config.listen.tls)

    # Meanwhile

    def _work(self, job: Retrieval, archive: Archive, transfer: Transfer) -> None:
        """Wait for the end, show how it goes, and heed Ctrl-C."""
        wants_end = False

        def interrupt() -> None:
            nonlocal wants_end
            wants_end = True

        interrupts = self._invocation.interrupts
        interrupts.cancel = interrupt
        try:
            with JobProgress(self._out, transfer) as progress:
                job.start()
                while not job.wait(_LOOK):
                    if wants_end:
                        job.cancel()
                        job.wait(_GRACE)
                        break
                    progress.show(job.snapshot())
        finally:
            interrupts.cancel = None

    def _take_query(self, query: Query, state: str, standing: Standing | None) -> None:
        """Write what became of a row."""
        if self._results is None:
            return
        from pypx.cli.list_results import RowResult, RowStatus
        from pypx.cli.lists import ListRow

        counts: dict[str, Any] = {}
        if standing is not None:
            counts = {
                "studies": standing.studies,
                "series": standing.series,
                "expected": standing.expected,
                "received": standing.received,
                "missing": max(0, standing.expected - standing.received),
            }
        row = ListRow(query.number, dict(query.keys))
        self._results.add(row, RowResult(RowStatus(state), **counts, reason=query.reason))

    # After

    def _tell(self, job: Retrieval, archive: Archive, transfer: Transfer) -> int:
        """Write what is to be written, and give the exit code."""
        current = archive.ledger.find(transfer.id) or transfer
        if self._options.dry_run:
            show_plan(self._out, archive, current)
            archive.ledger.remove(transfer)
            if job.error is not None:
                raise job.error
            return 0
        if self._options.manifest:
            from pypx.retrieve.manifest import write_manifest

            write_manifest(archive, current, self._options.manifest)
        if self._options.report:
            from pypx.retrieve.html import write_report

            write_report(archive, current, self._options.report)
        error = self._verdict(job, archive, current)
        show_result(self._out, archive, current, error)
        self._out.flush()
        if error is not None:
            self._out.error(error)
        return error.exit_code if error is not None else 0

    def _verdict(self, job: Retrieval, archive: Archive, transfer: Transfer) -> PypxError | None:
        """Say what there is to complain about."""
        _, verdict = judge(archive, transfer)
        if job.error is not None:
            job.error.hint = job.error.hint or verdict.hint
            return job.error
        if verdict.word == "cancelled":
            return CancelledError(verdict.sentence, hint=verdict.hint)
        if verdict.word != "complete":
            return _PartialError(verdict.sentence, hint=verdict.hint)
        if self._bad_rows:
            rows = count(self._bad_rows, "row")
            return _PartialError(
                f"{rows} of the list could not be asked for. {verdict.sentence}",
                hint="The results beside the list say why.",
            )
        return None


class _PartialError(PypxError):
    kind = "partial"


def _list_facts(path: str | None) -> dict[str, str]:
    """Give what tells a list from others, and from what it was before somebody changed it."""
    if path is None:
        return {}
    import hashlib
    from pathlib import Path

    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    return {"list": str(Path(path).absolute()), "list_digest": digest}
