"""What a build tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """Who is told what: `step` a stage that starts, `progress(done, total)` how
    far it is, `output` each line that a tool prints, `note` what may interest, `say` a choice that
    was made, `warn` what the user should know."""

    step: Callable[[str], None] = field(default=lambda text: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    output: Callable[[str], None] = field(default=lambda line: None)
    note: Callable[[str], None] = field(default=lambda text: None)
    say: Callable[[str], None] = field(default=lambda text: None)
    warn: Callable[[str], None] = field(default=lambda text: None)
