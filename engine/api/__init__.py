"""The doors: HTTP in, verbs below. A handler decodes, calls one verb, encodes.

No rule about rags or sources lives here, no SQL, no queue; a missing verb goes to the verbs.
"""
