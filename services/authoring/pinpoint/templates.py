"""Templates as communications.

Law: a communication is one template in one version, sent from one address. What a template says on a channel that we
lack is kept with its text. A communication whose template is not in the export is a placeholder, and sends nothing.
Source: pinpoint design 3.3, 4.2 and 4.4.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.authoring.pinpoint.identity import source_id_of
from services.authoring.pinpoint.library import MAX_TITLE, Found, Library, hashed
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.shapes import PLATFORMS, TEMPLATES, fitted
from services.authoring.pinpoint.substitution import read_defaults, substituted
from services.domain.journey.members import shown

CHANNELS: Final = {"EMAIL": "email", "PUSH": "mobile_push", "INAPP": "in_app_push"}
ACTIVE: Final = "active"
MAX_TEXT: Final = 1 << 20  # characters of one text; Pinpoint takes 600,000
_TEXTS: Final = ("subject", "body", "text", "title")
_PARTS: Final = {"EMAIL": ("Subject", "HtmlPart", "TextPart"), "PUSH": ("Default",), "INAPP": ("Content",)}


def add_unused(library: Library) -> None:
    """Communications for what the export has and no journey sends; templates of other channels are kept aside."""
    for (kind, name), versions in sorted(library.templates.items()):
        if kind not in CHANNELS:
            for found in versions.values():
                library.notes.of(None).drop("template_channel_unsupported", kind, found.path, found.value)
            continue
        active = _highest(versions)
        for version, found in sorted(versions.items()):
            if (kind, name, version) not in library.used_templates:
                source = f"{kind}/{name}@{ACTIVE if version == active else version or ACTIVE}"
                _make(library, kind, name, source, found, None)


def communication_ref(
    library: Library, kind: str, name: str, version: str | None, sender: str | None, path: str, notes: Notes
) -> str:
    """The ref of what an activity sends, made if the export has the template, else a placeholder, said.

    `kind` is EMAIL, PUSH, INAPP; `version` None or "active" is whichever is active.
    """
    pinned = None if version in (None, "", ACTIVE, "latest") else version
    source = f"{kind}/{name}@{pinned or ACTIVE}"
    senders = library.senders.get((kind, name, pinned or ACTIVE), set())
    if len(senders) > 1:
        notes.say("from_address_override", path)
        if sender != min(senders, key=lambda one: one or ""):
            source = f"{source}#{sender}"
    versions = library.templates.get((kind, name), {})
    found = versions.get(pinned) if pinned is not None else None
    if versions and found is None:
        if pinned is not None or len(versions) > 1:
            notes.say("template_version_not_in_export", path, f"Wanted is {shown(pinned or ACTIVE)}.")
        found = versions[_highest(versions)]
    if found is None:
        notes.say("template_not_in_export", path, f"It is {shown(name)}.")
    return _make(library, kind, name, source, found, sender)


def _highest(versions: Mapping[str, Found]) -> str:
    return max(versions, key=lambda text: (int(text) if text.isdecimal() and len(text) < 10 else -1, text))


def _make(library: Library, kind: str, name: str, source: str, found: Found | None, sender: str | None) -> str:
    source_id = source_id_of(source)
    ref = library.ref("communication", source_id)
    if ref in library.communications:
        return ref
    notes = library.notes.of(ref)
    content: dict[str, Any] = dict.fromkeys((*_TEXTS, "data"))
    variables: set[str] = set()
    extensions: dict[str, Any] = {}
    is_placeholder = found is None
    if found is not None:
        library.used_templates.add((kind, name, _version(found.value)))
        template = fitted(found.value, TEMPLATES[kind], found.path, notes) or {}
        notes.keep_whole("Template", found.path, found.value)
        lossy = _fill(content, variables, kind, template, found.path, library, notes)
        hidden = set() if lossy else set(_PARTS[kind])
        extensions = {"source": {member: value for member, value in template.items() if member not in hidden}}
        is_placeholder = _is_broken(content, found.path, library, notes)
        if is_placeholder:
            content = dict.fromkeys((*_TEXTS, "data"))
            extensions = {"source": template}
    made = {
        "ref": ref,
        "sourceId": source_id,
        "name": name.strip()[:MAX_TITLE] or "Template",
        "commType": "marketing",
        "channel": CHANNELS[kind],
        **content,
        "from": sender,
        "variables": sorted(variables),
        "placeholder": is_placeholder,
    }
    if extensions:
        made["extensions"] = {"pinpoint": extensions}
    library.communications[ref] = hashed(made)
    return ref


def _version(template: Mapping[str, Any]) -> str:
    version = template.get("Version")
    return version if isinstance(version, str) else ""


def _is_broken(content: Mapping[str, Any], path: str, library: Library, notes: Notes) -> bool:
    """Whether a text would not compile, which only the strangest do: too long, too many variables."""
    for member in _TEXTS:
        for fault in library.template_faults(content[member]) if content[member] else ():
            notes.say("template_helper_unsupported", path, f"{member}: {fault}")
            return True
    return False


def _fill(
    content: dict[str, Any],
    variables: set[str],
    kind: str,
    template: Mapping[str, Any],
    path: str,
    library: Library,
    notes: Notes,
) -> bool:
    """Put the template's texts into `content`; whether something of them was lost on the way."""
    defaults: dict[str, str] = {}
    if "DefaultSubstitutions" in template:
        read = read_defaults(template["DefaultSubstitutions"])
        if read is None:
            notes.say("substitutions_invalid", step_into(path, "DefaultSubstitutions"))
        defaults = read or {}
    if "RecommenderId" in template:
        notes.say("template_recommender", step_into(path, "RecommenderId"))
    is_lossy = False

    def liquid(text: str | None, at: str) -> str | None:
        nonlocal is_lossy
        if text is None:
            return None
        if len(text) > MAX_TEXT:
            is_lossy = True
            notes.say("template_helper_unsupported", at, f"It has more than {MAX_TEXT:,} characters.")
            return None
        made = substituted(text, defaults, library.options.variable_map)
        variables.update(made.variables)
        for code, detail in made.said:
            is_lossy = True
            notes.say(code, at, detail)
        return made.text

    match kind:
        case "EMAIL":
            for member, source in (("subject", "Subject"), ("body", "HtmlPart"), ("text", "TextPart")):
                content[member] = liquid(template.get(source), step_into(path, source))
        case "PUSH":
            _push(content, template, path, notes, liquid)
        case _:
            _in_app(content, template, path, liquid)
    return is_lossy or kind != "EMAIL"


