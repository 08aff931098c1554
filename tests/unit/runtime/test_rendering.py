"""A mail says how to stop the next one, whoever wrote it."""

import pytest

from services.domain.execution.execution import Execution
from services.domain.execution.triggers import Profile
from services.runtime.catalogue_records import PinnedCommunication
from services.runtime.rendering import outgoing, with_footer
from services.runtime.senders.port import OutgoingMessage
from tests.support.walking import EXIT, T0, TRIGGER, start, version_of

LINK = "https://x.example/a'b&c/preferences/TOKEN"


def rendered(channel: str = "email", link: str = LINK, **content: str) -> OutgoingMessage:
    """One message of this content."""
    execution: Execution = start(version_of([{**TRIGGER, "next": "exit"}, EXIT])).execution
    pinned = PinnedCommunication("c", 1, "c", channel, "marketing", content)
    profile = Profile("usr_a", {"firstName": "Ann"}, email="ann@example.com")
    return outgoing(execution, "send-1", "mail", channel, pinned, profile, "Activation", T0, link)


def test_a_mail_without_the_link_gets_a_footer() -> None:
    """In HTML and in text; the address is escaped where it is an attribute."""
    message = rendered(body="<p>Hi</p>", text="Hi\n")

    assert message.body.startswith("<p>Hi</p>")
    assert '<a href="https://x.example/a&#x27;b&amp;c/preferences/TOKEN">' in message.body
    assert f"Hi\n\nUnsubscribe or choose what you receive: {LINK}\n" == message.text
    assert LINK == message.unsubscribe_url


@pytest.mark.parametrize("word", ["preferences_url", "unsubscribe_url"])
def test_a_mail_that_uses_the_link_gets_none(word: str) -> None:
    """Both words lead there."""
    message = rendered(body=f'<a href="{{{{ {word} }}}}">x</a>', text=f"go {{{{ {word} }}}}")

    assert message.body.count("TOKEN") == message.text.count("TOKEN") == 1
    assert "Unsubscribe" not in message.body + message.text


def test_a_link_that_is_not_shown_does_not_count() -> None:
    """It is the rendered text that has to lead there."""
    message = rendered(body="{% if subject.nobody %}{{ preferences_url }}{% endif %}Hi")

    assert "TOKEN" in message.body


def test_the_footer_stands_inside_the_page() -> None:
    """Before the last end of a body, in whatever case, also behind letters that change length with their case."""
    text = with_footer("<BODY>\u0130\u0130</body> </Body ></html>", "https://x.example/preferences/T", html=True)

    assert text.startswith("<BODY>\u0130\u0130</body> <p ")
    assert text.endswith("</p></Body ></html>")


def test_other_channels_get_no_footer() -> None:
    """They may use the link all the same."""
    message = rendered("mobile_push", body="Hi", title="{{ unsubscribe_url }}")

    assert ("Hi", LINK) == (message.body, message.title)


def test_what_is_empty_stays_empty() -> None:
    """No text is made where the author wrote none, and nothing is promised without a link."""
    assert ("", "") == ((message := rendered(subject="s")).body, message.text)
    assert "<p>Hi</p>" == rendered(link="", body="<p>Hi</p>").body
