# /// script
# dependencies = ["py-mini-racer"]
# ///
# mypy: ignore-errors
"""PyMiniRacer: V8 evaluates an expression."""

from py_mini_racer import MiniRacer

CONTEXT = MiniRacer()


def handler(event, context):
    """A list that JavaScript makes."""
    text = CONTEXT.eval(f"[1, 2, 3].map(x => x * {event['n']}).join()")
    return {"statusCode": 200, "body": text}
