"""Sentences that try a tokeniser and an encoder from many sides."""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "A cat sleeps on the warm sofa.",
    "",
    " \t\n ",
    "Zoë's naïve café résumé — déjà vu, Ångström & señor!",
    "iPHONE users in NEW YORK love OpenSSL; so DO i.",
    "Order 66 cost $1,299.99 (+8.25% tax) on 2026-02-29, i.e. never.",
    "東京は日本の首都です。 北京 is the capital of 中国。",
    "Привет, мир! Καλημέρα κόσμε. 안녕하세요 세계.",
    "Wait... what?! \"No\", she said: 'it's 5 o'clock'; [brackets] {braces} <tags> a/b\\c ^_^ `x`",
    "e\u0301 is e with an accent; \u200bzero\u200bwidth\u00adhyphens and\u00a0hard spaces.",
    "emoji 🙂🚀 and symbols ∑∞≈ℵ beyond ASCII",
    "pneumonoultramicroscopicsilicovolcanoconiosis " + "x" * 120 + " end",
    " ".join(
        f"Sentence number {number} of a text that is much longer than the model may read."
        for number in range(40)
    ),
    "?",
)
