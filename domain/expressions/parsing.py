"""Text to syntax tree: RFC 9535 by the parser of `jsonpath-rfc9535`, and what it lets slip through refused.

Only the parser of that library is used; its own evaluator is twenty times slower than `queries.py`. Positions
in errors are offsets from 0 into the text the author wrote, not into the query it is wrapped in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from jsonpath_rfc9535 import JSONPathEnvironment
from jsonpath_rfc9535.exceptions import JSONPathError
from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterExpression,
    FilterQuery,
    FunctionExtension,
    LogicalExpression,
    PrefixExpression,
)
from jsonpath_rfc9535.lex import RE_PROPERTY, Lexer
from jsonpath_rfc9535.query import JSONPathQuery
from jsonpath_rfc9535.selectors import FilterSelector
from jsonpath_rfc9535.tokens import Token, TokenStream, TokenType

from domain.errors import ExpressionError
from domain.limits import MAX_EXPRESSION_FILTERS, MAX_EXPRESSION_LENGTH, MAX_EXPRESSION_OPERATORS

_ENVIRONMENT: Final = JSONPathEnvironment()
# The library's own pattern leaves out U+1100 to U+D7FF after the first character (RFC 9535, name-char).
_NAME_FIRST: Final = r"A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff"
_NAME: Final = re.compile(rf"[{_NAME_FIRST}][0-9{_NAME_FIRST}]*")
_COMPARISONS: Final = frozenset(
    {TokenType.EQ, TokenType.NE, TokenType.LT, TokenType.LE, TokenType.GT, TokenType.GE}
)
# Each of these is a level of recursion in the parser, which is right-recursive even for `a && b && c`.
_OPERATORS: Final = _COMPARISONS | {
    TokenType.AND,
    TokenType.OR,
    TokenType.NOT,
    TokenType.LPAREN,
    TokenType.FUNCTION,
}
_WRAPPER: Final = "$[?"
_HINTS: Final = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "write == to compare"),
    (re.compile(r"===|!=="), "write == or !="),
    (re.compile(r"(?i)(?<=\s)and(?=\s)"), "write && for and"),
    (re.compile(r"(?i)(?<=\s)or(?=\s)"), "write || for or"),
    (re.compile(r"(?i)^\s*not(?=\s)"), "write ! for not"),
    (re.compile(r"!\s*[$@][^\s=!<>&|]*\s*(?:[=!]=|[<>])"), "write !(…) around a comparison"),
    (re.compile(r"[=<>]\s*(?!(?:true|false|null)\b|\w+\()[A-Za-z_]"), "text stands in quotes"),
)
_STRINGS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,4})?")
_MAX_NUMBER_LENGTH: Final = 40


@dataclass(frozen=True, slots=True)
class Source:
    """The text an expression was written as, and how many characters of wrapping stand before it."""

    text: str
    shift: int = 0

    def refusal(self, message: str, token: Token | None = None) -> ExpressionError:
        """Return the error at `token`, or at the end of the text for a token that lies beyond it."""
        if token is None:
            position = 0
        elif token.index < 0:
            position = len(self.text)
        else:
            position = min(max(token.index - self.shift, 0), len(self.text))
        bare = _STRINGS.sub("''", self.text)
        hint = next((f"; {hint}" for pattern, hint in _HINTS if pattern.search(bare)), "")
        return ExpressionError(message=message + hint, position=position, expression=self.text)


def parse_query(text: str) -> tuple[JSONPathQuery, Source]:
    """Parse a whole RFC 9535 query, singular or not."""
    source = Source(text)
    return _parse(text, source), source


def parse_logical(text: str) -> tuple[Expression, Source]:
    """Parse exactly one RFC 9535 logical-expr: what may stand inside `$[? … ]`.

    The wrapping is why the tree is looked at: `$.a == 1, 0` and `$.a]['b'` would parse, as something else.
    """
    source = Source(text, shift=len(_WRAPPER))
    query = _parse(f"{_WRAPPER}{text}]", source)
    if len(query.segments) != 1:
        early = query.segments[1].token
        raise source.refusal(
            "a condition is one logical expression; this one closes a bracket too early", early
        )
    selectors = query.segments[0].selectors
    if len(selectors) != 1:
        raise source.refusal("a condition is one logical expression, without a comma", selectors[1].token)
    (only,) = selectors
    if not isinstance(only, FilterSelector):
        raise source.refusal("a condition is a logical expression, such as $.total > 100")
    return only.expression.expression, source


def _parse(query: str, source: Source) -> JSONPathQuery:
    if len(source.text) > MAX_EXPRESSION_LENGTH:
        raise source.refusal(f"the expression is longer than {MAX_EXPRESSION_LENGTH} characters")
    try:
        tokens = _tokens(query, source)
        return JSONPathQuery(env=_ENVIRONMENT, segments=tuple(_ENVIRONMENT.parser.parse(TokenStream(tokens))))
    except JSONPathError as error:
        # One kind of error of the library's carries its token as an argument only.
        token = error.token or next((part for part in error.args if isinstance(part, Token)), None)
        raise source.refusal(_plain(str(error.args[0])), token) from error
    except (KeyError, IndexError, UnicodeEncodeError) as error:
        # How the parser fails on some malformed texts: it looks tokens up in tables, characters by index, and
        # encodes the digits of an escape.
        raise ExpressionError(message="it is malformed", position=0, expression=source.text) from error


def _plain(problem: str) -> str:
    """Say what the parser found in the author's words, not in the parser's."""
    if problem.startswith("expected 'COMMA'"):
        return "the expression should end here, or go on with && or ||"
    return re.sub(r" (?:starting )?at index \d+$", "", problem.replace(" filter selector token", ""))


class _Lexer(Lexer):
    """The library's lexer, with names as RFC 9535 spells them."""

    __slots__ = ()

    def accept_match(self, pattern: re.Pattern[str]) -> bool:
        return super().accept_match(_NAME if pattern is RE_PROPERTY else pattern)


