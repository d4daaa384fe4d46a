"""The SQL that makes the server's role, for an owner to read and to run. Next: `roles.sql`."""

from __future__ import annotations

import re
from pathlib import Path

from tenuto.audit.errors import AuditError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def roles_sql(
    app: str, *, log: str = "tenuto_0", views: str = "tenuto_projections", published: str = "tenuto_v1"
) -> str:
    """Raises AuditError for a name that would have to be quoted."""
    names = {"app": app, "log": log, "views": views, "published": published}
    names |= {"notary": f"{log}_notary", "feeds": f"{log}_feeds"}
    for name in names.values():
        if _NAME.fullmatch(name) is None:
            raise AuditError(f"{name!r} is no plain name: small letters, digits and _")
    text = Path(__file__).with_name("roles.sql").read_text(encoding="utf-8")
    for key, name in names.items():
        text = text.replace(f"{{{key}}}", name)
    return text
