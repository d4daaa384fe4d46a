"""Who wants to hear of what the loop has stored. A listener's fault is its own: what it hears of has happened."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

from domain.state import State
from engine.ports import OwedRow

log = logging.getLogger("tenuto.engine")

Said = TypeVar("Said")


class Hooks:
    """`commit` hears of the last position of each commit, `end` of each instance that has ended, and of what happens to
    it then; `owed`, by kind, of rows that are owed now, and `undelivered` of the token of each lease that may stand in
    the log while no worker has heard of it."""

    def __init__(self) -> None:
        self.commit: list[Callable[[int], None]] = []
        self.end: list[Callable[[State], None]] = []
        self.owed: defaultdict[str, list[Callable[[OwedRow], None]]] = defaultdict(list)
        self.undelivered: list[Callable[[str], None]] = []


def tell(listeners: Iterable[Callable[[Said], None]], what: Said) -> None:
    for listener in listeners:
        try:
            listener(what)
        except Exception:
            log.exception("%r failed", listener)
