"""What proves that a log was not changed: the tree, the notes that sign it, and the programs that check both.

Pure but for `sources.py` (which reads a live log) and files handed in. Nothing here needs the server, so that an
auditor runs it anywhere; the server's notary uses the same arithmetic. How everything is laid out, byte by byte:
docs/reference/audit.md. Next: `tree.py`, `leaf.py`, `note.py`, `verifying.py`.
"""
