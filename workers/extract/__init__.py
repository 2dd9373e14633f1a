"""Stage 2: fetched bytes become a document, each in a sandboxed child process of its own.

`extractor.Extractor` is the way in. `sandbox` and `template` run children, `confine` shuts them
in; `parse` and all it imports (sniff, charset, archive, a reader per format, canonical) run
inside. Nothing is imported here, so that the worker never loads a parser.
"""
