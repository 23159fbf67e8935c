"""Tables for the documents in the tree."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """The first of `rows` as the head of a Markdown table, the others below; no final newline."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
