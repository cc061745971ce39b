"""Why a test that passes directly may not pass through pgweir: a part of its name, and the reason.

A line here is a statement about the test or about what a proxy can be, not a licence to break.
"""

EXCEPTIONS = {}
