"""Where people differ: the queue, who said what, and decisions that stand beside the rankings."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.urls import reverse

from annotate.models import Adjudication, AuditEvent, Membership, Ranking, Task
from annotate.services import assignments
from annotate.services.assignments import Conflict, claim
from annotate.services.own_data import own_data
from annotate.services.projects import exclude, lift, publish_text
from annotate.services.rankings import InvalidRanking, reopen, submit_ranking
from annotate.services.review import InvalidDecision, adjudicate, letters_of
from tests.annotate.recount import recount
from tests.commands import ask
from tests.make import make_member, make_project, make_ranking, make_task
from tests.pages import words

SAME, OTHER, OPPOSITE = (1, 2, 3), (2, 1, 3), (3, 2, 1)


@pytest.fixture
def rita(project):
    return make_member(project, "rita", Membership.Role.REVIEWER)


@pytest.fixture
def as_rita(client, rita):
    client.force_login(rita.user)
    return client


def judged(*rankings, kind="normal", **options):
    """A task of three responses that these people judged: (member, ranks), ..."""
    task = make_task(rankings[0][0].project, responses=3, kind=kind, **options)
    for member, ranks in rankings:
        make_ranking(member, ranks, task=task)
    task.refresh_from_db()
    return task


@pytest.fixture
def disputed(ada_member, bob_member):
    return judged((ada_member, SAME), (bob_member, OPPOSITE))


def url(name, *args):
    return reverse(f"annotate:{name}", args=["climate", *args])


def shown(client, **wanted):
    return [task.pk for task in client.get(url("review"), wanted).context["tasks"]]


def said_by(task, member):
    return Ranking.objects.current().get(assignment__task=task, assignment__annotator=member)


def decide(task, reviewer, *, category="taste", replaces=None, **decision):
    return adjudicate(task, reviewer, category, replaces=replaces, **decision)


def anew(task, *ranks):
    ids = sorted(task.responses.values_list("pk", flat=True))
    return dict(zip(ids, ranks, strict=True))


# ---- The queue -------------------------------------------------------------------------------


def test_the_least_agreement_comes_first(as_rita, ada_member, bob_member, disputed):
    somewhat = judged((ada_member, SAME), (bob_member, OTHER))
    judged((ada_member, SAME), (bob_member, SAME))
    judged((ada_member, SAME))
    assert shown(as_rita) == [disputed.pk, somewhat.pk]
    assert (disputed.agreement, somewhat.agreement) == (0, pytest.approx(2 / 3))
    assert len(shown(as_rita, below="any")) == 3
    assert shown(as_rita, below="0.5") == [disputed.pk]
    assert shown(as_rita, below="nonsense") == [disputed.pk, somewhat.pk]


@pytest.mark.parametrize("kind", ["gold", "repeat", "evaluation", "training"])
def test_what_examines_people_or_policies_is_not_reviewed(as_rita, ada_member, bob_member, kind):
    task = judged((ada_member, SAME), (bob_member, OPPOSITE), kind=kind)
    assert shown(as_rita) == []
    assert as_rita.get(url("review_task", task.pk)).status_code == 404


def test_what_people_still_judge_waits(as_rita, rita, disputed):
    Task.objects.filter(pk=disputed.pk).update(need=3, state="open")
    assert shown(as_rita) == []
    assert as_rita.get(url("review_task", disputed.pk)).status_code == 404
    assert claim(rita).task_id == disputed.pk  # he could be asked, and has not read the others


def test_decided_tasks_stand_apart(as_rita, rita, ada_member, bob_member, disputed):
    other = judged((ada_member, SAME), (bob_member, OPPOSITE))
    decide(disputed, rita)
    assert shown(as_rita) == [other.pk]
    assert shown(as_rita, state="decided") == [disputed.pk]
    assert shown(as_rita, state="all") == [disputed.pk, other.pk]


def test_the_queue_can_be_narrowed_to_a_topic_and_pages_keep_the_choice(
    as_rita, project, ada_member, bob_member, disputed
):
    for _ in range(26):
        task = judged((ada_member, SAME), (bob_member, OPPOSITE))
        type(task.prompt).objects.filter(pk=task.prompt_id).update(topic="ice")
    first = as_rita.get(url("review"), {"topic": "ice", "state": "all"})
    assert len(first.context["tasks"]) == 25
    assert "?topic=ice&amp;state=all&amp;page=2" in first.content.decode()
    assert len(shown(as_rita, topic="ice", page=2)) == 1
    assert len(shown(as_rita, topic="no such topic")) == 25


def test_what_a_reviewer_judged_himself_is_marked(as_rita, rita, ada_member, disputed):
    assert "judged by you" not in words(as_rita.get(url("review")))
    judged((ada_member, SAME), (rita, OPPOSITE))
    assert words(as_rita.get(url("review"))).count("judged by you") == 1


def test_excluding_and_lifting_change_what_people_agree_on(as_rita, project, bob_member, disputed):
    exclusion = exclude(project, bob_member, "careless", by=None)
    disputed.refresh_from_db()
    assert disputed.agreement is None and shown(as_rita) == []
    lift(exclusion, by=None)
    disputed.refresh_from_db()
    assert disputed.agreement == 0 and shown(as_rita) == [disputed.pk]


@pytest.mark.parametrize("what", ["ranking", "task"])
def test_excluding_one_thing_changes_its_task(project, ada_member, bob_member, disputed, what):
    other = judged((ada_member, SAME), (bob_member, OPPOSITE))
    exclude(project, said_by(disputed, ada_member) if what == "ranking" else disputed, "x", by=None)
    for task, agreement in ((disputed, None), (other, 0)):
        task.refresh_from_db()
        assert task.agreement == agreement


def test_an_excluded_person_leaves_the_others_agreement(ada_member, bob_member, rita, project):
    task = judged((ada_member, SAME), (bob_member, OPPOSITE), (rita, SAME))
    assert task.agreement == pytest.approx(1 / 3)
    exclude(project, bob_member, "careless", by=None)
    task.refresh_from_db()
    assert task.agreement == 1
    late = make_member(project, "late")
    make_ranking(late, OPPOSITE, task=task)
    task.refresh_from_db()
    assert task.agreement == pytest.approx(1 / 3)  # of ada, rita and the newcomer


def test_imported_judgements_stand_in_the_queue(db, tmp_path):
    path = tmp_path / "judged.csv"
    header = "prompt,response_1,response_2,rank_1,rank_2,annotator\n"
    rows = "Why?,A.,B.,1,2,ada\nWhy?,A.,B.,2,1,bob\nHow?,A.,B.,1,2,ada\nHow?,A.,B.,1,2,bob\n"
    path.write_text(header + rows)
    ask("import", "sky", str(path), "--create")
    assert sorted(Task.objects.values_list("agreement", flat=True)) == [0, 1]
    path.write_text(header + rows + "How?,A.,B.,2,1,cleo\n")
    ask("import", "sky", str(path))
    assert sorted(Task.objects.values_list("agreement", flat=True)) == [0, pytest.approx(1 / 3)]


# ---- Decisions -------------------------------------------------------------------------------


def test_a_persons_ranking_is_adopted(rita, ada_member, disputed):
    given = said_by(disputed, ada_member)
    decision = decide(disputed, rita, category="error", adopted=given, note=" Bob misread. ")
    assert (decision.ranks, decision.adopted, decision.note) == (given.ranks, given, "Bob misread.")
    event = AuditEvent.objects.get(verb="adjudicate")
    assert (event.actor, event.object_id) == (rita.user, str(disputed.pk))
    assert event.detail == {"decision": "adopted", "category": "error"}


def test_a_decision_leaves_the_rankings_alone(rita, disputed):
    before = list(Ranking.objects.order_by("pk").values())
    decide(disputed, rita, ranks=anew(disputed, 1, 1, 2))
    assert list(Ranking.objects.order_by("pk").values()) == before
    disputed.refresh_from_db()
    assert disputed.agreement == 0


def test_a_new_decision_is_a_further_row(rita, disputed, root, project):
    first = decide(disputed, rita, ranks=anew(disputed, 1, 1, 2))
    admin = project.memberships.get(user=root)
    second = decide(disputed, admin, category="true tie", replaces=first.pk)
    first.refresh_from_db()
    assert [first.is_current, second.is_current] == [False, True]
    assert first.ranks is not None and second.ranks is None


def test_deciding_the_same_twice_is_deciding_once(rita, disputed):
    one = decide(disputed, rita, ranks=anew(disputed, 1, 1, 2))
    assert decide(disputed, rita, ranks=anew(disputed, 1, 1, 2)) == one
    assert AuditEvent.objects.filter(verb="adjudicate").count() == 1


def test_who_did_not_see_the_decision_that_stands_replaces_none(rita, disputed, root, project):
    decide(disputed, rita, ranks=anew(disputed, 1, 1, 2))
    with pytest.raises(Conflict, match="meanwhile"):
        decide(disputed, project.memberships.get(user=root))
    assert Adjudication.objects.get().reviewer == rita


def test_gaps_in_ranks_are_closed_and_incomplete_ones_refused(rita, disputed):
    assert sorted(decide(disputed, rita, ranks=anew(disputed, 1, 3, 3)).ranks.values()) == [1, 2, 2]
    with pytest.raises(InvalidRanking):
        decide(disputed, rita, ranks=anew(disputed, 1, None, None))


def test_nobody_makes_his_own_ranking_the_one_that_counts(rita, ada_member):
    task = judged((ada_member, SAME), (rita, OPPOSITE))
    with pytest.raises(InvalidDecision, match="your own"):
        decide(task, rita, adopted=said_by(task, rita))
    with pytest.raises(InvalidDecision, match="your own"):
        decide(task, rita, ranks=anew(task, *OPPOSITE))
    assert not Adjudication.objects.exists()
    one = decide(task, rita, adopted=said_by(task, ada_member))
    assert decide(task, rita, ranks=anew(task, *OTHER), replaces=one.pk).ranks


def test_only_a_ranking_that_stands_can_be_adopted(rita, ada_member, bob_member, project, disputed):
    old = said_by(disputed, ada_member)
    reopen(old.assignment, draft={})
    submit_ranking(old.assignment, anew(disputed, *OTHER), revises=1)
    of_bob = said_by(disputed, bob_member)
    exclude(project, of_bob, "by mistake", by=None)
    elsewhere = said_by(judged((ada_member, SAME)), ada_member)
    for ranking in (old, of_bob, elsewhere):
        with pytest.raises(InvalidDecision, match="meanwhile"):
            decide(disputed, rita, adopted=ranking)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_decide_at_once_one_is_told(ada_member, bob_member):
    task = judged((ada_member, SAME), (bob_member, OPPOSITE))
    reviewers = [make_member(task.project, f"judge-{n}", "reviewer") for n in range(4)]
    barrier = threading.Barrier(len(reviewers))

    def decide_now(reviewer):
        barrier.wait()
        try:
            decide(task, reviewer, ranks=anew(task, 1, 1, 2))
        except Conflict:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(len(reviewers)) as pool:
        assert sorted(pool.map(decide_now, reviewers)) == [False, False, False, True]
    assert Adjudication.objects.count() == 1


# ---- The pages -------------------------------------------------------------------------------


def test_the_page_shows_who_said_what_by_letters(as_rita, ada_member, bob_member, project):
    project.flags = [{"name": "greenwash", "label": "Sounds greener"}]
    project.save()
    task = make_task(project, responses=["Ice.", "Snow.", "Rain."])
    ids = {text: pk for pk, text in task.responses.values_list("pk", "text")}
    make_ranking(
        ada_member,
        SAME,
        task=task,
        rationale="Snow <b>melts</b>\u202e",
        unacceptable=[ids["Rain."]],
        flags={ids["Snow."]: ["greenwash"], "prompt": ["off topic"]},
    )
    make_ranking(bob_member, OPPOSITE, task=task)
    page = as_rita.get(url("review_task", task.pk))
    letters = {response.text: letter for letter, response in page.context["responses"].items()}
    by_hash = task.responses.order_by("content_hash").values_list("text", flat=True)
    assert [*letters] == [*by_hash] and [*letters.values()] == ["A", "B", "C"]
    said = {voice.member: voice for voice in page.context["voices"]}
    order = " > ".join(letters[text] for text in ("Ice.", "Snow.", "Rain."))
    assert said[ada_member].order == order
    assert (letters["Rain."], 3, True) in said[ada_member].places
    text = words(page)
    assert f"{letters['Snow.']}: Sounds greener" in text and "Prompt: Off topic" in text
    assert "Snow <b>melts</b>[U+202E]" in text and "<b>melts" not in page.content.decode()


def test_a_decision_is_made_on_the_page(as_rita, rita, bob_member, disputed):
    form = {"decision": said_by(disputed, bob_member).pk, "category": "taste", "note": "Hm."}
    response = as_rita.post(f"{url('review_task', disputed.pk)}?below=1", form)
    assert response.url == f"{url('review')}?below=1"
    decision = Adjudication.objects.get()
    assert (decision.reviewer, decision.note) == (rita, "Hm.")
    page = as_rita.get(url("review_task", disputed.pk))
    assert f"Decided: the ranking of {bob_member}" in words(page)
    assert page.context["form"]["replaces"].value() == decision.pk


def test_ranking_anew_on_the_page(as_rita, disputed):
    (a, b, c) = (response.pk for response in letters_of(disputed).values())
    form = {"decision": "anew", "category": "true tie", "rank-A": 2, "rank-B": 1, "rank-C": ""}
    as_rita.post(url("review_task", disputed.pk), {**form, "unacceptable": ["C"]})
    decision = Adjudication.objects.get()
    assert decision.ranks == {str(a): 2, str(b): 1, str(c): None}
    assert decision.unacceptable == [c]
    page = as_rita.get(url("review_task", disputed.pk)).content.decode()
    assert "B &gt; A" in page and '<option value="2" selected>' in page


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"category": "taste"}, "Choose what shall count."),
        ({"decision": "leave"}, "Choose why people differ."),
        ({"decision": "anew", "category": "taste", "rank-A": 1}, "at least two responses"),
        ({"decision": "12345678", "category": "taste"}, "Select a valid choice"),
    ],
)
def test_an_incomplete_decision_says_what_is_missing(as_rita, disputed, form, said):
    response = as_rita.post(url("review_task", disputed.pk), form)
    assert response.status_code == 200 and said in words(response)
    assert not Adjudication.objects.exists()


def test_who_comes_second_sees_the_first_decision(as_rita, root, project, disputed):
    decide(disputed, project.memberships.get(user=root), note="I was first.")
    response = as_rita.post(
        url("review_task", disputed.pk), {"decision": "leave", "category": "error"}
    )
    assert response.status_code == 409
    assert "I was first." in words(response) and "decided about this task meanwhile" in words(
        response
    )


def test_ones_own_ranking_is_not_offered(as_rita, rita, ada_member):
    task = judged((ada_member, SAME), (rita, OPPOSITE))
    page = as_rita.get(url("review_task", task.pk))
    assert f"Adopt the ranking of {ada_member}" in words(page)
    assert f"Adopt the ranking of {rita}" not in words(page)
    own = said_by(task, rita).pk
    as_rita.post(url("review_task", task.pk), {"decision": own, "category": "error"})
    assert not Adjudication.objects.exists()


def test_a_superuser_who_is_no_member_looks_and_decides_nothing(client, eve, disputed):
    type(eve).objects.filter(pk=eve.pk).update(is_superuser=True)
    client.force_login(eve)
    assert "no member of this project" in words(client.get(url("review_task", disputed.pk)))
    client.post(url("review_task", disputed.pk), {"decision": "leave", "category": "error"})
    assert not Adjudication.objects.exists()


def test_one_more_person_is_asked(as_rita, project, disputed):
    page = as_rita.get(url("review_task", disputed.pk))
    assert "Ask one more person" in words(page)
    for _ in range(2):  # a double click asks one person
        as_rita.post(url("review_ask", disputed.pk))
    disputed.refresh_from_db()
    assert (disputed.need, disputed.state) == (3, "open")
    assert shown(as_rita) == []
    cleo = make_member(project, "cleo")
    assignment = claim(cleo)
    assert assignment.task_id == disputed.pk
    submit_ranking(assignment, anew(disputed, *SAME))
    assert shown(as_rita) == [disputed.pk]


def test_a_second_opinion_is_asked_of_nobody_who_has_read_the_first(
    as_rita, rita, project, root, disputed
):
    decide(disputed, project.memberships.get(user=root))
    as_rita.post(url("review_ask", disputed.pk))
    for knowing in (rita, project.memberships.get(user=root)):
        assert claim(knowing) is None
    recount(project)
    assert claim(make_member(project, "cleo")).task_id == disputed.pk


def test_a_reviewer_may_ask_about_what_he_judged_or_let_lie_himself(
    as_rita, rita, project, ada_member
):
    own = judged((rita, SAME))
    let_lie = judged((ada_member, SAME))
    ids = sorted(let_lie.responses.values_list("pk", flat=True))
    late = let_lie.assignments.create(annotator=rita, state="expired", display_order=ids)
    for task in (own, let_lie):
        as_rita.post(url("review_ask", task.pk))
        task.refresh_from_db()
        assert task.state == "open"
    assert claim(rita) is None
    late.refresh_from_db()
    assert late.state == "barred" and not late.is_editable
    recount(project)


def test_who_may_not_judge_any_more_is_told_why_and_had_no_task(
    as_rita, rita, project, ada_member, bob_member
):
    task = judged((ada_member, SAME), (bob_member, OPPOSITE))
    as_rita.post(url("review_ask", task.pk))
    barred = task.assignments.get(annotator=rita)
    with pytest.raises(Conflict, match="You could read what others said of this task"):
        submit_ranking(barred, anew(task, *SAME))
    assert json.loads("".join(own_data(rita)))["assignments"] == []
    draws = []

    def draw(*told_by):
        draws.append(told_by[-1])
        return 1.0

    project.gold_rate = 0.5
    project.save()
    make_task(project)
    rita.project.refresh_from_db()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignments, "check_draw", draw)
        claim(rita)
    assert draws[0] == 0, "her first task"


@pytest.mark.parametrize("kind", ["audit", "import"])
def test_nobody_is_asked_because_of_what_the_audited_said(as_rita, ada_member, bob_member, kind):
    task = judged((ada_member, SAME), (bob_member, OPPOSITE), kind=kind)
    need = task.need
    assert "Ask one more person" not in words(as_rita.get(url("review_task", task.pk)))
    as_rita.post(url("review_ask", task.pk))
    task.refresh_from_db()
    assert (task.need, task.state) == (need, "done")


def test_guideline_gaps_are_a_list_that_leads_to_the_guidelines(
    as_rita, rita, root, project, ada_member, bob_member, disputed
):
    other = judged((ada_member, SAME), (bob_member, OPPOSITE))
    decide(disputed, rita, category="guideline gap", note="Short or complete?")
    decide(other, rita, category="taste", note="Nothing to settle.")
    page = as_rita.get(url("review_gaps"))
    text = words(page)
    assert "Short or complete?" in text and "Nothing to settle." not in text
    assert url("review_task", disputed.pk) in page.content.decode()
    assert "Edit the guidelines" not in text  # which a reviewer cannot
    publish_text(project, "guidelines", "Prefer the shorter.", by=root)
    as_rita.force_login(root)
    text = words(as_rita.get(url("review_gaps")))
    assert "Edit the guidelines" in text and "before the newest guidelines" in text


def test_what_people_flagged_is_a_list_the_newest_first(as_rita, project, ada_member):
    assert "Nobody has flagged anything" in words(as_rita.get(url("review_flags")))
    plain, other = make_ranking(ada_member), make_task(project)
    ids = sorted(other.responses.values_list("pk", flat=True))
    marked = make_ranking(
        ada_member,
        task=other,
        flags={ids[1]: ["identity leak"], "prompt": ["toxic"]},
        rationale="It says who made it.",
    )
    page = as_rita.get(url("review_flags"))
    text = words(page)
    assert "Toxic or hurtful The question itself" in text
    assert "Says which model wrote it Answer 2." in text and "It says who made it." in text
    assert ada_member.pseudonym in text
    assert url("review_task", other.pk) in page.content.decode()
    assert url("review_task", plain.assignment.task_id) not in page.content.decode()
    Ranking.objects.filter(pk=marked.pk).update(is_current=False)
    assert "Nobody has flagged anything" in words(as_rita.get(url("review_flags")))


def test_the_queue_asks_the_database_a_few_questions_however_long_it_is(
    as_rita, ada_member, bob_member, disputed, django_assert_max_num_queries
):
    for _ in range(8):
        judged((ada_member, SAME), (bob_member, OPPOSITE))
    with django_assert_max_num_queries(16):
        as_rita.get(url("review"))
    with django_assert_max_num_queries(20):
        as_rita.get(url("review_task", disputed.pk))


def test_empty_states_say_what_will_stand_there(as_rita, rita, disputed):
    decide(disputed, rita)
    assert "Nothing of this kind is left" in words(as_rita.get(url("review")))
    assert "No gap is known" in words(as_rita.get(url("review_gaps")))
    other = make_project("other")
    make_member(other, "rita", Membership.Role.REVIEWER)
    page = as_rita.get(reverse("annotate:review", args=["other"]))
    assert "No prompt has been judged by two people yet" in words(page)
