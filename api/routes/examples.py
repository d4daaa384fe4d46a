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
    "createdAt": AT,
    "startAt": None,
    "startedAt": AT,
    "completedAt": None,
    "timeoutAt": None,
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
UNDO = {
    "execution": "charge#1",
    "step": "charge",
    "undoStep": "refund",
    "version": 5,
    "input": {"amount": 4200},
    "output": {"paymentId": "p-1"},
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
