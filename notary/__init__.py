"""The notary: follows the event log, keeps a Merkle tree over it, signs its root, puts it where no database reaches.

It is no projection: what it has exported cannot be taken back, so it never begins anew without proving that it goes on
from there. Begin with `notary.py`. The arithmetic is `tenuto/audit`; for outsiders: docs/reference/audit.md.
"""
