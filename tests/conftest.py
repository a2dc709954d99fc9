"""What all tests share: the corpus, and an environment without the user's settings."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from pypx.net import served
from tests.corpus import Corpus, CorpusError
from tests.corpus import corpus as build_corpus

settings.register_profile("pypx", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "pypx")


@functools.cache
def _corpus_or_error() -> Corpus | CorpusError:
    try:
        return build_corpus()
    except CorpusError as error:
        return error


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the corpus before the first test, where the time limit of a test does not apply."""
    wanted = any("corpus" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        _corpus_or_error()


@pytest.fixture(scope="session", autouse=True)
def _no_user_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYPX_AET", "PYPX_ARCHIVE", "PYPX_CONFIG"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _servers_stop_quickly() -> Iterator[None]:
    """Shorten what only a stop and a peer that does not close wait for, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "_POLL", 0.02)
        patch.setattr(served, "_CLOSE_WAIT", 0.2)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heeded() -> None:
    """Undo what a shell does to a job in the background: its children would ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Real DICOM files; without them the test fails in CI and is skipped elsewhere."""
    found = _corpus_or_error()
    if isinstance(found, CorpusError):
        if os.environ.get("CI") == "true":
            raise found
        pytest.skip(f"no corpus: {found}")
    return found
