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
