"""Brings a selection of files and URLs into a RAG, and watches until each of them has ended.

A file is known by its name and SHA-256, a URL by its form for comparing. A version that replaces
another is added first, with the attributes of the old one; that one is removed once the new one is
ready, and stays if that fails.
What lives here: which requests to make, in which order. What does not: how it is shown.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from engine.addresses import normalise_url
from engine.cli.answers import Failure, Source
from engine.cli.client import ApiError, Client
from engine.cli.exits import Exit
from engine.cli.progress import Display
from engine.cli.selection import LocalFile, Selection

BATCH_FILES = 50
POLL_S = 0.2
# Looking at a long list of sources costs the engine time that its workers could use.
POLL_S_PER_SOURCE = 0.0005
HINT_AFTER_S = 15.0
# The engine would give the same answer to every other source too.
HOPELESS = (Exit.UNREACHABLE, Exit.UNAUTHORISED)


class Outcome(StrEnum):
    """What became of a file or URL."""

    ADDED = "added"
    REPLACED = "replaced"
    SKIPPED = "skipped"
    FAILED = "failed"


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the summary."""

    name: str
    outcome: Outcome
    code: str = ""
    message: str = ""
    remedy: str = ""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A source that the RAG has of a file."""

    source: Source
    sha256: str


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A source to be watched: `key` is its file id or URL, `outdated` what it replaces."""

    key: str
    name: str
    outcome: Outcome
    outdated: tuple[Known, ...] = ()

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Those of the newest that it replaces: whoever filters by them is to find it as well."""
        return self.outdated[-1].source.attributes if self.outdated else {}


class Ingestion:
    """One run of `ingest` on one RAG."""

    def __init__(self, client: Client, *, rag_id: str, display: Display) -> None:
        self.results: list[Result] = []
        self._client = client
        self._rag_id = rag_id
        self._display = display
        self._tracks: list[Track] = []
        self._waiting: list[Track] = []  # uploaded, not yet sources
        self._by_name: dict[str, list[Known]] = defaultdict(list)
        self._by_url: dict[str, Source] = {}
        self._unused: dict[tuple[str, str], str] = {}

    def add(self, selection: Selection) -> None:
        """Make sources of what the RAG does not have yet. Raises CliError when out of reach."""
        self._look()
        for file in selection.files:
            self._add_file(file)
        self._add_waiting()
        for url in selection.urls:
            self._add_url(url)

    def watch(self) -> None:
        """Until every source that was added has ended; removes what has been replaced."""
        tracks = {track.key: track for track in self._tracks}
        self._display.expect(len(tracks))
        changed_at, before = time.monotonic(), None
        while tracks:
            sources = {_key(each): each for each in self._client.sources(self._rag_id)}
            for key, track in list(tracks.items()):
                if self._has_ended(track, sources.get(key)):
                    del tracks[key]
            now = [(each.status, each.progress) for each in sources.values()]
            if now != before:
                changed_at, before = time.monotonic(), now
            if time.monotonic() - changed_at > HINT_AFTER_S:
                changed_at = float("inf")
                self._display.end("nothing has moved for a while", word="note", message=_HINT)
            if tracks:
                time.sleep(POLL_S + POLL_S_PER_SOURCE * len(sources))

    def leave(self) -> None:
        """Instead of watching: what was added counts as such."""
        self.results += [Result(name=each.name, outcome=each.outcome) for each in self._tracks]

    def _look(self) -> None:
        """What the RAG has, and uploads that are sources of nothing yet."""
        files = {file.id: file for file in self._client.files()}
        self._unused = {(file.name, file.sha256): file.id for file in files.values()}
        for source in self._client.sources(self._rag_id):
            if source.source_url:
                self._by_url[normalise_url(source.source_url)] = source
            elif file := files.get(source.storage_file_id or ""):
                self._by_name[file.name].append(Known(source=source, sha256=file.sha256))

    def _add_file(self, file: LocalFile) -> None:
        try:
            sha256 = file.sha256()
            known = self._by_name[file.name]
            same = [each for each in known if each.sha256 == sha256]
            others = tuple(each for each in known if each.sha256 != sha256)
            if same:
                same.sort(key=lambda each: each.source.status == "error")
                self._keep(same[0].source, name=file.name, outdated=others)
            else:
                self._upload(file, sha256=sha256, outdated=others)
        except OSError as error:
            self._fail(file.name, code="unreadable", message=f"{error.strerror}.")
        except ApiError as error:
            self._refused(file.name, error)

    def _upload(self, file: LocalFile, *, sha256: str, outdated: tuple[Known, ...]) -> None:
        # An earlier run may have been cut off between the upload and making a source of it.
        file_id = self._unused.get((file.name, sha256))
        file_id = file_id or self._client.upload(file.path, name=file.name).id
        outcome = Outcome.REPLACED if outdated else Outcome.ADDED
        track = Track(key=file_id, name=file.name, outcome=outcome, outdated=outdated)
        self._waiting.append(track)
        if len(self._waiting) == BATCH_FILES:
            self._add_waiting()

    def _add_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        attributes = {track.key: track.attributes for track in waiting if track.attributes}
        try:
            keys = [track.key for track in waiting]
            self._client.add_files(self._rag_id, keys, attributes=attributes)
        except ApiError as error:
            for track in waiting:
                self._refused(track.name, error)
                self._drop_file(track.key)
        else:
            self._tracks += waiting

    def _add_url(self, url: str) -> None:
        known = self._by_url.get(normalise_url(url))
        try:
            if known:
                self._keep(known, name=url, outdated=())
                return
            self._client.add_url(self._rag_id, url)
            self._tracks.append(Track(key=url, name=url, outcome=Outcome.ADDED))
        except ApiError as error:
            self._refused(url, error)

    def _keep(self, source: Source, *, name: str, outdated: tuple[Known, ...]) -> None:
        """The RAG has it: skip it, see it through, or give it another chance after an error."""
        if source.status == "error":
            self._client.refresh_source(self._rag_id, source.id)
        if source.status == "ready":
            self._remove(outdated)
            self.results.append(Result(name=name, outcome=Outcome.SKIPPED))
            return
        outcome = Outcome.ADDED if source.status == "error" else Outcome.SKIPPED
        self._tracks.append(Track(key=_key(source), name=name, outcome=outcome, outdated=outdated))

    def _has_ended(self, track: Track, source: Source | None) -> bool:
        if source is None:
            self._fail(track.name, code="source_gone", message="Somebody removed it meanwhile.")
            return True
        self._display.show(source)
        if not source.terminal:
            return False
        if source.status == "ready":
            self._remove(track.outdated)
            self.results.append(Result(name=track.name, outcome=track.outcome))
            self._display.end(track.name, word="ready", message=source.status_message)
        else:
            self._end_failed(track, source)
        return True

    def _end_failed(self, track: Track, source: Source) -> None:
        failure = source.error or Failure(code="", message=source.status_message)
        message = failure.message
        if track.outdated:
            # Without this the next run would take the broken version for an unchanged one.
            self._remove([Known(source=source, sha256="")])
            message += " The version that was there before still answers."
        self._fail(track.name, code=failure.code, message=message, remedy=failure.remedy)

    def _remove(self, outdated: Iterable[Known]) -> None:
        for known in outdated:
            try:
                self._client.delete_source(self._rag_id, known.source.id)
            except ApiError as error:
                if error.reason != "SOURCE_NOT_FOUND":
                    raise
            if known.source.storage_file_id:
                self._drop_file(known.source.storage_file_id)

    def _drop_file(self, file_id: str) -> None:
        """Remove an upload, unless another RAG uses it or it went with its source."""
        try:
            self._client.delete_file(file_id)
        except ApiError as error:
            if error.reason not in ("FILE_IN_USE", "FILE_NOT_FOUND"):
                raise

    def _refused(self, name: str, error: ApiError) -> None:
        if error.exit_code in HOPELESS:
            raise error
        self._fail(name, code=error.reason.lower(), message=str(error))

    def _fail(self, name: str, *, code: str, message: str, remedy: str = "") -> None:
        self.results.append(
            Result(name=name, outcome=Outcome.FAILED, code=code, message=message, remedy=remedy)
        )
        self._display.end(name, word="failed", message=message)


_HINT = "is a worker running? `rag-engine status` tells."


def _key(source: Source) -> str:
    return source.storage_file_id or source.source_url or source.id


def tally(results: Sequence[Result]) -> dict[str, int]:
    """How many of each outcome."""
    return {outcome.value: sum(each.outcome is outcome for each in results) for outcome in Outcome}
