"""`python -m bench embed`: one measurement; with `--write` into its section of bench/RESULTS.md.

Without a name: all of them, each written as soon as it is read.
"""

import sys
from functools import partial
from pathlib import Path

from bench import api, claim, embed, ingest, lexical, memory, quality, query
from bench.corpora import PARTS, corpus
from bench.report import show, write

BENCHES = {
    "embed": embed.run,
    "ingest": ingest.run,
    "query": query.run,
    "quality": quality.run,
    "api": api.run,
    "memory": memory.run,
    "claim": claim.run,
    "lexical": lexical.run,
}
RESULTS = Path(__file__).parent / "RESULTS.md"


def main(arguments: list[str]) -> int:
    known = BENCHES | {f"ingest:{name}": partial(_part, name) for name in ingest.PARTS}
    known |= {"query:1000000": partial(query.run, (*query.SIZES, 1_000_000))}
    names = [argument for argument in arguments if argument != "--write"]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    for name in names or BENCHES:
        known[name]()
        if "--write" in arguments or not names:
            write(RESULTS, section=name, corpora={each: corpus(each).sha256 for each in PARTS})
    return 0


def _part(name: str) -> None:
    show(bench="ingest", **ingest.PARTS[name]())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