def _push(content: dict[str, Any], template: Mapping[str, Any], path: str, notes: Notes, liquid: Any) -> None:
    default = template.get("Default", {})
    overrides = {platform: template[platform] for platform in PLATFORMS if template.get(platform)}
    first: Mapping[str, Any] = {} if default else next(iter(overrides.values()), {})
    for member, source in (("title", "Title"), ("body", "Body")):
        content[member] = liquid(default.get(source, first.get(source)), step_into(path, "Default", source))
    data: dict[str, Any] = {
        name[0].lower() + name[1:]: value for name, value in default.items() if name not in ("Title", "Body")
    }
    if overrides:
        notes.say("push_override_merged", path)
        data["overrides"] = overrides
    if any("RawContent" in one for one in (default, *overrides.values())):
        notes.say("push_raw_content", path)
    content["data"] = data or None


def _in_app(content: dict[str, Any], template: Mapping[str, Any], path: str, liquid: Any) -> None:
    pages = template.get("Content", [])
    first = pages[0] if pages else {}
    for member, config, text in (("title", "HeaderConfig", "Header"), ("body", "BodyConfig", "Body")):
        found = first.get(config, {}).get(text)
        content[member] = liquid(found if isinstance(found, str) else None, step_into(path, "Content", 0, config, text))
    data = {"layout": template.get("Layout"), "content": pages or None, "customConfig": template.get("CustomConfig")}
    content["data"] = {name: value for name, value in data.items() if value is not None} or None
