"""The one way the firewall says no: a status, why, and the manifest line that would change it."""

from __future__ import annotations

from bento.errors import PolicyError

NEVER = "no manifest line allows it"


class Refusal(PolicyError):
    """A command that was not carried out.

    `status` is a control-spec §4 code: 451 a quota or rate is used up, 510 the command is refused,
    512 or 513 an argument is malformed or refused, 514 not authenticated, 552 no such object.
    `detail` says why, `hint` what would allow it (empty for plain mistakes).
    """

    def __init__(self, status: int, why: str, hint: str = "") -> None:
        super().__init__(why, hint)
        self.status = status

    @property
    def text(self) -> str:
        """The reply line without its status."""
        return f"{self.detail}; {self.hint}" if self.hint else self.detail


def malformed(why: str, status: int = 512) -> Refusal:
    """The line breaks the grammar of its command."""
    return Refusal(status, f"Bento firewall: {why}")


def never(what: str, why: str, status: int = 510) -> Refusal:
    """Refused whatever the manifest says."""
    return Refusal(status, f"Bento firewall: {what} is refused, {why}", NEVER)


def needs(what: str, permission: str, status: int = 510) -> Refusal:
    """Refused because the manifest does not ask for `permission`."""
    return Refusal(
        status,
        f"Bento firewall: {what} needs a permission",
        f'the manifest line tor = ["{permission}"] would allow it',
    )


def exhausted(what: str, permission: str, number: int, most: int) -> Refusal:
    """A quota or rate of `permission` is used up."""
    more = (
        f'tor = ["{permission}={min(number * 2, most)}"] would allow more'
        if number < most
        else f"{most} is the most any manifest may ask for"
    )
    return Refusal(451, f"Bento firewall: {what} would be more than {permission}={number}", more)


def unknown(kind: str, name: str) -> Refusal:
    """tor's own words for an object that is not there: another's object must look the same."""
    return Refusal(552, f'Unknown {kind} "{name}"')
