"""The pages in a real browser: on a telephone, by keyboard. Where there is no Chromium they are skipped.

Source: contract 3 (preferences) and 7.
"""

import re

import pytest

from tests.e2e.server import Server, eventually
from tests.e2e.words import World, send, trigger, unique
from tests.support.browser import CHROMEDRIVER, CHROMIUM, SPACE, TAB, browsing

pytestmark = pytest.mark.skipif(None in (CHROMIUM, CHROMEDRIVER), reason="no chromium and chromedriver on the PATH")
PHONE = 360
TAKEN = "Array.from(document.querySelectorAll('input[type=checkbox]'), it => it.checked)"


@pytest.fixture
def preferences(world: World) -> tuple[World, str, str]:
    """A person who has got a mail, and the path of the page it leads to."""
    came = unique("came")
    journey = world.journey([trigger("m"), send("m", world.comm(), "exit"), {"id": "exit", "type": "exit"}], came)
    who = world.person()
    world.event(came, who)
    world.settle()
    (message,) = world.messages(endUserId=who, journeyId=journey)
    found = re.search(r"/preferences/[\w-]+", message["body"])
    assert found
    return world, who, found[0]


def test_no_page_is_wider_than_a_telephone(server: Server, preferences: tuple[World, str, str]) -> None:
    """And none complains or runs a script: nothing is loaded from anywhere, nothing refused by its own policy."""
    with browsing(PHONE) as browser:
        for path in ("/", "/docs", preferences[2]):
            browser.open(f"http://127.0.0.1:{server.port}{path}")

            assert browser.ask("document.documentElement.scrollWidth") <= PHONE, path
            assert [] == browser.complaints(), path
            assert 0 == browser.ask("document.scripts.length"), path


def test_preferences_are_changed_by_keyboard(server: Server, preferences: tuple[World, str, str]) -> None:
    """Tab, space, tab to the end, enter: the channel is off, and the page says that it is saved."""
    world, who, path = preferences
    with browsing(PHONE) as browser:
        browser.open(f"http://127.0.0.1:{server.port}{path}")
        before = browser.ask(TAKEN)
        browser.press(TAB, TAB, TAB, SPACE)  # the quick way out, e-mail, messages in the app
        browser.click("form:last-of-type button")
        after = browser.ask(TAKEN)
        said = browser.ask("document.querySelector('[role=status]').textContent")

    assert [True, True, True, False] == before
    assert [True, False, True, False] == after
    assert said.startswith("Saved.")
    assert {"in_app_push": False} == {k: v for k, v in world.profile(who)["channelPreferences"].items() if not v}


def test_one_click_unsubscribes(server: Server, preferences: tuple[World, str, str]) -> None:
    """The first button of the page ends the channel of the mail, and is gone then."""
    world, who, path = preferences
    with browsing(PHONE) as browser:
        browser.open(f"http://127.0.0.1:{server.port}{path}")
        browser.click("button")
        eventually(lambda: browser.ask("document.querySelectorAll('button').length") == 1)

    assert world.profile(who)["channelPreferences"]["email"] is False
