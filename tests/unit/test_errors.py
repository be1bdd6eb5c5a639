"""The error tree: the documented exit codes, and messages with a next step."""

from __future__ import annotations

from layerpack import errors


def test_each_class_has_its_documented_exit_code() -> None:
    codes = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LayerpackError)
    }
    assert codes == {
        "LayerpackError": 1,
        "UsageError": 2,
        "LimitError": 3,
        "RecipeError": 4,
        "ResolveError": 5,
        "BuildToolError": 6,
        "VerificationError": 7,
        "PublishError": 8,
    }


def test_the_text_is_the_message_and_then_the_hint() -> None:
    assert str(errors.UsageError("no such folder")) == "no such folder"
    assert str(errors.UsageError("no such folder", "Make it.")) == "no such folder\nMake it."
