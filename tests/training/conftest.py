import pytest

from annotate.models import Project
from training.models import PolicyVersion
from training.services.policies import register_base


@pytest.fixture
def live(project: Project) -> PolicyVersion:
    """A base that nobody loads, as the live policy."""
    return register_base(project, "org/base")
