"""Accounts are made by an administrator: nobody signs up by themselves. Second factors are kept sealed."""

import base64
import hashlib
import logging
import secrets

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

log = logging.getLogger(__name__)

SEALED = "sealed:"


class ClosedAccounts(DefaultAccountAdapter):
    def is_open_for_signup(self, request) -> bool:
        """Never."""
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict) -> None:
        """Never: no mail server belongs to the software."""
        log.warning("no mail is sent (%s)", template_prefix)


@login_not_required
def no_mail(request: HttpRequest, *arguments: str) -> HttpResponse:
    """In place of every page that would send mail: who forgot a password asks an administrator."""
    return render(request, "account/no_mail.html")


def _seal() -> MultiFernet:
    """With keys made from the site's secret key, the present one first."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    made = (hashlib.sha256(b"second factors\0" + key.encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in made])


class SealedSecondFactors(DefaultMFAAdapter):
    """Secrets of second factors lie in the database sealed with the site's secret key, which does not lie there."""

    def encrypt(self, text: str) -> str:
        """Sealed."""
        return SEALED + _seal().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """As it was before it was sealed; what was stored before secrets were sealed, as it is.

        What cannot be opened becomes a secret that nobody knows: no code fits it any more.
        """
        if not encrypted_text.startswith(SEALED):
            return encrypted_text
        try:
            return _seal().decrypt(encrypted_text.removeprefix(SEALED).encode()).decode()
        except InvalidToken:
            log.error("a second factor cannot be read: it was set up under another QC_SECRET_KEY")
            return base64.b32encode(secrets.token_bytes(20)).decode()
