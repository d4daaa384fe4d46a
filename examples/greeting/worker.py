"""A worker in ten lines: it asks Tenuto for work, does it, and reports.

python -m examples.greeting.worker
"""

from __future__ import annotations

from typing import Any

from tenuto import Worker, activity


@activity(name="greet", queue="hello")
def greet(order: dict[str, Any]) -> dict[str, str]:
    return {"text": f"Hello, {order['name']}"}


if __name__ == "__main__":
    Worker("http://127.0.0.1:8080", activities=[greet]).run_forever()
