"""The fidelity report: verdicts, paths counted without walking them, text made safe."""

from typing import Any

import pytest

from journeys_cli.fidelity import paths_through, report_of
from journeys_cli.fidelity_text import html, markdown


def bundle(**more: Any) -> dict[str, Any]:
    """A bundle of one journey: a split, a mail on one side, a text that was skipped on the other."""
    activities = {
        "split": {"type": "ConditionalSplit", "step": "split", "next": ["mail", "text"], "steps": ["split"]},
        "mail": {"type": "EMAIL", "step": "mail", "next": [None], "steps": ["mail"]},
        "text": {"type": "SMS", "step": "text", "next": ["mail"], "steps": []},
        "lost": {"type": "EMAIL", "step": "lost"},
    }
    return {
        "source": {"applicationId": "app", "partial": False},
        "journeys": [
            {
                "ref": "journey:1",
                "sourceId": "j1",
                "name": "Onboarding",
                "completeness": "incomplete",
                "publishBlockers": [{"code": "communication_not_found", "stepId": "mail"}],
                "steps": [{"id": "mail", "type": "send", "communicationRef": "communication:1"}],
                "extensions": {"pinpoint": {"starts": ["split"], "activities": activities}},
            }
        ],
        "communications": [{"ref": "communication:1", "name": "welcome"}],
        "diagnostics": [
            told("sms_unsupported", "unsupported", "text"),
            told("unreachable_activity", "unsupported", "lost"),
            told("limits_not_applied", "approximated", None),
            told("page_truncated", "unsupported", None, ref=None),
        ],
        "unsupported": [{"path": "/x", "feature": "SMS", "payload": {}}],
        **more,
    }


def told(code: str, verdict: str, step: str | None, ref: str | None = "journey:1") -> dict[str, Any]:
    """One diagnostic."""
    return {
        "code": code,
        "severity": "warning",
        "verdict": verdict,
        "objectRef": ref,
        "stepId": step,
        "path": "/x",
        "message": f"About {code}.",
        "action": "kept",
    }


class TestNumbers:
    """What the report says."""

    def test_each_activity_has_its_verdict(self) -> None:
        """The worst of what was said of it; nothing said is exact."""
        found = {one.id: one.verdict for one in report_of(bundle()).journeys[0].activities}

        assert {"split": "exact", "mail": "exact", "text": "unsupported", "lost": "unsupported"} == found

    def test_each_activity_has_the_paths_that_lead_through_it(self) -> None:
        """What no path reaches has none."""
        found = {one.id: one.paths for one in report_of(bundle()).journeys[0].activities}

        assert {"split": 2, "mail": 2, "text": 1, "lost": 0} == found
        assert 2 == report_of(bundle()).journeys[0].paths

    def test_what_was_said_of_a_template_counts_for_its_sends(self) -> None:
        """The mail is only as faithful as its text."""
        more = [told("template_helper_unsupported", "unsupported", None, ref="communication:1")]
        found = {one.id: one.verdict for one in report_of(bundle(diagnostics=more)).journeys[0].activities}

        assert "unsupported" == found["mail"]

    def test_what_belongs_to_no_activity_is_told_apart(self) -> None:
        """Of the journey, and of the file."""
        report = report_of(bundle())

        assert ["limits_not_applied"] == [one.code for one in report.journeys[0].findings]
        assert [("The file", ["page_truncated"])] == [(name, [one.code for one in of]) for name, of in report.elsewhere]

    def test_a_hundred_splits_are_counted_exactly(self) -> None:
        """More paths than there are people, and none of them walked."""
        graph: dict[str, list[str | None]] = {f"s{i}": [f"s{i + 1}"] * 2 for i in range(100)}
        graph["s100"] = [None]

        found = paths_through(graph, ["s0"])
        assert found is not None
        assert {2**100} == set(found.values())

    def test_a_circle_has_no_number_of_paths(self) -> None:
        """Somebody edited the file."""
        assert paths_through({"a": ["b"], "b": ["a"]}, ["a"]) is None

    @pytest.mark.parametrize(
        "broken", [{}, {"journeys": 1, "diagnostics": [1]}, {"journeys": [{"extensions": [], "steps": 3}]}]
    )
    def test_a_bundle_of_another_kind_gives_a_short_report(self, broken: Any) -> None:
        """Never an error."""
        assert markdown(report_of(broken)).startswith("# Pinpoint project unknown")


class TestTexts:
    """How it is written."""

    def test_markdown_has_a_row_for_each_activity(self) -> None:
        """With what to do about it."""
        lines = markdown(report_of(bundle())).splitlines()

        assert "| text | SMS | unsupported | 1 | sms_unsupported: About sms\\_unsupported. |" in lines
        assert "| split | ConditionalSplit | exact | 2 | nothing |" in lines
        assert "Publish would refuse: communication\\_not\\_found at mail." in lines

    def test_html_is_a_page_of_its_own(self) -> None:
        """Nothing is loaded from elsewhere."""
        page = html(report_of(bundle()))

        assert page.startswith("<!doctype html>")
        assert '<td class="unsupported">unsupported</td>' in page
        assert "http" not in page

    def test_names_are_text_in_both(self) -> None:
        """Whatever somebody called their journey."""
        made = bundle()
        made["journeys"][0]["name"] = "<script>alert(1)</script> | a\nb"

        assert "<script>" not in html(report_of(made))
        assert "\\<script\\>alert(1)\\</script\\> \\| a b" in markdown(report_of(made))
