"""Every limit of the domain, named once: what is larger is refused with a type, never cut short in silence.

A limit here protects whoever shares the engine with the sender: a payload is read by every projection, an
expression is evaluated inside the loop that serves everybody. Raising one is a decision, not a setting.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

# JSON that crosses a border: one step's input or output, one signal, one HTTP body.
MAX_PAYLOAD_BYTES: Final = 256 * KIB
MAX_BODY_BYTES: Final = 1024 * KIB
MAX_DEPTH: Final = 64
# What a PostgreSQL bigint and every JSON reader of the feed can hold.
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

# Definitions.
MAX_DEFINITION_BYTES: Final = 1024 * KIB
MAX_DURATION_MS: Final = 3650 * 24 * 60 * 60 * 1000
# A child of a child of a child: the instances above it.
MAX_CHILD_DEPTH: Final = 100
# Of one map. They all begin in one command unless `maxConcurrency` says otherwise.
MAX_ITEMS: Final = 10_000

# Steps entered by one command in one scope, or for one item: more of them loop without ever waiting for anything.
# And in all: maps inside maps multiply.
MAX_ENTRIES: Final = 1_000
MAX_ENTRIES_IN_ALL: Final = 100_000

# What one command writes: each of a map's steps may be told the whole input. Its first events are not weighed.
MAX_COMMAND_BYTES: Final = 32 * 1024 * KIB
UNWEIGHED_EVENTS: Final = 100

# What the conditions of one command look through, in values: each item of a map may ask all the others. Those of its
# first steps are not weighed.
MAX_COMMAND_LOOKS: Final = 20_000_000
UNWEIGHED_LOOKS: Final = 100

# What a template makes: it may name a large value many times, and a loop may feed its result to it again.
MAX_VALUE_BYTES: Final = MAX_BODY_BYTES
MAX_VALUE_DEPTH: Final = 2 * MAX_DEPTH

# Expressions: they run inside the engine's loop, so their worst case is bounded when they are compiled.
MAX_EXPRESSION_LENGTH: Final = 2000
MAX_EXPRESSION_OPERATORS: Final = 100
MAX_EXPRESSION_FILTERS: Final = 8
MAX_FILTER_NESTING: Final = 2
MAX_QUERY_FANOUT: Final = 16
MAX_PATTERN_LENGTH: Final = 256
MAX_PATTERN_PROGRAM_BYTES: Final = 1024 * KIB
