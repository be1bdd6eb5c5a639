"""What a build tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """Sinks for progress and messages: `step` gets a stage that starts, `progress(done, total)` its
    progress, `output` each line that a tool prints, `note` details, `say` a choice that was made,
    `warn` warnings."""

    step: Callable[[str], None] = field(default=lambda text: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    output: Callable[[str], None] = field(default=lambda line: None)
    note: Callable[[str], None] = field(default=lambda text: None)
    say: Callable[[str], None] = field(default=lambda text: None)
    warn: Callable[[str], None] = field(default=lambda text: None)
