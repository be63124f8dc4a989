"""Accounts are made by an administrator: nobody signs up by themselves."""

from allauth.account.adapter import DefaultAccountAdapter


class ClosedAccounts(DefaultAccountAdapter):
    def is_open_for_signup(self, request) -> bool:
        """Never."""
        return False
