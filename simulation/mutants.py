"""Engines that are broken on purpose, each in one way: the simulator must find every one of them out (`make mutants`).

Each names a promise that is broken, and the text of the engine that is changed for it. One that survives its thousand
worlds says that a fault or a check is missing there; a text that has moved must be mended here (`MutantLostError`).
"""

from __future__ import annotations

from simulation.mutants_of_children import OF_CHILDREN
from simulation.mutation import Edit, Mutant

MUTANTS: tuple[Mutant, ...] = (
    # The log, and who may append to it --------------------------------------------------
    Mutant(
        "no version check",
        "what was decided on an old version is appended as if it were the next",
        (
            Edit(
                "engine.store.memory:MemoryStore.append",
                "lost = [stream for stream, version in first.items() if version != self._version(stream) + 1]",
                "known = {stream: self._version(stream) + 1 - version for stream, version in first.items()};"
                " lost = []; batch = replace(batch, events=["
                "replace(one, version=one.version + known[one.stream]) for one in batch.events])",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "doubt is success",
        "a commit of which nobody knows counts as stored",
        (Edit("engine.loop:Loop._append", "doubts.append(doubt)", "return changes, []"),),
    ),
    Mutant(
        "doubt is failure",
        "who asked is told that nothing was stored, though nobody knows",
        (
            Edit(
                "engine.loop:Loop._give_up",
                "request.refuse(error)",
                "request.refuse(StoppedError())",
            ),
        ),
    ),
    Mutant(
        "doubt is decided again",
        "after an unknown commit that was stored, the batch is decided once more",
        (
            Edit(
                "engine.loop:Loop._stored_before",
                "return [found[-1].position] if any(mark in recorded.payload for recorded in found) else []",
                "return []",
            ),
        ),
    ),
    Mutant(
        "answers before the commit",
        "answers and tasks leave before the COMMIT of what they were decided on",
        (
            Edit(
                "engine.loop:Loop._transact",
                "changes, positions = await self._append(draft, changes)",
                "self._answer_all(draft, None); changes, positions = await self._append(draft, changes)",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "time goes back",
        "a command is dated before what happened before it",
        (
            Edit(
                "engine.deciding:Decider._begin",
                "at = now if last is None else max(now, last)",
                "at = now",
            ),
        ),
    ),
    # Memory: caches and snapshots ----------------------------------------------------------
    Mutant(
        "stale state is kept",
        "after a conflict the state that lost it is decided on again",
        (Edit("engine.loop:Loop._decide_again", "self.decider.cache.drop(streams)", "pass"),),
    ),
    Mutant(
        "doubtful state is kept",
        "a state that may be ahead of the log stays in memory",
        (Edit("engine.loop:Loop._give_up", "self.decider.cache.drop(draft.entries)", "pass"),),
    ),
    Mutant(
        "memory is believed",
        "a refusal or an `already done` rests on a state that another server has moved on",
        (Edit("engine.loop:Loop._prove", "if stale:", "if False:"),),
    ),
    Mutant(
        "snapshot of an older version",
        "a snapshot says that it is one event older than it is",
        (
            Edit(
                "engine.cache:Entry.snapshot",
                "Snapshot(self.state.id, self.committed,",
                "Snapshot(self.state.id, self.committed - 1,",
            ),
        ),
    ),
    Mutant(
        "snapshot without its tail",
        "what happened after a snapshot is not folded on top of it",
        (
            Edit(
                "engine.cache:fold",
                "for recorded in loaded.events:",
                "for recorded in loaded.events if loaded.snapshot is None else ():",
            ),
        ),
    ),
    # Clients -----------------------------------------------------------------------------
    Mutant(
        "key not kept",
        "a start is not remembered under its idempotency key",
        (
            Edit(
                "engine.draft:Draft.batch",
                "if item.request.client is not None and item.events:",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "key of any body",
        "another request under a known idempotency key is answered as if it were the same",
        (
            Edit(
                "engine.client_keys:ClientKeys._answer",
                "if known[key].body_hash == request.client.body_hash:",
                "if True:",
            ),
        ),
    ),
    Mutant(
        "cancel ignored",
        "a cancel is acknowledged, and nothing comes of it",
        (Edit("domain.signals:cancel", 'elif status != "compensating":', "elif False:"),),
        quick=True,
    ),
    # Signals -----------------------------------------------------------------------------
    Mutant(
        "lost signal",
        "a signal that comes before its wait is not kept",
        (
            Edit(
                "domain.evolve:_signal_received",
                "state.buffer.append(",
                "(",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "early signal not seen",
        "a wait does not look for a signal that came before it",
        (Edit("domain.steps.wait:Wait.enter", "if came_before is not None:", "if False:"),),
    ),
    Mutant(
        "signal twice",
        "a signal with a known id is taken again",
        (
            Edit(
                "domain.signals:send_signal",
                "if known is not None:",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "signal of any payload",
        "another payload under a known signal id is not refused",
        (Edit("domain.signals:send_signal", "if known != digest(command.payload):", "if False:"),),
    ),
    # Leases and results --------------------------------------------------------------------
    Mutant(
        "no token check",
        "whoever held the attempt once may report its result",
        (
            Edit(
                "domain.results:_held",
                "and open.attempt == command.attempt and open.token == command.token",
                "",
            ),
        ),
        quick=True,
    ),
    Mutant(
        "double claim",
        "an attempt that a worker has is handed to another one",
        (
            Edit(
                "domain.results:_why_not_claimable",
                "if not isinstance(open, Queued) or open.attempt != command.attempt:",
                "if not isinstance(open, Queued | Running) or open.attempt != command.attempt:",
            ),
            Edit(
                "domain.results:_why_not_claimable",
                "if open.due_at >",
                "if isinstance(open, Queued) and open.due_at >",
            ),
            Edit("domain.executing:begun", "assert isinstance(queued, Queued)", "pass"),
        ),
        quick=True,
    ),
    Mutant(
        "claim before its time",
        "an attempt in back-off is handed out at once",
        (
            Edit("domain.results:_why_not_claimable", "if open.due_at >", "if False and open.due_at >"),
            Edit("engine.ports:OwedRow.is_ready", "and self.due_at <= now", ""),
        ),
    ),
    Mutant(
        "lost leases stay",
        "nobody looks for the leases of sessions that are not heard of any more",
        (Edit("engine.upkeep:Upkeep.end_lost_leases", "lost = await self._sessions.lost()", "lost = []"),),
    ),
    Mutant(
        "unheard leases stay",
        "a lease that may be stored, and that no worker has heard of, is not given back",
        (Edit("engine.loop:Loop._give_up", "tell(self.hooks.undelivered, request.token)", "pass"),),
    ),
    Mutant(
        "signs of life not told",
        "other servers do not hear that a session lives",
        (Edit("engine.sessions:Sessions.touch", "self._unsaved.add(session)", "pass"),),
    ),
    Mutant(
        "lost lease counts as a failure",
        "the attempts of a step are used up by workers that die",
        (Edit("domain.evolve:_step_failed", "work.losses += 1", "work.failures += 1"),),
    ),
    Mutant(
        "no end of lost leases",
        "a step that kills its workers goes on doing so",
        (Edit("domain.failure:_retry_at", "if open.work.losses + 1 < MAX_LOSSES else None", ""),),
    ),
    Mutant(
        "result recorded twice",
        "the same late result is put on record again and again",
        (
            Edit(
                "domain.results:_late",
                "if attempt == closed.accepted or attempt in closed.reported:",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "key of one attempt",
        "each attempt has an idempotency key of its own",
        (
            Edit(
                "engine.handout:task_of",
                'idempotency_key=f"{work.owner or state.id}/{execution}"',
                'idempotency_key=f"{work.owner or state.id}/{execution}/{running.attempt}"',
            ),
        ),
        quick=True,
    ),
    # Retries -----------------------------------------------------------------------------
    Mutant(
        "retry count reset",
        "failures are not counted over the attempts of a step",
        (Edit("domain.evolve:_step_failed", "work.failures += 1", "work.failures = 1"),),
        quick=True,
    ),
    Mutant(
        "no back-off",
        "the next attempt may begin at once",
        (
            Edit(
                "domain.failure:_retry_at",
                "interval = max(rules.policy.interval_ms(failures, turn.command.entropy), asked)",
                "interval = 0",
            ),
        ),
    ),
    Mutant(
        "what cannot be retried is",
        "an error that is not retryable is retried all the same",
        (Edit("domain.definition.rules:FailureRules.may_retry", "return ", "return True or "),),
    ),
    Mutant(
        "schedule-to-close starts again",
        "every attempt gets the whole of the time that all of them have",
        (
            Edit(
                "domain.failure:schedule_again",
                "close_at=None if isinstance(open, Stuck) else open.timeouts.schedule_to_close_at",
                "close_at=None",
            ),
        ),
    ),
    # Timers ------------------------------------------------------------------------------
    Mutant(
        "timer kept",
        "rows of what is over stay in the table",
        (Edit("engine.draft:Draft.batch", "if row is None]", "if False]"),),
        quick=True,
    ),
    Mutant(
        "timer early",
        "any look at an execution lets its times run out",
        (Edit("domain.deadlines:_past", "limit is not None and limit <= at", "limit is not None"),),
    ),
    Mutant(
        "timer forgotten",
        "what memory has lost of the table is never looked for",
        (Edit("engine.upkeep:Upkeep.scan", "self._loop.look_after(row)", "pass"),),
    ),
    Mutant(
        "timer late",
        "timers are fired when the next scan finds them",
        (Edit("engine.loop:Loop._committed", "self.look_after(row)", "pass"),),
    ),
    Mutant(
        "wait without its time",
        "nothing wakes a wait when its time is over",
        (
            Edit(
                "domain.owed:_of_execution",
                "return None if execution.until is None else Wake(key=key, timer_at=execution.until)",
                "return None",
            ),
        ),
    ),
    # What is owed --------------------------------------------------------------------------
    Mutant(
        "rows of a pause",
        "pausing does not take back what could be handed out",
        (
            Edit(
                "domain.owed:touched",
                'case Paused() | Resumed() | Forked() | StatusChanged(to="completed" | "failed"):',
                'case Forked() | StatusChanged(to="completed" | "failed"):',
            ),
        ),
    ),
    Mutant(
        "rows of a slow step",
        "saying that a step is slow does not change when to look at it again",
        (
            Edit(
                "domain.owed:touched",
                "return frozenset({event.alert_id.removesuffix(SLOW)})",
                "return frozenset()",
            ),
        ),
    ),
    Mutant(
        "pause hands out",
        "steps of a paused instance are handed out",
        (Edit("domain.results:_why_not_claimable", "if turn.state.paused and", "if False and"),),
    ),
    Mutant(
        "deadline not met",
        "reaching its goal does not end a deadline",
        (Edit("domain.deadlines:step_completed", "running is not None and", "False and"),),
    ),
    Mutant(
        "all escalations at once",
        "a deadline escalates before its share of the time has gone",
        (Edit("domain.deadlines:_deadline_due", "if step.at <= turn.at]", "if True]"),),
    ),
    # Undoing -----------------------------------------------------------------------------
    Mutant(
        "undo forwards",
        "what was done first is undone first",
        (Edit("domain.rollback:everything", "*reversed(turn.state.undo)", "*turn.state.undo"),),
        quick=True,
    ),
    Mutant(
        "undo all at once",
        "an undo does not wait for the one before it",
        (Edit("domain.rollback:advance", "if _is_under_way(turn, rollback):", "if False:"),),
    ),
    Mutant(
        "late success not undone",
        "what succeeds after it was given up is left standing",
        (Edit("domain.evolve:_result_ignored", "completed(state,", "(state,"),),
        quick=True,
    ),
    Mutant(
        "success of an earlier attempt forgotten",
        "an attempt that succeeded late, while another was open, is not undone with the rest",
        (Edit("domain.executing:closed", "if not accepted and work.joins_when_over:", "if False:"),),
    ),
    Mutant(
        "rollback beside the work",
        "the final rollback leaves running what was running",
        (Edit("domain.rollback:begin", "turn.cancel_everything(reason)", "pass"),),
    ),
    Mutant(
        "failed undo swallowed",
        "an undo that failed waits for nobody, and nobody hears of it",
        (
            Edit(
                "domain.rollback:undo_failed",
                "turn.emit(\n        AlertRaised(",
                "str(\n        AlertRaised(",
            ),
        ),
    ),
    Mutant(
        "undo counted as done",
        "an undo that an operator gave up counts as undone",
        (Edit("domain.executing:given_up", "state.rollback.failed.append(undoes)", "undone(state, undoes)"),),
    ),
    Mutant(
        "savepoint ignored",
        "a partial rollback does not stop at its savepoint",
        (Edit("domain.steps.compensate:Compensate._chosen", "if entry.version > since]", "]"),),
    ),
    Mutant(
        "named steps ignored",
        "a partial rollback undoes more than the steps that it names",
        (Edit("domain.steps.compensate:Compensate._chosen", "if entry.step in self.steps]", "]"),),
    ),
    Mutant(
        "standing effects not said",
        "an instance that fails with effects standing raises no alert",
        (
            Edit(
                "domain.failure:alert_standing",
                "turn.emit(\n        AlertRaised(",
                "str(\n        AlertRaised(",
            ),
        ),
    ),
    Mutant(
        "used-up attempts not said",
        "a step that has used up its attempts raises no alert",
        (
            Edit(
                "domain.failure:_alert_exhausted",
                "turn.emit(\n        AlertRaised(",
                "str(\n        AlertRaised(",
            ),
        ),
    ),
    # Scopes and maps -------------------------------------------------------------------------
    Mutant(
        "join too early",
        "a scope that waits for all goes on while one is at work",
        (Edit("domain.steps.scope:needed", "return blocks\n", "return max(1, blocks - 1)\n"),),
    ),
    Mutant(
        "last item left out",
        "the last item of a map never begins",
        (Edit("domain.steps.map:Map.begin", "len(scope.blocks))", "len(scope.blocks) - 1)"),),
    ),
    Mutant(
        "all items at once",
        "a map begins more items than it may",
        (
            Edit(
                "domain.steps.map:Map.begin",
                "room = self.max_concurrency - turn.under_way(execution)",
                "room = len(scope.blocks)",
            ),
        ),
    ),
    # Status ------------------------------------------------------------------------------
    Mutant(
        "any status may follow",
        "a wait ends the instance without passing through running",
        (
            Edit("domain.turn:Turn.settle", 'if stored == "waiting" and status == "completed":', "if False:"),
            Edit("domain.turn:Turn.settle", "check_transition(stored, status, reason)", "pass"),
        ),
    ),
    Mutant(
        "running while it waits",
        "an instance with nothing at work says that it is running",
        (
            Edit(
                "domain.turn:Turn._status",
                'return "running" if state.active else "waiting"',
                'return "running"',
            ),
        ),
    ),
    # Projections ---------------------------------------------------------------------------
    Mutant(
        "position outside its transaction",
        "a projection that dies in the middle of a batch has its rows, and not their position",
        (
            Edit(
                "simulation.follower:Follower.catch_up",
                'if self._faults.strikes("follower crash"):\n            return\n',
                'dies = self._faults.strikes("follower crash")\n',
            ),
            Edit(
                "simulation.follower:Follower.catch_up",
                "self.position += len(batch)",
                "self.position += 0 if dies else len(batch)",
            ),
        ),
        quick=True,
    ),
    *OF_CHILDREN,
)
