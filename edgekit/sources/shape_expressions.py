"""Expressions of shapes in exported programs, which torch hands to sympy, which evaluates them as Python."""

from __future__ import annotations

import ast
import re

_LONGEST, _LARGEST, _POWER, _POWERS = 4000, 2**63, 8, 4
_SYMBOL = re.compile(r"[a-z]{1,6}\d{1,9}")
_FUNCTIONS = {
    "Symbol",
    "Integer",
    "Rational",
    "Float",
    "Add",
    "Mul",
    "Pow",
    "Max",
    "Min",
    "Equality",
    "Unequality",
    "Eq",
    "Ne",
    "StrictLessThan",
    "StrictGreaterThan",
    "LessThan",
    "GreaterThan",
    "And",
    "Or",
    "Not",
    "FloorDiv",
    "ModularIndexing",
    "Where",
    "PythonMod",
    "Mod",
    "CleanDiv",
    "CeilDiv",
    "CeilToInt",
    "FloorToInt",
    "TruncToInt",
    "TruncToFloat",
    "RoundToInt",
    "ToFloat",
    "FloatTrueDiv",
    "IntTrueDiv",
    "Identity",
    "ceiling",
    "floor",
}
_CONSTANTS = {"true", "false"}
_KEYWORDS = {"positive", "integer", "nonnegative", "real", "finite", "precision"}
_OPERATORS = (
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.USub,
    ast.UAdd,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
)


def check_expression(text: object) -> None:
    """Raises ValueError for anything but sums, products and the like of symbols and small numbers."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError("is no short text")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("is no expression") from error
    strings: set[int] = set()  # those that name a symbol
    powers = 0  # of a power of a power, few digits may become millions
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _check_call(node, strings)
            powers += isinstance(node.func, ast.Name) and node.func.id == "Pow"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            _check_power(node.right)
            powers += 1
    if powers > _POWERS:
        raise ValueError("has too many powers")
    for node in ast.walk(tree):
        if not _harmless(node, strings):
            raise ValueError(f"holds {type(node).__name__}, which no shape needs")


def _check_call(node: ast.Call, strings: set[int]) -> None:
    if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
        raise ValueError("calls something else than a function of shapes")
    if any(k.arg not in _KEYWORDS for k in node.keywords):
        raise ValueError("passes an argument that no shape needs")
    if node.func.id == "Pow" and len(node.args) == 2:
        _check_power(node.args[1])
    if node.func.id in ("Symbol", "Float") and node.args:
        first = node.args[0]
        text = first.value if isinstance(first, ast.Constant) else None
        pattern = _SYMBOL if node.func.id == "Symbol" else re.compile(r"[-0-9.e]{1,40}")
        if not isinstance(text, str) or not pattern.fullmatch(text):
            raise ValueError("has a symbol with an odd name")
        strings.add(id(first))


def _check_power(node: ast.expr) -> None:
    if isinstance(node, ast.Call) and len(node.args) == 1:  # Integer(2)
        node = node.args[0]
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    if not (isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value <= _POWER):
        raise ValueError("has a power that may be large")


def _harmless(node: ast.AST, strings: set[int]) -> bool:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return id(node) in strings
        return isinstance(node.value, (bool, int, float)) and abs(node.value) <= _LARGEST
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS | _CONSTANTS or _SYMBOL.fullmatch(node.id) is not None
    kinds = (ast.Expression, ast.Call, ast.keyword, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Pow, *_OPERATORS)
    return isinstance(node, kinds)
