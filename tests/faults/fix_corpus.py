"""The documents of the fault tests: always the same, no two alike, of one to many batches."""

from fix_hands import long_text

CHUNK_TOKENS = 16
LONG = tuple(f"# Ledger {n}\n\n{long_text(150).replace('Note', f'Entry {n}.')}" for n in range(2))
MIDDLE = tuple(f"# Roll {n}\n\n{long_text(70).replace('Note', f'Roll {n}.')}" for n in range(6))
SHORT = tuple(
    "\n\n".join(
        [f"# Leaf {n}", *(f"Leaf {n}, line {line}: nothing of note happened." for line in range(5))]
    )
    for n in range(24)
)
POISON = "# Poison\n\nThis text holds the word arsenic, and whoever reads it dies of it."
CORPUS = (*LONG, *MIDDLE, *SHORT, POISON)
SHORT_FORM = (LONG[0], *MIDDLE[:2], *SHORT[:6])  # all that the tests of a plain run take
