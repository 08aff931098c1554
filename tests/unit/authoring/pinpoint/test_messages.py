"""Messages, webhooks and their templates. Pinpoint design 4.2 and 4.4, and 9.8, 9.13, 9.14."""

from typing import Any, ClassVar

import pytest

from tests.support.pinpoint import Made, email, journey, template


def project(activities: Any, *templates: dict[str, Any], **options: Any) -> Made:
    """A journey with templates beside it."""
    return Made({"journeys": [journey(activities)], "templates": list(templates)}, **options)


class TestMail:
    """EMAIL activities and templates."""

    def test_a_template_is_a_communication(self) -> None:
        """With its texts in Liquid, its variables, and the activity's sender."""
        texts = {"Subject": "Hi {{User.UserAttributes.FirstName}}", "HtmlPart": "<p>Hi</p>", "TextPart": "Hi"}
        sender: dict[str, Any] = {"MessageConfig": {"FromAddress": "hello@shop.example.com"}}
        defaults = '{"User": {"UserAttributes": {"FirstName": "there"}}}'
        made = project({"a": email(**sender)}, template(**texts, DefaultSubstitutions=defaults))

        found = made.bundle["communications"][0]
        assert ("email", "marketing", "hello@shop.example.com") == (found["channel"], found["commType"], found["from"])
        assert 'Hi {{ subject.FirstName | default: "there" }}' == found["subject"]
        assert ("<p>Hi</p>", "Hi", ["FirstName"]) == (found["body"], found["text"], found["variables"])
        assert found["ref"] == made.step("a")["communicationRef"]
        assert "EMAIL/welcome@active" == found["sourceId"]

    def test_a_journey_with_all_it_needs_is_complete(self) -> None:
        """Nothing stands against its publication."""
        made = project({"a": email()}, template())

        assert ("complete", []) == (made.journey["completeness"], made.journey["publishBlockers"])

    def test_a_journey_is_as_complete_as_what_it_sends(self) -> None:
        """A text that prints its own source has to be rewritten first."""
        made = project({"a": email()}, template(Subject="{{upper Attributes.x}}"))

        assert ("incomplete", []) == (made.journey["completeness"], made.journey["publishBlockers"])

    def test_pinned_and_active_are_two_communications(self) -> None:
        """One may change in Pinpoint, the other not."""
        activities = {"a": email("b", TemplateVersion="1"), "b": email()}
        made = project(activities, template(Version="1", Subject="old"), template(Version="2", Subject="new"))

        found = {one["sourceId"]: one["subject"] for one in made.bundle["communications"]}
        assert {"EMAIL/welcome@1": "old", "EMAIL/welcome@active": "new"} == found
        assert 1 == made.codes["template_version_not_in_export"]

    def test_two_senders_are_two_communications(self) -> None:
        """Said as from_address_override."""
        activities = {
            "a": email("b", MessageConfig={"FromAddress": "one@shop.example.com"}),
            "b": email(MessageConfig={"FromAddress": "two@shop.example.com"}),
        }
        made = project(activities, template())

        assert {"one@shop.example.com", "two@shop.example.com"} == {c["from"] for c in made.bundle["communications"]}
        assert made.step("a")["communicationRef"] != made.step("b")["communicationRef"]
        assert 2 == made.codes["from_address_override"]

    def test_one_name_in_two_channels_is_two_communications(self) -> None:
        """Types have names of their own."""
        push = {
            "TemplateName": "welcome",
            "TemplateType": "PUSH",
            "Version": "1",
            "Default": {"Title": "T", "Body": "B"},
        }
        activities = {"a": email("b"), "b": {"PUSH": {"TemplateName": "welcome"}}}
        made = project(activities, template(), push)

        assert {"email", "mobile_push"} == {one["channel"] for one in made.bundle["communications"]}
        assert "complete" == made.journey["completeness"]

    def test_a_missing_template_is_a_placeholder(self) -> None:
        """Its sends still name it, so that it can be supplied."""
        made = Made(journey({"a": email()}))

        assert [True] == [one["placeholder"] for one in made.bundle["communications"]]
        assert made.bundle["communications"][0]["ref"] == made.step("a")["communicationRef"]
        assert {"code": "communication_not_found", "stepId": "a"} in made.journey["publishBlockers"]

    def test_a_template_that_nobody_sends_comes_along(self) -> None:
        """It may be needed by a journey of another file."""
        made = Made({"templates": [template()]})

        assert ["EMAIL/welcome@active"] == [one["sourceId"] for one in made.bundle["communications"]]

    @pytest.mark.parametrize("defaults", ["nonsense", "[]", '{"a": NaN}', '{"a": [1]}'])
    def test_defaults_that_cannot_be_read_are_told(self, defaults: str) -> None:
        """The template comes without."""
        made = Made({"templates": [template(DefaultSubstitutions=defaults)]})

        assert (1, 1) == (len(made.bundle["communications"]), made.codes["substitutions_invalid"])

    def test_a_helper_keeps_the_original(self) -> None:
        """In the extensions, where a lossless text does not."""
        text = "{{dateFormat Attributes.d 'YYYY'}}"
        made = Made({"templates": [template(Subject=text), template("plain")]})

        sources = {one["name"]: one["extensions"]["pinpoint"]["source"] for one in made.bundle["communications"]}
        assert (text, None) == (sources["welcome"]["Subject"], sources["plain"].get("Subject"))
        assert 1 == made.codes["template_helper_unsupported"]

    def test_a_template_of_too_many_parts_is_a_placeholder(self) -> None:
        """What would not compile is not sent; its text is kept."""
        made = project({"a": email()}, template(HtmlPart="{{Attributes.x}}" * 20_000))

        found = made.bundle["communications"][0]
        assert (True, None) == (found["placeholder"], found["body"])
        assert found["extensions"]["pinpoint"]["source"]["HtmlPart"].startswith("{{Attributes.x}}")


