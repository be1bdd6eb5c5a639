"""The error tree: one exit code a class, one message that says what happened and what to do.

A user's mistake is always one of these; anything else that reaches the command line is a bug
(exit code 1).
"""

from __future__ import annotations

from typing import ClassVar


class LayerpackError(Exception):
    """An error with a message for the user.

    `message` says what happened and to which file or key; `hint` says what to do next (it may be
    empty where the message already tells).
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(LayerpackError):
    """The command line asks for what cannot be: a missing folder, options that exclude."""

    exit_code = 2


class LimitError(LayerpackError):
    """A build came out complete, but over one of Lambda's limits or a budget."""

    exit_code = 3


class RecipeError(LayerpackError):
    """The recipe, or a file that it names, is not valid."""

    exit_code = 4


class ResolveError(LayerpackError):
    """Requirements cannot be resolved, or a file cannot be downloaded or is not what was locked."""

    exit_code = 5


class BuildToolError(LayerpackError):
    """A tool of the build (interpreter, compiler, script, disk) is missing or failed."""

    exit_code = 6


class VerificationError(LayerpackError):
    """What was built would not work: a library that the runtime cannot load, a check that fails."""

    exit_code = 7


class PublishError(LayerpackError):
    """Sending layers to AWS failed."""

    exit_code = 8
