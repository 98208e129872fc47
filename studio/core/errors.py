"""Errors are classes with a code and data; the sentence is made from the data.

Each becomes one RFC 9457 problem on the API and one sentence on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from gpuagent.protocol.recipe import FieldProblem


class StudioError(Exception):
    """Base: `code` names it for programs, `template` makes the sentence, `status` is HTTP's."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    template: ClassVar[str] = "Something is wrong with this request."

    def __init__(self, **data: object) -> None:
        self.data = data
        super().__init__(self.code)

    @property
    def message(self) -> str:
        """The sentence for people."""
        return self.template.format(**self.data)

    @property
    def problems(self) -> Sequence[FieldProblem]:
        """Field by field, where there are fields."""
        return ()


class InvalidInputError(StudioError):
    """One or more fields are wrong; nothing was done."""

    code = "input.invalid"
    status = 422

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__()
        self._problems = tuple(problems)

    @property
    @override
    def message(self) -> str:
        if len(self._problems) == 1:
            return self._problems[0].message
        return f"{len(self._problems)} settings need a change."

    @property
    @override
    def problems(self) -> Sequence[FieldProblem]:
        return self._problems


def invalid(
    field: str, code: str, message: str, value: object = None, limit: object = None
) -> InvalidInputError:
    """The error of one wrong field."""
    problem = FieldProblem(field=field, code=code, message=message, value=value, limit=limit)
    return InvalidInputError([problem])


class NotFoundError(StudioError):
    """The object does not exist, or the actor may not know that it does."""

    code = "not_found"
    status = 404
    template = "There is no {noun} with this id here."


class ForbiddenError(StudioError):
    """The actor sees the object but may not do this."""

    code = "forbidden"
    status = 403
    template = "Your role does not allow this ({permission}). Ask an admin of the organization."


class UnauthenticatedError(StudioError):
    """Nobody is signed in, or the token is not valid."""

    code = "unauthenticated"
    status = 401
    template = "Sign in, or send a valid API token as `Authorization: Bearer …`."


class SessionExpiredError(StudioError):
    """The organization ends sessions earlier than the browser would."""

    code = "session.expired"
    status = 401
    template = "{organization} ends sessions after {hours} h. Sign in again; nothing else is lost."


class SecondFactorRequiredError(StudioError):
    """The organization lets nobody in who has a password alone."""

    code = "second_factor.required"
    status = 403
    template = (
        "{organization} asks for a second factor. Add an authenticator app or a passkey "
        "under Settings, Security."
    )


class SignOnRequiredError(StudioError):
    """The organization's members come in by its single sign-on alone."""

    code = "sign_on.required"
    status = 403
    template = "{organization} asks its members to sign in with {provider}."


class SignOnElsewhereError(StudioError):
    """What opens one organization does not open another one of the same person."""

    code = "sign_on.elsewhere"
    status = 403
    template = (
        "You came in by the single sign-on of another organization, which does not open "
        "{organization}. Sign out, then sign in with your password or its own single sign-on."
    )


class SignOnEndedError(StudioError):
    """The single sign-on that opened this session is switched off, removed or another one now."""

    code = "sign_on.ended"
    status = 401
    template = "The single sign-on that you came in by does not hold any more. Sign in again."


class SignOnFailedError(StudioError):
    """The identity provider's answer does not let this person in; `why` says what to do."""

    code = "sign_on.failed"
    status = 403
    template = "{why}"


class ConflictError(StudioError):
    """The request was right once, but not any more."""

    code = "conflict"
    status = 409
    template = "{what}"


class BodyTooLargeError(StudioError):
    """More bytes than this address takes."""

    code = "body.too_large"
    status = 413
    template = "This is too large: {sent} were sent, and at most {limit} can be taken here."


class BodyTooSlowError(StudioError):
    """The body came so slowly that somebody must be holding the line."""

    code = "body.too_slow"
    status = 408
    template = "After {seconds} seconds only {received} had arrived. Try again on a faster line."


class TooManyRequestsError(StudioError):
    """More requests in a time than its sender may make."""

    code = "throttled"
    status = 429
    template = (
        "More than {limit} requests came within {period} seconds from this {sender}. "
        "Try again in {retry_after} seconds."
    )


class RedisAwayError(StudioError):
    """What cannot be done without Redis: counting tries to sign in, waiting for news."""

    code = "redis.away"
    status = 503
    template = "A part of the studio (Redis) does not answer. Try again in a moment."


class StoreFullError(StudioError):
    """No room for one more file."""

    code = "store.full"
    status = 507
    template = "The store has no room left, so nothing was saved. Free some disk and try again."


class BusyError(StudioError):
    """Too much of the same is going on; a moment later there is room."""

    code = "busy"
    status = 503
    template = "{what} Try again in a moment."


class AboveError(StudioError):
    """An admin reached for an owner."""

    code = "member.above"
    status = 403
    template = "Only an owner may make somebody owner, or change or remove an owner."


class LastOwnerError(StudioError):
    """Without this one, nobody could lead the organization."""

    code = "member.last_owner"
    status = 409
    template = (
        "An organization needs an owner, and this is the last. Make somebody else owner first."
    )


class InvitationEndedError(StudioError):
    """Expired, revoked, used, or never sent: a stranger is not told which."""

    code = "invitation.ended"
    status = 404
    template = "This invitation does not hold any more. Ask who invited you for a new one."


class SomebodyElseError(StudioError):
    """The invitation is for another address than that of who is signed in."""

    code = "invitation.somebody_else"
    status = 403
    template = "This invitation is for somebody else. Sign out, then open the link again."


class LettersTooOftenError(StudioError):
    """More letters to one address than anybody wants to get."""

    code = "invitation.too_often"
    status = 429
    template = (
        "{sent} invitations went to this address within an hour; {limit} are allowed. "
        "The next can go in {minutes} minutes."
    )


class JoinRefusedError(StudioError):
    """The join token was one, but lets no machine into the fleet any more."""

    code = "join.refused"
    status = 403
    template = "This join token {reason}. Ask an operator of the studio for a new one."