def _tokens(query: str, source: Source) -> list[Token]:
    lexer = _Lexer(query)
    lexer.run()
    tokens = lexer.tokens
    error = tokens[-1] if tokens and tokens[-1].type_ is TokenType.ERROR else None
    if error and (error.message != "unbalanced brackets" or not lexer.bracket_stack):
        raise source.refusal(_plain(error.message or "unexpected text"), error)
    if lexer.bracket_stack:
        bracket, index = lexer.bracket_stack[-1]
        raise source.refusal(f"{bracket!r} is never closed", Token(TokenType.ERROR, bracket, index, query))
    if sum(token.type_ in _OPERATORS for token in tokens) > MAX_EXPRESSION_OPERATORS:
        raise source.refusal(f"the expression has more than {MAX_EXPRESSION_OPERATORS} operators")
    if sum(token.type_ is TokenType.FILTER for token in tokens) > MAX_EXPRESSION_FILTERS:
        raise source.refusal(f"the expression has more than {MAX_EXPRESSION_FILTERS} filters")
    for token in tokens:
        if token.type_ in (TokenType.INT, TokenType.FLOAT):
            _check_number(token, source)
    _refuse_parenthesised_operands(tokens, source)
    return tokens


def _check_number(token: Token, source: Source) -> None:
    """Refuse what RFC 9535 does not spell as a number (`-01`) and what no reader of JSON holds (`1e400`)."""
    if not _NUMBER.fullmatch(token.value):
        raise source.refusal(f"{token.value!r} is no number", token)
    if len(token.value) > _MAX_NUMBER_LENGTH or not math.isfinite(float(token.value)):
        raise source.refusal(f"the number {token.value!r} is out of range", token)


def _refuse_parenthesised_operands(tokens: list[Token], source: Source) -> None:
    """Refuse `($.a) == 1`, which the parser reads as `$.a == 1`; RFC 9535 groups logical expressions only."""
    groups: list[bool] = []
    for token, following in pairwise(tokens):
        if token.type_ in (TokenType.LPAREN, TokenType.FUNCTION):
            groups.append(token.type_ is TokenType.LPAREN)
        closes_group = token.type_ is TokenType.RPAREN and bool(groups) and groups.pop()
        if (closes_group and following.type_ in _COMPARISONS) or (
            token.type_ in _COMPARISONS and following.type_ is TokenType.LPAREN
        ):
            raise source.refusal("a compared value cannot stand in parentheses", following)


def queries_in(expression: Expression) -> Iterator[FilterQuery]:
    """Yield the queries an expression asks, not those inside their filters."""
    if isinstance(expression, FilterQuery):
        yield expression
    elif isinstance(expression, LogicalExpression | ComparisonExpression):
        yield from queries_in(expression.left)
        yield from queries_in(expression.right)
    elif isinstance(expression, PrefixExpression):
        yield from queries_in(expression.right)
    elif isinstance(expression, FunctionExtension):
        for argument in expression.args:
            yield from queries_in(argument)
    elif isinstance(expression, FilterExpression):
        yield from queries_in(expression.expression)


def filters_in(query: JSONPathQuery) -> Iterator[Expression]:
    """Yield the filter expressions of a query's own segments."""
    for segment in query.segments:
        for selector in segment.selectors:
            if isinstance(selector, FilterSelector):
                yield selector.expression.expression
