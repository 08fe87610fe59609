"""Small programs that the `recoup` binary carries inside and runs in a project's own interpreter.

They are never imported by applications. Each reads its orders from the environment, writes one JSON
document to what was standard output when it started, and needs nothing but the standard library.
"""
