"""How ``px retrieve`` does its job: what it opens, shows meanwhile, and says at the end.

In: a node, keys and options. Out: an exit code. What the arguments are is in ``retrieve``, what a
job does in ``pypx.retrieve``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pypx.archive.files import unique
from pypx.archive.locks import TransferLock
from pypx.archive.transfers import Query, Standing, Transfer
from pypx.cli.auditing import audited, heard
from pypx.cli.job_options import Options
from pypx.cli.job_progress import JobProgress
from pypx.cli.job_rows import JobRows
from pypx.cli.jobs import resolve, when
from pypx.cli.list_results import result_file
from pypx.cli.options import Invocation
from pypx.cli.retrieved import complaint, plan_complaint, reason_of, show_plan, show_result
from pypx.config.amounts import parse_size
from pypx.errors import ArchiveError, CancelledError, PypxError
from pypx.receiver.observers import Observers
from pypx.retrieve.finding import check_keys
from pypx.retrieve.job import Pacs, note_down, preparing
from pypx.retrieve.landing import Listening
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.config import Node
    from pypx.retrieve.run import Retrieval

__all__ = ["Retrieving"]

_LOOK = 0.2  # seconds between looks at the job
_GRACE = 6.0  # seconds for requests to end that were cancelled: a C-CANCEL has five
_DRY_RUN = "planned"
_RECENT = 20  # jobs


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
        self._rows: JobRows | None = None

    def run(self) -> int:
        """Do it, and give the exit code.

        Raises:
            ConfigError: The options, the list or the job cannot be used.
            ArchiveError: The archive cannot.
        """
        from pypx.cli.reception import log_to, tell_notes, watching

        self._check()
        invocation, config = self._invocation, self._invocation.config
        log_to(self._out)
        with ExitStack() as stack:
            self._open_list(stack)
            archive = self._open_archive(stack)
            tell_notes(self._out, archive.notes)
            transfer, node = self._transfer(archive, stack)
            is_list = self._rows is not None
            settings = self._options.settings(node, config.listen.settle, is_list=is_list)
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
                    on_begin=self._begin_query,
                    heard=partial(heard, trail),
                    on_query=self._take_query,
                    tell=self._out.say,
                    detail=self._out.detail,
                )
            )
            self._work(job, transfer)
            return self._tell(job, archive, transfer)

    # Before

    def _check(self) -> None:
        """Refuse what could not be done; that is no reason to make an archive."""
        options = self._options
        if options.manifest:
            from pypx.retrieve.manifest import check_path

            check_path(options.manifest)
        if options.report:
            from pypx.retrieve.html import check_path as check_report

            check_report(options.report)
        if self._node is not None and options.list_file is None:
            check_keys(self._keys)
        options.settings(self._node, 0.0, is_list=False)

    def _open_list(self, stack: ExitStack) -> None:
        path, dry_run = self._options.list_file, self._options.dry_run
        if path is not None:
            rows = JobRows.open(self._out, path, self._keys, self._options, plan_only=dry_run)
            self._rows = stack.enter_context(rows)

    def _open_archive(self, stack: ExitStack) -> Archive:
        """Open the archive; a plan that finds none has one only as long as it is made."""
        from pathlib import Path

        invocation, options = self._invocation, self._options
        if options.dry_run and not Path(invocation.config.archive).is_dir():
            from pypx.archive import Archive

            folder = stack.enter_context(TemporaryDirectory(prefix="pypx-plan-"))
            return stack.enter_context(Archive(folder, durability="none"))
        return stack.enter_context(
            invocation.open_archive(
                create=options.resume is None, index_wait=invocation.config.listen.index_wait
            )
        )

    def _transfer(self, archive: Archive, stack: ExitStack) -> tuple[Transfer, Node]:
        """Begin a job, or take up the one that was not finished; nobody else may have it."""
        if self._node is None:
            return self._resumed(archive, stack)
        node, ledger = self._node, archive.ledger
        _forget_plans(archive)
        wanted = {
            "node": node.name,
            "address": str(node.address),
            "aet": self._invocation.config.calling_ae_title(node),
            "model": self._model or node.model,
            "keys": self._keys,
            **(self._rows.facts if self._rows else {}),
        }
        if self._options.dry_run:  # which nobody goes on with
            transfer = ledger.begin(node.name, wanted, unique())
            stack.callback(ledger.remove, transfer)
            self._hold(archive, transfer, stack)
            ledger.set_state(transfer, _DRY_RUN)
            self._add_queries(archive, transfer)
            return transfer, node
        transfer, is_old = note_down(
            ledger,
            node.name,
            wanted,
            kept=self._options.kept(),
            hold=lambda one: self._hold(archive, one, stack),
        )
        self._begin(archive, transfer, is_old=is_old)
        return transfer, node

    def _resumed(self, archive: Archive, stack: ExitStack) -> tuple[Transfer, Node]:
        """Take up the job that the user names, with the options that it was begun with."""
        transfer = resolve(archive.ledger, self._options.resume or "")
        request, invocation = transfer.request, self._invocation
        node = invocation.config.nodes.get(transfer.node)
        node = node or invocation.config.node(str(request["address"]))
        if invocation.aet is None:
            node = replace(node, aet=str(request["aet"]))
        self._model, self._keys = str(request["model"]), dict(request["keys"])
        self._options = self._options.over(request)
        self._rows = JobRows.of(self._out, transfer)
        if self._rows is not None:
            stack.enter_context(self._rows)
        self._hold(archive, transfer, stack)
        archive.ledger.resume(transfer)
        self._begin(archive, transfer, is_old=True)
        return transfer, node

    def _begin(self, archive: Archive, transfer: Transfer, *, is_old: bool) -> None:
        """Have all queries in the ledger, where a killed process may have left some out."""
        if is_old:
            self._out.say(f"Going on with job {transfer.id}, begun {when(transfer.began_at)} UTC.")
        self._add_queries(archive, transfer)

    def _hold(self, archive: Archive, transfer: Transfer, stack: ExitStack) -> None:
        stack.enter_context(TransferLock.acquire(archive.root, transfer.id))

    def _add_queries(self, archive: Archive, transfer: Transfer) -> None:
        if self._rows is None:
            archive.ledger.add_queries(transfer, [(0, self._keys)])
        else:
            self._rows.note_down(archive.ledger, transfer, self._keys)
            self._rows.write_done(archive.ledger, transfer)

    def _pacs(self, node: Node) -> Pacs:
        self._invocation.warn_of_secrets(node)
        return Pacs(
            node.name,
            node.address,
            self._invocation.config.calling_ae_title(node),
            self._model or node.model,
            self._invocation.timeouts(),
            node.tls,
            node.method,
            node.match_limit,
            node.character_set,
            self._invocation.engine_for(node),
            node.identity,
        )

    def _listening(self, node: Node) -> Listening | None:
        """Say where a C-MOVE sends to; nowhere where there will be none."""
        from pypx.cli.reception import allow_rules, own_address

        config, options = self._invocation.config, self._options
        if options.dry_run or options.method == "get":
            return None
        aet = config.calling_ae_title(node)
        own = own_address(self._invocation, options.host, options.port, aet)
        bind = config.listen.host if options.host is None else options.host
        nodes = [*config.nodes.values(), node]
        rules = allow_rules(config.listen.allow, nodes, bind, self._out)
        listen = config.listen
        return Listening(own, bind, tuple(rules), listen.limits, listen.tls, listen.users)

    # Meanwhile

    def _work(self, job: Retrieval, transfer: Transfer) -> None:
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
                        if not job.wait(_GRACE):
                            job.leave()
                        break
                    progress.show(job.snapshot)
        finally:
            interrupts.cancel = None

    def _begin_query(self, query: Query) -> None:
        """Know whom the lines to come may name."""
        for keyword, value in query.keys.items():
            self._out.identifiers.learn(keyword, value)

    def _take_query(self, query: Query, state: str, standing: Standing | None) -> None:
        if self._rows is not None:
            self._rows.write(query, state, standing)

    # After

    def _tell(self, job: Retrieval, archive: Archive, transfer: Transfer) -> int:
        """Write what is to be written, and give the exit code."""
        if self._options.dry_run:
            return self._tell_plan(job, archive, transfer)
        current = archive.ledger.find(transfer.id) or transfer
        error = complaint(archive, current, job.error)
        if error is not None and job.state in ("incomplete", "unknown"):
            archive.ledger.set_state(current, current.state, reason_of(error))
        failure = self._write_files(archive, current)
        results = result_file(self._rows.path) if self._rows is not None else None
        show_result(self._out, archive, current, error, results)
        self._out.flush()
        for one in filter(None, (error, failure)):
            self._out.error(one)
        worst = error or failure
        return worst.exit_code if worst is not None else 0

    def _tell_plan(self, job: Retrieval, archive: Archive, transfer: Transfer) -> int:
        error: PypxError | None = job.error
        if error is None and job.state == "cancelled":
            error = CancelledError("Interrupted: this is not all of the plan.")
        if error is not None and self._out.form == "json":
            raise error
        error = error or plan_complaint(archive, transfer)
        show_plan(self._out, archive, transfer, error)
        self._out.flush()
        if error is not None:
            self._out.error(error)
        return error.exit_code if error is not None else 0

    def _write_files(self, archive: Archive, transfer: Transfer) -> ArchiveError | None:
        """Write what the user wants besides; give what failed, which does not change the result."""
        failure: ArchiveError | None = None
        try:
            if self._options.manifest:
                from pypx.retrieve.manifest import write_manifest

                write_manifest(archive, transfer, self._options.manifest)
        except ArchiveError as error:
            failure = error
        try:
            if self._options.report:
                from pypx.retrieve.html import write_report

                write_report(archive, transfer, self._options.report)
        except ArchiveError as error:
            failure = failure or error
        return failure


def _forget_plans(archive: Archive) -> None:
    """Remove plans of processes that were killed."""
    for old in archive.ledger.transfers(_RECENT):
        if old.state == _DRY_RUN and not TransferLock.is_held(archive.root, old.id):
            archive.ledger.remove(old)
