"""Streams of which the beginning and the end are kept."""

from __future__ import annotations

import tracemalloc

from layerpack.bounded import Bounded


def test_what_fits_is_all_there() -> None:
    bounded = Bounded(8)
    for piece in (b"0123", b"456789", b"\xffabcde"):
        bounded.extend(piece)
    assert bounded.text == "0123456789\ufffdabcde"
    bounded.clear()
    assert bounded.text == ""


def test_lines_between_the_beginning_and_the_end_are_left_out_and_counted() -> None:
    bounded = Bounded(1000)
    rows = [f"line {number:04}\n" for number in range(1000)]
    for row in rows:
        bounded.extend(row.encode())
    lines = bounded.text.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("["))
    assert lines[:at] == rows[:at] and at == 100
    assert lines[at + 1 :] == rows[-(len(lines) - at - 1) :]
    left_out = 10 * (len(rows) - len(lines) + 1)
    assert lines[at] == f"[{left_out:,} bytes are left out here]\n"
    assert 1900 <= len(bounded.text) <= 2300


def test_a_stream_without_lines_is_cut_anywhere() -> None:
    bounded = Bounded(10)
    for _ in range(100):
        bounded.extend(b"abcdef")
    head, note, tail = bounded.text.split("\n")
    assert head == "abcdefabcd" and "bytes are left out" in note and tail.endswith("abcdef")


def test_memory_is_bounded() -> None:
    piece = b"x" * 65535 + b"\n"
    bounded = Bounded(1 << 20)
    tracemalloc.start()
    for _ in range(1000):
        bounded.extend(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
