"""`python -m bench.mutation fence`: do the tests notice when a rule is a little wrong?

Each mutant of bench.mutants is put into a copy of the repository, and the tests that concern its
module are run there until one fails. A mutant that none of them notices has survived: it is either
explained in bench.equivalents, or it is a missing test. Ends with 1 when one is not explained, and
when an explanation is of a mutant that does not survive. Targets are named in TARGETS; a second
word narrows one down to the mutants that hold it: `python -m bench.mutation fence finish`.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from bench.equivalents import EQUIVALENT
from bench.mutants import Mutant, mutants, names
from bench.trial import REPOSITORY, Copy, Round

COPIES = 2  # that many mutants are tried at a time
STORE = "tests/integration/store"


class Target(NamedTuple):
    """`files`: the functions of each file, None for all. `rounds`: the quick tests first; only who
    survives a round goes on to the next."""

    files: dict[str, frozenset[str] | None]
    rounds: tuple[Round, ...]
    with_servers: bool = False


TARGETS = {
    "status": Target(
        files={
            "engine/models.py": frozenset({"rag_status", "status_message", "_stage_message"}),
            "engine/entries.py": frozenset({"rag_index_status", "rag_index_progress"}),
        },
        rounds=(
            Round(
                (
                    "tests/edges/test_status_edges.py",
                    "tests/unit/test_models.py",
                    "tests/unit/test_rag_index_rules.py",
                ),
                cpu_s_max=20,
            ),
        ),
    ),
    "addresses": Target(
        files={"engine/addresses.py": None},
        rounds=(Round(("tests/edges/test_address_edges.py", "tests/unit/test_addresses.py"), 20),),
    ),
    "guard": Target(
        files={"workers/guard.py": None},
        rounds=(Round(("tests/edges/test_guard_edges.py", "tests/integration/test_guard.py"), 30),),
    ),
    "offsets": Target(
        files={
            "workers/chunk.py": frozenset(
                {"_add", "_own_starts", "_fits", "_passage", "_embedded"}
            ),
            "workers/reading.py": frozenset(
                {"tape_of", "_segments", "_cut_behind_blanks", "counts", "owned"}
            ),
            "workers/pieces.py": frozenset(
                {"count", "reach", "back", "_at", "block_at", "skip_blank", "covering", "cut_up"}
            ),
        },
        rounds=(
            Round(
                (
                    "tests/edges/test_offset_edges.py",
                    "tests/unit/workers/test_chunk.py",
                    "tests/unit/workers/test_reading.py",
                ),
                30,
            ),
        ),
    ),
    "lexical": Target(
        files={"engine/lexical.py": None},
        rounds=(Round(("tests/unit/test_lexical.py",), 40),),
    ),
    "inverted": Target(
        files={"engine/inverted.py": None},
        rounds=(Round(("tests/unit/test_inverted.py",), 40),),
    ),
    "ranking": Target(
        files={"engine/folding.py": None, "engine/filters.py": None},
        rounds=(Round(("tests/unit/test_folding.py", "tests/unit/test_filters.py"), 30),),
    ),
    "merging": Target(
        files={"workers/merge.py": None, "workers/words.py": None},
        rounds=(
            Round(("tests/integration/test_merge.py",), 60),
            Round(("tests/integration/test_postings.py", "tests/integration/test_ranking.py"), 120),
        ),
        with_servers=True,
    ),
    "answers": Target(
        files={"engine/retrieval.py": None, "engine/citations.py": None},
        rounds=(
            Round(("tests/integration/test_find.py", "tests/integration/test_ann.py"), 60),
            Round(("tests/integration/test_search_rag.py",), 120),
        ),
        with_servers=True,
    ),
    "fence": Target(
        files={
            "engine/store/acquisition.py": None,
            "engine/store/indexes.py": None,
            "engine/store/claims.py": None,
        },
        rounds=(
            Round(("tests/protocol/test_protocol_fence.py",), 60),
            Round(
                (
                    f"{STORE}/test_fence_edges.py",
                    f"{STORE}/test_fencing.py",
                    f"{STORE}/test_states.py",
                    "tests/protocol/test_protocol_rows.py",
                    f"{STORE}/test_together.py",
                    f"{STORE}/test_claims.py",
                ),
                120,
            ),
        ),
        with_servers=True,
    ),
}


class Verdict(NamedTuple):
    file: str
    mutant: Mutant
    survived: bool

    @property
    def key(self) -> str:
        return key_of(self.file, function=self.mutant.function, what=self.mutant.what)


def key_of(file: str, *, function: str, what: str) -> str:
    """What an explanation is kept under."""
    return f"{file} {function}: {what}"


def keys_of(target: Target) -> Iterator[str]:
    for file, functions in target.files.items():
        for function, what in names((REPOSITORY / file).read_text("utf-8"), functions=functions):
            yield key_of(file, function=function, what=what)


@contextmanager
def copies_of(target: Target) -> Iterator["SimpleQueue[Copy]"]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutation-")))
        folder.chmod(0o711)
        free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(COPIES):
            copy = Copy(folder / str(number), with_servers=target.with_servers)
            stack.callback(copy.stop)
            copy.start()
            free.put(copy)
        yield free


def try_target(target: Target, *, holding: str = "") -> Iterator[Verdict]:
    with copies_of(target) as free, ThreadPoolExecutor(COPIES) as pool:
        copy = free.get()
        for tried in target.rounds:
            assert copy.passes(tried), f"these fail without any mutant: {tried.tests}"
        found = [
            (file, mutant)
            for file, functions in target.files.items()
            for mutant in mutants((copy.root / file).read_text("utf-8"), functions=functions)
            if holding in key_of(file, function=mutant.function, what=mutant.what)
        ]
        free.put(copy)

        def one(case: tuple[str, Mutant]) -> Verdict:
            file, mutant = case
            copy = free.get()
            try:
                survived = all(
                    copy.passes(tried, file=file, source=mutant.source) for tried in target.rounds
                )
            finally:
                free.put(copy)
            return Verdict(file, mutant, survived)

        yield from pool.map(one, found)


def check(name: str, *, holding: str = "") -> int:
    """Prints what survived; returns for how many mutants there is work to do."""
    started, count, explained, wrong = time.monotonic(), 0, 0, 0
    print(f"{name}: the tests without any mutant first", flush=True)
    for verdict in try_target(TARGETS[name], holding=holding):
        count += 1
        if verdict.survived and verdict.key in EQUIVALENT:
            explained += 1
        elif verdict.survived or verdict.key in EQUIVALENT:
            wrong += 1
            what = "survived" if verdict.survived else "explained, and yet noticed"
            print(f"{what}: {verdict.key}", flush=True)
    took_s = time.monotonic() - started
    print(
        f"{name}: {count} mutants, {wrong} to look at, {explained} explained, {took_s:.0f} s",
        flush=True,
    )
    return wrong


def main(words: list[str]) -> int:
    if words and words[0] not in TARGETS:
        print(f"no such target: {words[0]}; there are: {', '.join(TARGETS)}")
        return 2
    holding = " ".join(words[1:])
    wrong = sum(check(name, holding=holding) for name in words[:1] or TARGETS)
    print(f"to look at: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