class TestPush:
    """PUSH activities and templates, and in-app."""

    def test_overrides_are_merged_into_data(self) -> None:
        """Title and body are the default's."""
        push = {
            "TemplateName": "tips",
            "TemplateType": "PUSH",
            "Version": "1",
            "Default": {"Title": "T", "Body": "B", "Action": "URL", "Url": "https://shop.example.com"},
            "GCM": {"Title": "G", "RawContent": "{}"},
        }
        config = {"MessageConfig": {"TimeToLive": "0"}}
        made = project({"a": {"PUSH": {"TemplateName": "tips", **config}}}, push)

        found = made.bundle["communications"][0]
        assert ("T", "B") == (found["title"], found["body"])
        assert {"action": "URL", "url": "https://shop.example.com", "overrides": {"GCM": push["GCM"]}} == found["data"]
        assert {"push_override_merged", "push_raw_content", "push_ttl"} <= made.codes.keys()

    def test_an_in_app_template_is_a_communication(self) -> None:
        """Its first page's header and body; all pages in `data`."""
        content = [{"HeaderConfig": {"Header": "H"}, "BodyConfig": {"Body": "B {{Attributes.x}}"}}]
        made = Made(
            {"templates": [{"TemplateName": "n", "TemplateType": "INAPP", "Layout": "TOP_BANNER", "Content": content}]}
        )

        found = made.bundle["communications"][0]
        assert ("in_app_push", "H", "B {{ subject.x }}") == (found["channel"], found["title"], found["body"])
        assert {"layout": "TOP_BANNER", "content": content} == found["data"]

    @pytest.mark.parametrize("kind", ["SMS", "VOICE"])
    def test_a_template_without_a_channel_is_kept_with_its_text(self, kind: str) -> None:
        """Aside."""
        made = Made({"templates": [{"TemplateName": "n", "TemplateType": kind, "Body": "text"}]})

        assert ["text"] == [one["payload"]["Body"] for one in made.bundle["unsupported"]]
        assert 1 == made.codes["template_channel_unsupported"]


