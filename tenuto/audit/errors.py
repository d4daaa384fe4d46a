"""What keeps an audit from giving an answer. A changed log is no error: it is the answer (`verifying.Report`)."""

from __future__ import annotations

from tenuto.errors import TenutoClientError


class AuditError(TenutoClientError):
    """Whatever `tenuto.audit` cannot work with; catch this to catch all of it."""


class BadNoteError(AuditError):
    """That is no signed note, or no checkpoint."""


class WrongKeyError(AuditError):
    """A note bears no valid signature of the key that it is checked with."""


class OtherLogError(AuditError):
    """A checkpoint is one of another log."""


class BadExportError(AuditError):
    """A file is no export of ours, or was changed after it was written; the text says in which line."""


class CutOffError(BadExportError):
    """A file ends before its own end: it was cut, or is being written still."""


class BadBundleError(AuditError):
    """A file is no evidence of ours, or a part of it does not fit the others."""
