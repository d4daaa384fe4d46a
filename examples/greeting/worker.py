"""A worker in ten lines: it asks Tenuto for work, does it, and reports.

python -m examples.greeting.worker
"""

from __future__ import annotations

import os
from typing import Any

from tenuto import Worker, activity


@activity(name="greet", queue="hello")
def greet(order: dict[str, Any]) -> dict[str, str]:
    return {"text": f"Hello, {order['name']}"}


if __name__ == "__main__":
    server = os.environ.get("TENUTO_SERVER", "http://127.0.0.1:8080")
    print(f"Greeting whoever {server} asks me to. Ctrl-C stops me.", flush=True)
    Worker(server, activities=[greet]).run_forever()
