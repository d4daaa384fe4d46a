"""What answers look like, for the document (docs/reference/openapi.json). The tests compare them with real answers."""

from __future__ import annotations

from typing import Any

ID = "0-019360c2a1f17c3e9b0e5c7d8a4f2b61"
AT = "2026-11-23T12:00:00.000000Z"

DEFINITION_TEXT = """name: order
version: "1"
steps:
  - {id: charge, type: task, action: http:payments/charge, timeout: 30s, compensateWith: refund, next: done}
  - {id: done, type: succeed, result: {paid: true}}
  - {id: refund, type: task, action: http:payments/refund, timeout: 30s}
"""
DEPLOYED = {
    "name": "order",
    "version": "1",
    "hash": "9f2c1f0e",
    "created": True,
    "findings": [],
    "position": 1,
}
DEFINITION: dict[str, Any] = {
    "namespace": "default",
    "name": "order",
    "version": "1",
    "hash": "9f2c1f0e",
    "deployedAt": AT,
    "deployedBy": "ada",
    "source": DEFINITION_TEXT,
    "document": {"name": "order", "version": "1", "steps": []},
    "findings": [],
}
DEFINITION_LINE = {
    key: DEFINITION[key] for key in DEFINITION if key not in ("source", "document", "findings")
}
INSTANCE: dict[str, Any] = {
    "id": ID,
    "namespace": "default",
    "definitionName": "order",
    "definitionVersion": "1",
    "correlationId": "order-17",
    "status": "running",
    "outcome": None,
    "waitingFor": [],
    "businessStatus": "processing_payment",
    "paused": False,
    "currentStep": "charge",
    "completedSteps": [],
    "pendingSteps": ["charge"],
    "completedCompensableSteps": [],
    "nearTimeouts": [],
    "data": {"input": {"orderId": "o-17", "amount": 4200}},
    "lastError": None,
    "error": None,
    "result": None,
    "standing": [],
    "labels": {"tier": "premium"},
    "priority": "normal",
    "version": 3,
    "parent": None,
    "forkedFrom": None,
    "createdAt": AT,
    "startAt": None,
    "startedAt": AT,
    "completedAt": None,
    "timeoutAt": None,
}
FORK = INSTANCE | {"forkedFrom": {"instanceId": ID, "version": 7}, "version": 9}
BATCH: dict[str, Any] = {
    "results": [
        {"instanceId": ID, "result": "done", "status": "running", "version": 8},
        {
            "instanceId": ID,
            "result": "refused",
            "problem": {
                "type": "urn:tenuto:problem:instance-ended",
                "title": "The instance has ended",
                "status": 409,
                "detail": "Instance '0-1' has ended as completed; it cannot be paused any more.",
            },
        },
    ],
    "counts": {"done": 1, "refused": 1},
    "dryRun": False,
    "next": None,
    "position": 4711,
}
SUMMARY: dict[str, Any] = {
    "id": ID,
    "namespace": "default",
    "definitionName": "order",
    "definitionVersion": "1",
    "correlationId": "order-17",
    "status": "waiting",
    "outcome": None,
    "waitingFor": ["signal"],
    "businessStatus": "awaiting_approval",
    "currentStep": "approval",
    "paused": False,
    "priority": "normal",
    "labels": {"tier": "premium"},
    "error": None,
    "result": None,
    "parent": None,
    "version": 12,
    "createdAt": AT,
    "startAt": None,
    "startedAt": AT,
    "completedAt": None,
    "timeoutAt": None,
    "updatedAt": AT,
}
EVENT = {
    "version": 4,
    "type": "StepStarted",
    "at": AT,
    "payload": {"at": AT, "execution": "charge#1", "attempt": 1, "worker": "w1", "token": "…"},
}
EXECUTION = {
    "execution": "charge#1",
    "stepId": "charge",
    "stepName": "Charge the card",
    "kind": "task",
    "status": "completed",
    "version": 3,
    "scheduledAt": AT,
    "attempts": [{"attempt": 1, "scheduledAt": AT, "worker": "w1", "startedAt": AT, "endedAt": AT}],
    "attempt": 1,
    "startedAt": AT,
    "completedAt": AT,
    "durationMs": 31,
    "worker": "w1",
    "input": {"amount": 4200},
    "output": {"paymentId": "p-1"},
}
TRANSITION = {
    "type": "transition",
    "version": 2,
    "from": "pending",
    "to": "running",
    "reason": "started",
    "timestamp": AT,
    "actor": "ada",
}
TRANSITION_LINE = {
    "type": "transition",
    "position": 2,
    "namespace": "default",
    "definition": "order",
    "instanceId": ID,
    "version": 2,
    "from": "pending",
    "to": "running",
    "reason": "started",
    "actor": "ada",
    "timestamp": AT,
}
SIGNALLED = {"signalId": "s-1", "status": "accepted", "instances": [ID]}
TASK = {
    "token": "…",
    "instanceId": ID,
    "execution": "pack#1",
    "step": "pack",
    "action": "worker:warehouse/pack",
    "activity": "pack",
    "attempt": 1,
    "input": {"sku": "a-1"},
    "idempotencyKey": f"{ID}/pack#1",
    "leaseExpiresAt": AT,
    "deadlineAt": AT,
    "heartbeatMs": 20000,
    "progress": None,
    "priority": "normal",
    "traceparent": None,
    "timeoutMs": 30000,
    "retryPolicy": {
        "maxAttempts": 3,
        "initialIntervalMs": 1000,
        "backoffCoefficient": 2.0,
        "maxIntervalMs": 60000,
        "nonRetryableErrors": [],
    },
}
PROGRESS = {
    "name": "instances",
    "condition": "following",
    "position": 4711,
    "lagEvents": 0,
    "lagMs": 0,
    "rebuilding": False,
    "problem": None,
}
COMPARISON = {
    "equal": True,
    "position": 4711,
    "live": 300,
    "rebuilt": 300,
    "onlyLive": 0,
    "onlyRebuilt": 0,
    "sample": [],
}
UNDO_PLAN: dict[str, Any] = {
    "version": 7,
    "steps": [
        {
            "execution": "charge#1",
            "step": "charge",
            "undoStep": "refund",
            "undo": "charge#1/undo",
            "version": 5,
            "input": {"amount": 4200},
            "output": {"paymentId": "p-1"},
            "undoInput": {"paymentId": "p-1"},
            "problem": None,
        }
    ],
    "standing": [{"execution": "mail#1", "step": "mail"}],
    "mayJoin": [{"execution": "ship#1", "step": "ship", "undoStep": "unship", "why": "running"}],
}
WHY: dict[str, Any] = {
    "instanceId": ID,
    "status": "running",
    "paused": False,
    "version": 7,
    "summary": f"no worker polls queue warehouse since {AT}",
    "causes": [
        {
            "code": "no-worker",
            "message": f"no worker polls queue warehouse since {AT}",
            "since": AT,
            "execution": "pack#1",
            "step": "pack",
            "details": {"queue": "warehouse", "polledAt": AT, "ready": 1},
            "moves": [{"what": "start a worker", "command": "tenuto worker MODULE --queue warehouse"}],
        }
    ],
    "at": AT,
}
DIFF: dict[str, Any] = {
    "from": {"version": 4, "at": AT},
    "to": {"version": 5, "at": AT},
    "changes": [{"op": "add", "path": "$.data.charge", "after": {"paymentId": "p-1"}}],
    "moreChanges": False,
    "events": [{"version": 5, "type": "StepCompleted", "at": AT}],
    "moreEvents": 0,
}
REPLAY: dict[str, Any] = {
    "equal": True,
    "version": 7,
    "differences": [],
    "problems": [],
    "projections": [{"projection": "instances", "position": 4711, "rows": 1, "sample": []}],
}
VERIFIED: dict[str, Any] = {
    "checked": 1,
    "events": 14,
    "failed": [
        {
            "instance": ID,
            "events": 14,
            "problems": [{"check": "owed", "message": "the rows of ship#1 are not what the log implies"}],
        }
    ],
    "next": None,
}
WHAT_IF: dict[str, Any] = {
    "definition": "order",
    "judged": 3,
    "events": 42,
    "same": 1,
    "diverged": 2,
    "needsResult": 0,
    "unreadable": 0,
    "changedInputs": 0,
    "changedResults": 0,
    "groups": [
        {
            "went": "diverged",
            "step": "choose",
            "recorded": "choose goes on to approve",
            "now": "choose goes on to review",
            "count": 2,
            "examples": [
                {"instance": ID, "version": 5, "why": "`$.amount > 500` holds ($.amount = 700)"},
            ],
        }
    ],
    "next": None,
}
REASON = {"reason": "the customer called", "actor": "ada"}
QUEUE = {
    "queue": "warehouse",
    "depth": 12,
    "oldestAt": AT,
    "running": 4,
    "sessions": 2,
    "taken": 311,
    "latencyP50Ms": 9,
    "latencyP99Ms": 128,
    "pollers": 0,
}
POOL = {
    "name": "warehouse",
    "queue": "warehouse",
    "minInstances": 2,
    "maxInstances": 20,
    "scaleMetric": "queue_depth",
    "scaleThreshold": 100.0,
    "value": 12,
    "desiredInstances": 2,
}
ALERT: dict[str, Any] = {
    "id": f"{ID}/charge#1/failed",
    "severity": "high",
    "workflow": "order",
    "instanceId": ID,
    "step": "charge",
    "error": {"type": "ServiceUnavailableError", "message": "try again"},
    "retryCount": 5,
    "action": "pause",
    "message": "charge failed after 5 attempts: manual intervention may be required",
    "raisedAt": AT,
    "acknowledgedAt": None,
    "acknowledgedBy": None,
    "acknowledgedBecause": None,
    "position": 4702,
}
WAIT = {
    "instanceId": ID,
    "execution": "approval#1",
    "definition": "order",
    "step": "approval",
    "waitingFor": "signal",
    "signal": "approval",
    "correlationKey": "order-17",
    "until": AT,
    "since": AT,
}
DEADLINE: dict[str, Any] = {
    "instanceId": ID,
    "name": "delivered",
    "definition": "order",
    "standing": "open",
    "setAt": AT,
    "dueAt": AT,
    "escalated": 80,
    "endedAt": None,
}
STATISTICS: dict[str, Any] = {
    "version": "1",
    "started": 100,
    "byStatus": {"completed": 97, "running": 3},
    "byOutcome": {"succeeded": 95, "compensated": 2},
    "duration": {"p50Ms": 431, "p90Ms": 1024, "p99Ms": 2896},
    "steps": [
        {
            "step": "charge",
            "scheduled": 100,
            "completed": 98,
            "failed": 1,
            "retried": 4,
            "compensated": 2,
            "undoFailed": 0,
            "failureRate": 0.01,
            "retryRate": 0.04,
            "compensationRate": 0.02,
            "duration": {"p50Ms": 54, "p90Ms": 76, "p99Ms": 182},
        }
    ],
}
