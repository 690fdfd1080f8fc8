"""The names by which annotators go outside of an installation."""

from django.utils.crypto import salted_hmac

from annotate.models import Project


def keyed_pseudonym(project: Project, membership_id: int) -> str:
    """Names an annotator outside of this installation: the same always, and telling nothing.

    Only who has the installation's secret key can find out who it is.
    """
    person = f"{project.slug}:{membership_id}"
    return salted_hmac("rewards.annotator", person, algorithm="sha256").hexdigest()[:16]
