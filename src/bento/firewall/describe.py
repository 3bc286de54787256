"""The rule tables in words: Markdown for the documentation, straight from the code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bento.firewall.permissions import PERMISSIONS
from bento.firewall.rules import COMMANDS, EVENTS, FEATURES, INFO, OPTIONS


def rule_tables() -> str:
    """Every table of the firewall, each under its heading."""
    return "\n\n".join(
        f"### {heading}\n\n{table}"
        for heading, table in (
            ("Permissions", _permissions()),
            ("Commands", _commands()),
            ("Keys", _keys()),
            ("Events", _events()),
            ("Options", _options()),
        )
    )


def _permissions() -> str:
    rows = (
        (_code(p.name), p.grants, p.counts, str(p.usual or ""), str(p.most or ""))
        for p in PERMISSIONS.values()
    )
    return _table(("permission", "lets a function", "its number", "usual", "most"), rows)


def _commands() -> str:
    rows = (
        (_code(rule.name), rule.fate.value, _code(rule.permission), rule.note)
        for rule in COMMANDS.values()
    )
    return _table(("command", "fate", "needs", "scope, or why not"), rows)


def _keys() -> str:
    rows = (
        (
            _code(rule.key + rule.argument),
            rule.source.value,
            _code(rule.permission),
            str(rule.cost) if rule.permission == "directory" else "",
        )
        for rule in INFO
    )
    return _table(("GETINFO key", "answered by", "needs", "look-ups it counts as"), rows)


def _events() -> str:
    rows = ((_code(rule.name), _code(rule.permission), rule.note) for rule in EVENTS.values())
    return _table(("event", "needs", "about"), rows)


def _options() -> str:
    rows = [
        (_code(f"GETCONF {name}"), "unset" if value is None else _code(value))
        for name, value in OPTIONS.items()
    ]
    rows.append((_code("USEFEATURE"), ", ".join(_code(name) for name in sorted(FEATURES))))
    return _table(("asked", "answer"), rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
