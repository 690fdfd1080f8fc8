import pytest

from annotate.keys import ACTIONS, clean_keys, keys_of
from annotate.models import User


def test_every_action_has_a_key_of_its_own():
    keys = keys_of(User())
    assert list(keys) == [action.name for action in ACTIONS]
    assert len(set(keys.values())) == len(keys)


def test_a_person_changes_some_keys_or_switches_them_off():
    assert keys_of(User(keys={"skip": "k"}))["skip"] == "k"
    assert keys_of(User(keys={"skip": "k"}))["undo"] == "u"
    assert keys_of(User(keys={"off": True})) == {}


def test_only_what_differs_is_kept():
    usual = keys_of(User())
    assert clean_keys(usual) == clean_keys({}) == {}
    assert clean_keys(usual | {"skip": "k"}) == {"skip": "k"}
    assert clean_keys({"skip": "u", "undo": "s"}) == {"skip": "u", "undo": "s"}
    assert clean_keys({"off": True, "skip": "k"}) == {"off": True, "skip": "k"}


def test_actions_may_have_no_key_and_others_take_what_is_free():
    stored = clean_keys({"skip": "", "flag": "", "undo": "s"})
    assert stored == {"skip": "", "flag": "", "undo": "s"}
    keys = keys_of(User(keys=stored))
    assert (keys["skip"], keys["undo"], keys["help"]) == ("", "s", "?")


@pytest.mark.parametrize(
    "given", [{"skip": "u"}, {"jump": "j"}, {"skip": "sk"}, {"skip": "1"}, {"skip": "A"}]
)
def test_keys_that_would_clash_are_refused(given):
    with pytest.raises(ValueError, match="key|action"):
        clean_keys(given)
