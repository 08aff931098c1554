"""Everything a translation can have to say, as one table.

Law: a code's severity is what publish makes of it: an error is refused, a warning behaves differently, an info is
worth knowing. Its verdict is what became of the source: lossless, approximated or unsupported. The sentence says what
happened and what to do about it.
Source: pinpoint design 4 and 8; `journey_id_made`, `audience_everyone` and `payload_too_large` are ours.
"""

from dataclasses import dataclass
from typing import Final

LOSSLESS: Final = "lossless"
APPROXIMATED: Final = "approximated"
UNSUPPORTED: Final = "unsupported"


@dataclass(frozen=True, slots=True)
class Code:
    """One code: severity error, warning or info; verdict; action; sentence."""

    severity: str
    verdict: str
    action: str
    sentence: str


_E, _W, _I = "error", "warning", "info"
_L, _A, _U = LOSSLESS, APPROXIMATED, UNSUPPORTED

_ROWS: Final[dict[str, tuple[str, str, str, str]]] = {
    # input
    "duplicate_key": (_W, _A, "last_counts", "A member stands twice in one object; the last one counts."),
    "unknown_member": (_W, _U, "kept_aside", "Pinpoint's API has no such member, or not of this type; it is kept in `unsupported`. Check what it was meant to do."),
    "enum_unknown": (_W, _A, "kept", "The value is none of those that Pinpoint's API lists."),
    "page_truncated": (_W, _U, "partial", "The file is one page of a list and says that more follow. Export the other pages too; they may be imported one by one."),
    "duplicate_journey": (_W, _U, "skipped", "The same journey stands more than once in the file; the one changed last counts."),
    "journey_id_made": (_W, _A, "made", "The journey has no Id, so one is made of its name and content: a changed journey is another one."),
    "journey_skipped_state": (_I, _U, "skipped", "The journey has ended. Ask for it by includeStates."),
    "journey_skipped_test": (_I, _U, "skipped", "This is a console's test of another journey. Ask for it by includeTestJourneys."),
    "journey_empty": (_E, _U, "emptied", "Nothing of the journey can run here."),
    "payload_too_large": (_E, _U, "skipped", "The journey has more than 1,000 activities."),
    "start_activity_inferred": (_W, _A, "inferred", "The start activity is missing or unknown; the only activity that nothing leads to is taken."),
    "start_activity_unknown": (_E, _U, "left_out", "Nobody can say where the journey starts. Set the trigger's next step."),
    "activity_empty": (_W, _A, "to_exit", "The activity was never filled in; the path ends there."),
    "activity_type_unknown": (_E, _U, "left_out", "Pinpoint's API knows no activity of this type. Set the step that should stand here."),
    "activity_type_ambiguous": (_W, _A, "first_taken", "The activity has two types; one is taken, the other kept in `unsupported`."),
    "dangling_next": (_W, _A, "to_exit", "The next activity does not exist; the path ends here."),
    "cycle_broken": (_W, _A, "to_exit", "The path leads back to where it came from; it ends here instead. Use re-entry for a repetition."),
    "unreachable_activity": (_W, _U, "left_out", "No path leads to the activity."),
    # entry
    "trigger_missing": (_W, _A, "manual", "The journey has no start condition; it is started by hand until its trigger is set."),
    "trigger_multiple_event_types": (_W, _A, "copied", "Several events start the journey; here each has a copy of its own. Re-entry and statistics are counted apart."),
    "trigger_event_unusable": (_E, _U, "left_out", "The start names no event, or all events but some. Choose a trigger contract."),
    "trigger_system_event": (_W, _A, "renamed", "Pinpoint made this event itself. Let the app send it, under the name chosen by systemEvents."),
    "entry_snapshot": (_W, _A, "kept", "Everybody who is in the audience at the scheduled time enters, once."),
    "entry_refresh": (_W, _A, "kept", "Pinpoint read the segment again and again; here a person enters on becoming a member."),
    "entry_backfill": (_W, _A, "kept", "At the first publish everybody who is in the audience already enters. Set `backfill: false` if they were served before."),
    "schedule_past": (_I, _L, "left_out", "The start time is past. Set a new one if the journey starts by schedule."),
    "schedule_end": (_W, _A, "kept_aside", "Journeys do not end by themselves here. Pause or archive it at that time."),
    "schedule_invalid": (_W, _A, "kept_aside", "The schedule cannot be read, or ends before it starts."),
    "local_time_dropped": (_W, _U, "kept_aside", "Start and end in each person's own zone do not exist here; they are instants."),
    "reentry_approximated": (_W, _A, "approximated", "How often one person may enter again is not counted here. Use the least interval."),
    "limits_not_applied": (_W, _A, "kept_aside", "Caps belong to the workspace here and were not touched. Set frequencyCaps and dailyCap there."),
    "quiet_time_not_applied": (_W, _A, "kept_aside", "Quiet hours belong to the workspace here and were not touched."),
    "quiet_time_semantics": (_W, _A, "kept_aside", "Pinpoint sent to people without a time zone all the same; here the workspace's zone counts for them."),
    "send_window_unsupported": (_W, _U, "kept_aside", "Open hours, closed days and estimated zones do not exist here. Use quiet hours, or waits until a local time."),
    "channel_settings_dropped": (_I, _U, "kept_aside", "The settings of the contact centre have no use here."),
    "in_flight_not_migrated": (_W, _A, "kept", "People inside the journey stay where they are in Pinpoint. Let it end there before it starts here."),
    "goal_missing": (_I, _L, "none", "Pinpoint knows no goal. Set one to see what the journey does."),
    # flow
    "wait_time_missing": (_E, _A, "left_out", "The wait has no time. Set its duration."),
    "wait_invalid_duration": (_E, _A, "left_out", "The time of the wait cannot be read. Set its duration."),
    "wait_calendar_unit": (_W, _A, "converted", "Months count 30 days here and years 365."),
    "wait_until_absolute": (_W, _L, "kept", "The wait ends at a fixed date. Is it still meant?"),
    "wait_past_removed": (_W, _L, "removed", "The wait ended at a time that is past; it is removed."),
    "wait_zero_removed": (_I, _L, "removed", "The wait lasted no time; it is removed."),
    "wait_both_set": (_W, _A, "first_taken", "The wait has a length and an end; the length counts."),
    "evaluation_wait_inserted": (_I, _L, "inserted", "The wait that the split hid is a step of its own, before it."),
    "evaluation_wait_early": (_W, _A, "converted", "Whoever fulfils the condition goes on at once; what happened before arrival counts too."),
    "condition_empty": (_E, _A, "left_out", "The condition was never filled in. Write it."),
    "condition_message_activity_unknown": (_W, _A, "false", "The condition looks at a message that the journey does not send; it is never true."),
    "condition_message_scope": (_W, _A, "kept", "The message stands on no path to this split, so the condition is never true."),
    "condition_event_unmapped": (_W, _A, "kept", "This is no event of a message that we know; it is expected as an event of the app."),
    "condition_channel_unsupported": (_W, _A, "false", "The condition looks at a message that is not sent here; it is never true."),
    "condition_webhook_response": (_W, _A, "converted", "The condition reads what the webhook answered, as saved by the step. Let the server answer with that member."),
    "operator_missing": (_W, _A, "all", "Nothing says whether all conditions have to hold or any; all have to."),
    "arm_to_exit": (_I, _L, "to_exit", "The arm leads nowhere; the path ends there."),
    "multi_default_missing": (_I, _L, "to_exit", "Whoever fits no arm leaves the journey."),
    "multi_arm_without_condition": (_E, _A, "left_out", "The arm has no condition. Write it."),
    "percent_sum": (_W, _A, "scaled", "The percentages do not add up to 100; they are scaled."),
    "percent_missing": (_W, _A, "shared", "A percentage is missing; what the others leave is shared equally."),
    "random_split_static": (_I, _A, "kept", "The draw is the same for a person every time here; Pinpoint drew anew."),
    "random_split_adaptive": (_W, _A, "converted", "The branch learns which arm converts; the percentages are lost. Set a goal."),
    "holdout_as_branch": (_W, _A, "converted", "The holdout is a random branch. The workspace's own holdout and calibrated impact stay apart from it, and both apply."),
    "holdout_noop": (_I, _L, "removed", "A holdout of nobody is removed."),
    "holdout_all": (_W, _L, "to_exit", "A holdout of everybody: the path ends here."),
    # messages
    "template_missing": (_E, _A, "left_out", "The activity names no template. Choose a communication."),
    "template_not_in_export": (_E, _A, "placeholder", "The template is not in the export. Export it too, or choose a communication."),
    "template_version_not_in_export": (_W, _A, "replaced", "That version of the template is not in the export, or nothing says which one is active; the highest in it is taken."),
    "template_variable_unmapped": (_W, _A, "kept", "The template prints something that has no sure equal here. Look at it."),
    "template_helper_unsupported": (_E, _U, "text", "The template uses what has no equal here; it stays in the text as it is. Rewrite it in Liquid."),
    "template_recommender": (_W, _U, "kept_aside", "Recommendations do not exist here; they print nothing."),
    "substitutions_invalid": (_W, _A, "kept_aside", "The default substitutions are no JSON object of texts."),
    "template_channel_unsupported": (_W, _U, "kept_aside", "There is no channel for this template; its text is kept in `unsupported`."),
    "from_address_override": (_I, _L, "copied", "The template is sent from several addresses; each has a communication of its own."),
    "push_override_merged": (_W, _A, "merged", "What the push says on one platform only is in `data.overrides`; title and body are the default's."),
    "push_raw_content": (_W, _A, "kept_aside", "Raw content beats everything in Pinpoint; here it is in `data.overrides` and not sent as it is."),
    "push_ttl": (_W, _A, "kept_aside", "How long a push may be delivered cannot be set here."),
    "sms_unsupported": (_W, _U, "skipped", "There is no SMS channel; the activity is skipped, or replaced as the option `sms` says."),
    "sms_transactional": (_W, _U, "skipped", "The SMS was transactional; journeys send marketing only."),
    "custom_payload_differs": (_W, _A, "converted", "The webhook's body is not the one that Pinpoint sent. Adapt the server, or the step's body."),
    "custom_endpoint_filter": (_W, _A, "kept_aside", "Pinpoint called only for endpoints of some types; here for everybody. Put a branch before it."),
    "custom_lambda_unresolved": (_E, _U, "left_out", "A Lambda function has no URL. Give it one, and name it in `resolutions.webhooks` or in the step."),
    "custom_url_invalid": (_E, _U, "left_out", "The address cannot be called from here. Give the step a public https URL."),
    "custom_uri_missing": (_E, _A, "left_out", "The activity has no address. Set the step's URL."),
    "custom_template_dropped": (_W, _U, "kept_aside", "Templates of custom channels do not exist here."),
    "contact_center_unsupported": (_W, _U, "skipped", "There is no contact centre; the activity is skipped."),
    # audiences and campaigns
    "audience_missing": (_E, _A, "dangling", "The segment is not in the export. Export it too, or choose an audience."),
    "audience_imported": (_E, _U, "emptied", "The members of an imported segment are not in the export; the audience is empty. Supply their ids."),
    "audience_operator": (_E, _U, "left_out", "The comparison cannot be expressed here. Write the condition."),
    "audience_recency": (_W, _A, "converted", "Activity means the session event here. Let the app send it, under the name chosen by systemEvents."),
    "audience_demographic": (_W, _A, "converted", "What Pinpoint knew of a device or place is read from the profile. Put it there."),
    "audience_gps": (_E, _U, "left_out", "Distances from a point cannot be expressed here."),
    "audience_exclusive_absent": (_W, _A, "converted", "Whoever has no such value belongs to it too."),
    "audience_everyone": (_W, _L, "kept", "The segment has no condition: everybody is in it."),
    "audience_version_ignored": (_I, _A, "kept", "The current version of the source segment counts."),
    "audience_cycle": (_E, _U, "left_out", "The segment is made of itself. Break the circle."),
    "audience_definitions_differ": (_W, _A, "groups_taken", "The segment is defined twice, differently; its groups count."),
    "campaign_hook": (_W, _U, "kept_aside", "There is no function that changes a campaign's members. Put the rule into the audience."),
    "campaign_recurrence": (_W, _A, "converted", "The campaign repeats by a recurrence rule in UTC."),
    "campaign_treatments": (_W, _A, "converted", "Treatments and the campaign's holdout are arms of a random branch."),
}  # fmt: skip

CODES: Final = {name: Code(*row) for name, row in _ROWS.items()}
