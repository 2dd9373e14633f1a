"""Mutants that no test can tell from the original, each with the reason why."""

EQUIVALENT: dict[str, str] = {
    "engine/inverted.py build: if term not in keys -> if True": (
        "A term has the same key each time it is made: asking first only saves the making."
    ),
    "engine/inverted.py pages: 12 -> 13": (
        "Pages are of about PAGE_BYTES, and the sizes of terms differ by four bytes."
    ),
    "engine/inverted.py pages: 0 -> 1 (3)": "Pages are of about PAGE_BYTES: one byte is none.",
    "engine/inverted.py pages: 0 -> -1 (3)": "Pages are of about PAGE_BYTES: one byte is none.",
    "engine/inverted.py read: 8 -> 7": "What is left of a division by four falls away.",
    "engine/inverted.py read: 1 -> 2": "Only the first of the numbers is looked at.",
    "engine/inverted.py between: if (start, end) == (0, len(postings.terms)) -> if False": (
        "The whole page, cut from its first to its last term, is the whole page."
    ),
    "workers/guard.py guarded_pool: True -> False": (
        "httpcore asks for `http1` only to know whether it may speak HTTP/2 without negotiation,"
        " and with `http2` off it speaks HTTP/1.1 either way."
    ),
    "workers/guard.py guarded_pool: 0 -> -1": (
        "httpcore tries again while more than zero retries are left; less than none is none."
    ),
    "workers/reading.py _cut_behind_blanks: blank >= 0 -> blank > 0": (
        "A blank is looked for from the middle of the segment on, so it is never at 0."
    ),
    "workers/reading.py _cut_behind_blanks: 0 -> 1 (2)": (
        "A blank is looked for from the middle of the segment on, so it is never at 0."
    ),
    "workers/chunk.py _passage: 0 -> 1": (
        "The ordinal is given when the passage is added, by `_add`."
    ),
    "workers/chunk.py _passage: 0 -> -1": (
        "The ordinal is given when the passage is added, by `_add`."
    ),
    "workers/pieces.py covering: if clipped -> if True": (
        "A block that is not clipped is replaced by one with the start that it has already."
    ),
    "engine/store/indexes.py finish: due_at = NULL -> due_at = due_at": (
        "The fence asks for a lease, and indexes_held in schema.sql lets no leased row be due."
    ),
    "engine/store/indexes.py fail: due_at = NULL -> due_at = due_at": (
        "The fence asks for a lease, and indexes_held in schema.sql lets no leased row be due."
    ),
    "engine/store/acquisition.py fail: due_at = NULL -> due_at = due_at": (
        "The fence asks for a lease, and sources_held in schema.sql lets no leased row be due."
    ),
    "engine/store/indexes.py _ready_source: if not is_primary -> if True": (
        "The row that was just written is asked for once more, and is there."
    ),
}
