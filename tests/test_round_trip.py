"""What volunteers judged here, exported and imported elsewhere, is what they judged."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate.formats import read, write
from annotate.models import Membership, Project, Ranking, Response
from annotate.services.content import add_response
from annotate.services.importing import import_records
from annotate.services.tasks import open_ranking_tasks
from rewards.services.exports import records
from tests import make

numbers = count(1)
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters, max_size=30)


@st.composite
def judgements(draw: st.DrawFn, k: int) -> tuple[int, list[int | None], list[bool]]:
    """Who ranks, the ranks, and the marks of unacceptable responses."""
    marks = draw(st.lists(st.booleans(), min_size=k, max_size=k))
    ranks: list[int | None] = draw(st.lists(st.integers(1, 4), min_size=k, max_size=k))
    n_ranked = draw(st.integers(0 if all(marks) else 2, k))
    for place in draw(st.permutations(range(k)))[n_ranked:]:
        ranks[place] = None
    return draw(st.integers(0, 2)), ranks, marks


@st.composite
def tasks(draw: st.DrawFn) -> dict[str, Any]:
    """One of two prompts, some responses, and what up to three people say of them."""
    responses = draw(st.lists(texts, min_size=2, max_size=5, unique_by=lambda t: tuple(t.split())))
    said = draw(
        st.lists(judgements(len(responses)), min_size=1, max_size=3, unique_by=lambda one: one[0])
    )
    return {"prompt": draw(st.integers(0, 1)), "responses": responses, "said": said}


def judge(project: Project, people: list[Membership], told: dict[str, Any]) -> None:
    """Open the task and rank it by the services that the pages use."""
    prompt = make.make_prompt(project, f"Question {told['prompt']}?", responses=0)
    responses = [
        add_response(prompt, text, source=Response.Source.POLICY)[0] for text in told["responses"]
    ]
    (task,) = open_ranking_tasks(project, [(prompt, responses)], batch=f"batch {next(numbers)}")
    by_id = {response.pk: index for index, response in enumerate(responses)}
    for person, ranks, marks in told["said"]:
        make.make_ranking(
            people[person],
            [ranks[by_id[pk]] for pk in sorted(by_id)],
            task=task,
            unacceptable=[pk for pk, index in by_id.items() if marks[index]],
        )


def what_people_said(project: Project) -> Counter[Any]:
    """Each annotator's judgements, and how many annotators said just that; no names."""
    texts = dict(Response.objects.filter(prompt__project=project).values_list("pk", "text"))
    by_person: dict[str, Counter[Any]] = defaultdict(Counter)
    for ranking in (
        Ranking.objects.current().in_project(project).select_related("assignment__task__prompt")
    ):
        ranks = {(texts[int(pk)], rank) for pk, rank in ranking.ranks.items() if rank is not None}
        marks = {texts[pk] for pk in ranking.unacceptable}
        prompt = ranking.assignment.task.prompt.content_hash
        said = prompt, frozenset(ranks), frozenset(marks)
        by_person[ranking.assignment.annotator_id][said] += 1
    return Counter(frozenset(said.items()) for said in by_person.values())


def exported(project: Project, format: str) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.gz"
        write(records(project), path, format)
        yield from read(path, format)


@pytest.mark.django_db
@given(told=st.lists(tasks(), min_size=1, max_size=4), format=st.sampled_from(["prefloop", "csv"]))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_export_imported_elsewhere_says_the_same(
    told: list[dict[str, Any]], format: str
) -> None:
    here = make.make_project(f"here-{next(numbers)}")
    there = make.make_project(f"there-{next(numbers)}")
    people = [make.make_member(here, f"person-{next(numbers)}") for _ in range(3)]
    for one in told:
        judge(here, people, one)
    import_records(there, exported(here, format), batch="export")
    assert what_people_said(there) == what_people_said(here)
    splits = dict(there.prompts.values_list("content_hash", "split"))
    assert splits == dict(here.prompts.values_list("content_hash", "split"))
    assert not import_records(there, exported(here, format), batch="export").adds
