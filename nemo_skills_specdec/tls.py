"""How a server's certificate is checked: one context for what is sent to it and for what is scraped from it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from nemo_skills_specdec.errors import UsageError


def tls_context(ca_file: Path | None = None, *, insecure: bool = False) -> ssl.SSLContext:
    """A context for clients.

    Args:
        ca_file: certificates to trust, as PEM, in place of the system's and of those that `SSL_CERT_FILE` names.
        insecure: check nothing: anybody in between can then read the API key.

    Raises:
        UsageError: a file of certificates cannot be read.
    """
    named = os.environ.get("SSL_CERT_FILE")
    if ca_file is None and named and not Path(named).is_file():
        # OpenSSL says nothing about it, and then trusts nobody.
        raise UsageError(f"SSL_CERT_FILE names {named}, which is not a file; correct or unset it")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "not certificates in PEM format"
        raise UsageError(f"cannot read the certificates in {ca_file or named}: {reason}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def chosen_context(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext | None:
    """A context where something else than the usual was asked for; None for the usual.

    Raises:
        UsageError: as `tls_context`.
    """
    return tls_context(ca_file, insecure=insecure) if ca_file is not None or insecure else None
