"""What the page tells the browser about the person, besides what is shown."""

from __future__ import annotations

from django import template
from django.utils.crypto import salted_hmac

from annotate.models import User

register = template.Library()


@register.filter
def kept_for(user: User) -> str:
    """Whose unsaved choices a browser keeps: others may use the same one, or another database may.

    Always the same for the person, it tells nothing without the installation's secret key.
    """
    account = f"{user.pk} {user.date_joined.isoformat()}"
    return salted_hmac("annotate.kept_for", account, algorithm="sha256").hexdigest()[:16]
