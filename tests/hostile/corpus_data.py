"""Hostile Markdown, tables, JSON, XML, YAML and code: kept as text, and never executed."""

from cases import MIB, error, ready

WORDS = "Hostile words."
LARGE, COMPLEX, EMPTY = "document_too_large", "document_too_complex", "empty_text"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))

MARKDOWN = [
    ready("quotes.md", ">" * 100_000 + "\n\n" + WORDS, WORDS),
    ready("brackets.md", "[" * 100_000 + "\n\n" + WORDS, WORDS),
    ready("links-unclosed.md", "[a](" * 50_000 + "\n\n" + WORDS, WORDS),
    ready("heading-of-brackets.md", "# " + "[" * 500_000 + "\n\n" + WORDS, WORDS),
    ready("heading-of-backticks.md", "# " + "`" * 500_000 + "\n\n" + WORDS, WORDS),
    ready("heading-of-stars.md", "# " + "*a" * 300_000 + "\n\n" + WORDS, WORDS),
    ready("heading-of-underscores.md", "# " + "_a " * 300_000 + "\n\n" + WORDS, WORDS),
    ready("heading-of-marks.md", "# " + " #" * 500_000 + " x\n\n" + WORDS, WORDS),
    ready("heading-underlined.md", "x\n" * 50_000 + "===\n\n" + WORDS, WORDS),
    ready("headings-without-end.md", "# a\n" * 100_000 + WORDS, WORDS),
    ready("fence-unclosed.md", WORDS + "\n\n```\n" + "x\n" * 100_000, WORDS),
    ready("fences.md", "```\n" * 50_001 + WORDS, WORDS),
    ready("front-matter-unclosed.md", "---\n" + "a: b\n" * 100_000 + "\n" + WORDS, WORDS),
    ready("rule-that-is-none.md", "* " * 300_000 + "x\n\n" + WORDS, WORDS),
    ready("table-delimiters.md", "a|b\n" + "-|" * 300_000 + "\n\n" + WORDS, WORDS),
    ready("table-rows.md", "a|b\n-|-\n" + "x|y\n" * 200_000 + "\n" + WORDS, WORDS),
    ready("list-deep.md", "".join(" " * n + "- x\n" for n in range(1_500)) + "\n" + WORDS, WORDS),
    ready("html-inside.md", f"# T\n\n<script>x</script>\n\n- {WORDS}", WORDS),
    ready("references-loop.md", f"# T\n\n[a]: #b\n[b]: #a\n\n- {WORDS}", WORDS),
]

TABLES = [
    ready("a-million-cells.csv", lambda: ("x," * 999 + "x\n") * 1_000 + WORDS, WORDS),
    ready("a-million-columns.csv", lambda: "x," * 1_000_000 + WORDS, WORDS),
    ready("quote-unclosed.csv", 'a,b\n"' + "x,y\n" * 100_000 + WORDS, WORDS),
    ready("quotes-only.csv", '"' * 100_001 + "\n" + WORDS, WORDS),
    ready("header-of-megabytes.csv", lambda: "h" * (5 * MIB) + "\n" + WORDS, WORDS),
    ready("field-longer-than-the-reader.csv", "a" * 200_000 + ",b\n1,2\n" + WORDS, WORDS),
    ready("commas.csv", "," * 500_000 + WORDS, WORDS),
    ready("ragged.csv", "a\nb,c\n,,,,\n\n\nd," + WORDS, WORDS),
    ready("formulas.csv", f'a,b\n=cmd|"/C calc"!A0,@SUM(1)\n{WORDS},1', WORDS),
    ready("nul-in-cells.csv", f"a,b\n\x00,{WORDS}\x00", WORDS),
    ready("returns.csv", f"a,b\r1,2\r{WORDS},3\r", WORDS),
    ready("utf-16.csv", f"a\tb\n1\t{WORDS}".encode("utf-16"), WORDS),
    ready("separator-told.csv", f"sep=;\na;b\n{WORDS};1", WORDS),
    ready("tabs.tsv", "\t" * 500_000 + WORDS, WORDS),
    error("blank.csv", "\n" * 10_000, EMPTY),
]

JSONS = [
    ready("deep.json", "[" * 100_000 + f'"{WORDS}"' + "]" * 100_000, WORDS),
    ready("deeper.json", lambda: "[" * 5_000_000 + f'"{WORDS}"', WORDS),
    ready("deep-objects.json", '{"a":' * 100_000 + f'"{WORDS}"', WORDS),
    ready("deep-without-name", "[" * 100_000 + f'"{WORDS}"' + "]" * 100_000, WORDS),
    ready("huge-number.json", f'{{"a": {"9" * 1_000_000}, "b": "{WORDS}"}}', WORDS),
    ready("not-a-number.json", f'[NaN, Infinity, -0, 1e999999, "{WORDS}"]', WORDS),
    ready("keys-twice.json", f'{{"a": 1, "a": "{WORDS}", "__proto__": {{}}}}', WORDS),
    ready("half-a-pair.json", f'["\\ud800", "\\u0000", "{WORDS}"]', WORDS),
    ready("cut-off.json", f'{{"a": "{WORDS}", "b": [1, ', WORDS),
    ready("comments.json", f'// x\n{{"a": "{WORDS}",}}', WORDS),
    ready("marked.json", f'\ufeff["{WORDS}"]', WORDS),
    ready("utf-16.json", f'["{WORDS}"]'.encode("utf-16"), WORDS),
    ready("lines.jsonl", '{"a": 1}\n' * 100_000 + f'["{WORDS}"]', WORDS),
    ready("one-key-of-megabytes.json", lambda: f'{{"{"k" * 5_000_000}": "{WORDS}"}}', WORDS),
    error("thirty-megabytes.json", lambda: "[" + "1," * (15 * MIB) + "1]", LARGE, heavy=True),
]

