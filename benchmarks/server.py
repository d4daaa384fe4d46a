"""A server that keeps some of the projections only: `python -m benchmarks.server DSN FOLDER PROJECTION …`.

It shows what the others cost. `tenuto serve` keeps all of them.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from api import serving
from projections.remote import RemoteRunner

LEASE_S = 5.0


def main() -> None:
    dsn, folder, *projections = sys.argv[1:]

    def runs(database: str, *, published: str | None, **parts: Any) -> RemoteRunner:
        """Without the views for everybody, which stand on all of them."""
        return RemoteRunner(database, projections=projections, **parts)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving.run(
            listener,
            dsn,
            services={},
            texts={},
            lease_seconds=LEASE_S,
            place=(Path(folder) / "checkpoints", Path(folder) / "key"),
            ready=lambda url: print(f"ready {url}", flush=True),
            runs=runs,
        )


if __name__ == "__main__":
    main()