class TestTexts:
    """SMS, by policy."""

    SMS: ClassVar = {
        "SMS": {"TemplateName": "s", "MessageConfig": {"MessageType": "TRANSACTIONAL"}, "NextActivity": "b"}
    }

    def test_a_text_is_skipped(self) -> None:
        """Its payload is kept."""
        made = Made(journey({"a": self.SMS, "b": email()}))

        assert ["trigger", "b", "exit"] == made.ids
        assert [self.SMS] == [one["payload"] for one in made.bundle["unsupported"]]
        assert {"sms_unsupported", "sms_transactional"} <= made.codes.keys()

    def test_a_text_may_be_a_webhook(self) -> None:
        """Without a URL, carrying the text."""
        text = {"TemplateName": "s", "TemplateType": "SMS", "Version": "1", "Body": "Hi {{Attributes.x}}"}
        made = project({"a": self.SMS, "b": email()}, text, sms="webhook")

        step = made.step("a")
        assert ("webhook", "Hi {{ subject.x }}") == (step["type"], step["body"]["text"])
        assert {"code": "url_missing", "stepId": "a"} in made.journey["publishBlockers"]

    def test_a_text_may_be_a_mail(self) -> None:
        """Which has to be supplied."""
        made = Made(journey({"a": self.SMS, "b": email()}), sms="email")

        assert ("send", "email") == (made.step("a")["type"], made.step("a")["channel"])
        assert {"code": "communication_not_found", "stepId": "a"} in made.journey["publishBlockers"]


class TestWebhooks:
    """CUSTOM activities."""

    @staticmethod
    def custom(uri: str | None, **more: Any) -> Made:
        """A journey of one of them."""
        return Made(journey({"a": {"CUSTOM": {**({} if uri is None else {"DeliveryUri": uri}), **more}}}))

    def test_an_address_is_called(self) -> None:
        """With the data as it was, also where it looks like Liquid."""
        made = self.custom("https://hooks.example.com/a", MessageConfig={"Data": "{{ x | y }}"}, EndpointTypes=["SMS"])

        step = made.step("a")
        assert ("POST", "https://hooks.example.com/a", "a") == (step["method"], step["url"], step["saveAs"])
        assert "{% raw %}{{{% endraw %} x | y }}" == step["body"]["Data"]
        assert {"custom_payload_differs", "custom_endpoint_filter"} <= made.codes.keys()

    @pytest.mark.parametrize(
        ("uri", "code"),
        [
            ("whatsapp-sender", "custom_lambda_unresolved"),
            ("arn:aws:lambda:eu-west-1:111122223333:function:wa:live", "custom_lambda_unresolved"),
            ("http://hooks.example.com/a", "custom_url_invalid"),
            ("https://user:secret@hooks.example.com/a", "custom_url_invalid"),
            ("https://10.0.0.1/a", "custom_url_invalid"),
            ("https://169.254.169.254/latest", "custom_url_invalid"),
            ("https://localhost/a", "custom_url_invalid"),
            ("https://hooks.example.com/{{ subject.email }}", "custom_url_invalid"),
            ("https://hooks.example.com/{% raw %}", "custom_url_invalid"),
            ("ftp://hooks.example.com", "custom_url_invalid"),
            (None, "custom_uri_missing"),
            ("", "custom_uri_missing"),
        ],
    )
    def test_what_cannot_be_called_has_no_url(self, uri: str | None, code: str) -> None:
        """Publish refuses the step; whoever resolves it finds the address beside it."""
        made = self.custom(uri)

        assert "url" not in made.step("a")
        assert 1 == made.codes[code]
        assert {"code": "url_missing", "stepId": "a"} in made.journey["publishBlockers"]
        assert ({"a": uri} if uri else None) == made.journey["extensions"]["pinpoint"].get("webhooks")

    def test_its_template_is_kept_aside(self) -> None:
        """There are no templates of custom channels."""
        made = self.custom("https://hooks.example.com/a", TemplateName="wa", TemplateVersion="2")

        assert {"TemplateName": "wa", "TemplateVersion": "2"} in [one["payload"] for one in made.bundle["unsupported"]]
        assert 1 == made.codes["custom_template_dropped"]