XMLS = [
    ready("laughs.xml", f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x>&l9; {WORDS}</x>', WORDS),
    ready(
        "quadratic.xml",
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><x>{"&a;" * 50_000}</x>',
        "&a;&a;",
    ),
    ready(
        "external.xml",
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "/etc/passwd">]><x>&a;{WORDS}</x>',
        WORDS,
        hides=("root:",),
    ),
    ready(
        "parameter.xml",
        f'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/">%a;]><x>{WORDS}</x>',
        WORDS,
    ),
    ready("xinclude.xml", f'<x><i:include href="/etc/passwd" parse="text"/>{WORDS}</x>', WORDS),
    ready("deep.xml", "<a>" * 100_000 + WORDS + "</a>" * 100_000, WORDS),
    ready(
        "attributes.xml",
        "<a " + " ".join(f'b{n}="1"' for n in range(100_000)) + f">{WORDS}</a>",
        WORDS,
    ),
    ready("unclosed.xml", f"<?xml version='1.0'?><a><b>{WORDS}", WORDS),
    ready("declaration-unclosed.xml", f"<?xml version='1.0' {WORDS}", WORDS),
    ready("comment-unclosed.xml", f"<!-- {'x' * 50_000} {WORDS}", WORDS),
    ready("comments.xml", "<!-- x -->" * 50_000 + f"<a>{WORDS}</a>", WORDS),
    ready("says-utf-16.xml", f'<?xml version="1.0" encoding="utf-16"?><a>{WORDS}</a>', WORDS),
    ready("utf-16.xml", f"<a>{WORDS}</a>".encode("utf-16"), WORDS),
    ready(
        "namespaces.xml",
        "<a " + " ".join(f'xmlns:n{n}="x"' for n in range(5_000)) + f">{WORDS}",
        WORDS,
    ),
    ready("stylesheet.xml", f'<?xml-stylesheet href="http://127.0.0.1/"?><a>{WORDS}</a>', WORDS),
    ready("drawing.svg", f"<svg><script>x</script><text>{WORDS}</text></svg>", WORDS),
]

YAMLS = [
    ready(
        "laughs.yaml",
        "a: &a [x]\n"
        + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n"
            for n in range(9)
        )
        + WORDS,
        WORDS,
    ),
    ready("python-object.yaml", f'a: !!python/object/apply:os.system ["id"]\nb: {WORDS}', WORDS),
    ready("anchor-to-itself.yaml", f"a: &a [*a]\nb: {WORDS}", WORDS),
    ready("deep-flow.yaml", "a: " + "[" * 100_000 + f"\nb: {WORDS}", WORDS),
    ready("deep-block.yaml", "".join(" " * n + "a:\n" for n in range(1_500)) + WORDS, WORDS),
    ready("tabs.yaml", f"a:\n\t- b\n\t- {WORDS}", WORDS),
    ready("merge-keys.yaml", f"a: &a\n  <<: *a\nb: {WORDS}", WORDS),
    ready("documents.yaml", "---\n" * 50_000 + f"a: {WORDS}", WORDS),
    ready("long-key.yaml", f"{'k' * 500_000}: {WORDS}", WORDS),
    ready("directive.yaml", f"%YAML 99.9\n--- !!binary |\n  AAAA\n...\n{WORDS}", WORDS),
]

CODE = [
    ready("minified.js", lambda: "var a=1;" * 500_000 + f'"{WORDS}"', WORDS),
    ready("recursion.py", f'exec("x" * 10**9)\n# {WORDS}', WORDS),
    ready("escape.py", f"print('\\x1b]0;evil\\x07')\n# \x1b[31m{WORDS}", WORDS),
    ready("look-alike.py", f"аdmin = 'cyrillic'\n# {WORDS}", WORDS),
    ready("trojan.c", f"/* \u202e }} \u2066if (admin)\u2069 \u2066 */ // {WORDS}", WORDS),
    ready("shebang.sh", f"#!/bin/sh\nrm -rf /\n# {WORDS}", WORDS),
    ready("macros.tex", "\\def\\a{\\a\\a}\\a\n" * 1_000 + WORDS, WORDS),
    ready("queries.sql", f"'; DROP TABLE rags; -- {WORDS}", WORDS),
    ready("makefile", f"all:\n\t$(shell id)\n# {WORDS}", WORDS),
    ready("binary-tail.py", b"# Hostile words.\n" * 1_000 + bytes(20), WORDS),
]

CASES = [*MARKDOWN, *TABLES, *JSONS, *XMLS, *YAMLS, *CODE]
