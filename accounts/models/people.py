"""Users, organizations, memberships, teams.

User, Organization and Membership are read before any scope exists (they decide which one opens),
so their managers are plain; `accounts.selectors` is the only reader.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

from accounts.roles import Role
from studio.core.ids import IdField
from studio.core.keys import new_wrapped_key
from studio.core.scoping import ScopedManager


class UserManager(BaseUserManager["User"]):
    """Makes users from an e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:  # noqa: ANN401  # Django's signature
        """A user with a hashed password (or none: they must use single sign-on)."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person, known by e-mail address, who may belong to several organizations.

    A service account is one, too: it belongs to one organization, has no password and acts
    through API tokens alone. An operator runs the installation: its machines, for everybody.
    """

    id = IdField(prefix="usr")
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_service = models.BooleanField(default=False)
    is_operator = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_ci")]

    @property
    def shown_name(self) -> str:
        """The name, or the address of who has given none."""
        return self.name or self.email


class Organization(models.Model):
    """The tenant: isolation, keys and money end here.

    Its key seals what belongs to no workspace. `session_hours` is how long its members stay
    signed in at most; None leaves it to the installation.
    """

    id = IdField(prefix="org")
    name = models.CharField(max_length=120)
    wrapped_key = models.BinaryField(default=new_wrapped_key)
    requires_second_factor = models.BooleanField(default=False)
    session_hours = models.PositiveIntegerField(null=True)
    requires_sign_on = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    under_master_key: ClassVar[tuple[str, ...]] = ("wrapped_key",)


class Membership(models.Model):
    """A user in an organization, with a role."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=16, choices=[(r.value, r.value) for r in Role])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "organization"], name="membership_once")
        ]


class Team(models.Model):
    """Members who are let into workspaces together."""

    id = IdField(prefix="tea")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="teams")
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint("organization", Lower("name"), name="team_name_once")
        ]


class TeamMember(models.Model):
    """A member of a team; who leaves the organization leaves its teams."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="members")
    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="teams")

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "membership"], name="team_member_once")
        ]
