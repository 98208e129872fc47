"""Names that people give to things: one line that shows what it is. Pure."""

from __future__ import annotations

from gpuagent.protocol.recipe import FieldProblem

# They join or part letters (in Persian, in many emoji) and are seen by what they do.
_JOINERS = str.maketrans("", "", "\u200c\u200d")


def name_problems(name: str, most: int) -> list[FieldProblem]:
    """What is wrong with a name, blanks at its ends cut off; nothing if it can be.

    What cannot be seen could make one name look like another, or turn the text around it.
    """
    if not 1 <= len(name) <= most:
        message = f"The name has {len(name)} characters; give it 1 to {most}."
        return [_problem("length", message, value=len(name), limit=[1, most])]
    if not name.translate(_JOINERS).isprintable():
        return [_problem("characters", "The name holds a character that cannot be seen.")]
    return []


def _problem(
    code: str, message: str, *, value: object = None, limit: object = None
) -> FieldProblem:
    return FieldProblem(field="name", code=code, message=message, value=value, limit=limit)
