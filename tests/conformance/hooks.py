"""What Schemathesis cannot know of the platform: what it stands on itself, and which rules no schema can say.

Whatever is let pass here is let pass for a reason that stands beside it.
"""

import itertools
import json
import os
import pathlib
import re

import hypothesis
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

# The search for higher scores of Hypothesis 6.170 may end with an IndexError of its own, which is no finding.
hypothesis.target = lambda observation, *, label="": observation

# What the caller's own rights hang on: their user and key, the tenant that they act in and its partner, and the module that
# most operations are of. Whatever takes one of them away makes every later answer a 401 or a 403, which says nothing.
KEPT = set(os.environ["CONFORMANCE_KEPT"].split())
READING = ("GET", "HEAD", "OPTIONS", "TRACE")


@schemathesis.hook
def filter_case(context, case):
    """Nobody saws off the branch that they sit on, nor removes what there is for others to find."""
    given = {name: str(value) for name, value in (case.path_parameters or {}).items()}
    last = case.path.rpartition("{")[2].removesuffix("}")
    if case.method == "DELETE" and given.get(last) in WORLD.values():
        return False
    return case.method in READING or KEPT.isdisjoint(given.values())


# Ids of things that there are, by the names that they have in paths. An id that is drawn names nothing, and nothing is learnt
# from one 404 after the other.
WORLD = json.loads(pathlib.Path(os.environ["CONFORMANCE_WORLD"]).read_text())
FAMILIES = {"/v1/users/": "user", "/v1/groups/": "group", "/v1/iam/custom-roles/": "custom_role", "/v1/api-keys/": "key"}
TURNS = itertools.count()
KEY = "Idempotency-Key"
KEYS = itertools.count(1)
TAGS = "If-Match"


def named(path, parameter):
    if parameter != "id":
        return WORLD.get(parameter)
    return next((WORLD[name] for family, name in FAMILIES.items() if path.startswith(family)), None)


def whole(value):
    """JSON Schema takes 1.0 for a whole number; readers in typed languages do not, and whoever writes it means another one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


def is_drawn(case):
    """Whether the path is well-formed and made up, rather than taken from an earlier answer."""
    if case.meta is None:
        return False
    follows = case.meta.phase.name == TestPhase.STATEFUL or case.meta.pool_draws
    return not follows and not case.meta.is_negative_at(ParameterLocation.PATH)


@schemathesis.hook
def map_case(context, case):
    """Three of four well-formed paths lead to what there is. It stays: what is removed was made on the way."""
    if case.method != "DELETE" and is_drawn(case) and next(TURNS) % 4:
        for parameter in case.path_parameters or {}:
            known = named(case.path, parameter)
            if known is not None and (case.method in READING or known not in KEPT):
                case.path_parameters[parameter] = known
    # A key that was drawn before belongs to another request, whose answer would be given again.
    given = (case.headers or {}).get(KEY)
    if isinstance(given, str) and re.fullmatch("[!-~]{1,255}", given):
        case.headers[KEY] = f"conformance-{next(KEYS)}"
    if case.meta is None or case.meta.generation.mode.is_positive:
        case.body = whole(case.body)
        # Beside the required headers Schemathesis puts the last of the wrong values that it has tried for an optional one.
        if not re.match(r'(\*$|(W/)?")', str((case.headers or {}).get(TAGS, "*"))):
            case.headers[TAGS] = '"r3"'
    return case


# Rules that a request can break though it is as its schema says: of which field, and what is told. JSON Schema knows neither what
# there is in the database, nor what fields say together, nor how many bytes a text takes.
BEYOND_SCHEMAS = [
    # What is named must exist, be somebody's, or be of a kind.
    ("", r"^is no (backend|custom role|model|plugin|user) "),
    ("", r"^must be (an AI$|a built-in role, or a custom role|a user of the tenant, by id|one of the enabled models$)"),
    ("^model$", r"^is needed: the tenant has no default model$"),
    ("", r"^must be an active user of the tenant$"),
    ("", r"^must be a group of the tenant, by id or slug$"),
    ("", r"^must be the id or the local id of (a participant of the tenant who is enabled|an AI, or of a person in the room)$"),
    ("^at$", r"^must be the number of an entry, "),
    ("^Last-Event-ID$", ""),
    ("", r"^must be (a flow of the Core's program|the id of a block of the flow)$"),
    ("", r"^the program has no flow "),
    ("", r"^is not taken by the model: "),
    ("", r"^is not a setting of this module$"),
    # What holds where the caller is, or now.
    ("", r"^must be (global|partner|tenant) at this level$"),
    ("", r"^must be in the future$"),
    ("^core_id$", r"^names a Core (that is published; use sync|that is not published|without a delegation|whose user has taken back what they lent; lend it anew)$"),
    # What one field may be hangs on another one.
    ("", r"^does not go with "),
    ("^stream_options$", r"is for streamed answers only$"),
    ("^(decision|assignee)$", r"^is required$"),
    ("", r"^is required when "),
    ("", r"^is allowed only (with|when) "),
    ("", r"^must not stand beside "),
    ("", r"^must be before the end of the period$"),
    ("", r"^must be 0 for an AI$"),
    ("^helper_enabled$", r"^is needed: the participant is no helper yet$"),
    ("^slug$", r"^(is needed, since the name has neither letter nor digit|cannot be made of this name; give one)$"),
    ("^name$", r"^must contain a letter or a digit$"),
    ("", r"^must be at most 400 days after the beginning of the period$"),
    ("", r"^is the name of another template already$"),
    # Objects whose fields hang on a kind: of the backend, the plugin, its credentials, the trigger.
    (r"^(connection_config|manifest|credentials|config)\b", ""),
    (r"^environment\.", r"^(there is no stored secret to keep|a secret must have )"),
    # What an expression says is not for a schema.
    ("^(condition|expression)$", ""),
    # Multiples of a billionth are none that a machine's numbers know exactly.
    ("_price_per_mtok$", r"^must be a decimal number "),
    # A URL is longer when it is spelled out, and an e-mail address is more than its format.
    ("^(url|endpoint)$", r"^must have at most 2048 characters$"),
    ("", r"^(must be an e-mail address$|expected user:)"),
    # Lengths of schemas count characters, those of the platform what a text takes in UTF-8.
    ("", r"^must be (at most \d+ bytes|a text of at most \d+ bytes, and not empty)$"),
    # What a cursor tells is sealed.
    ("^cursor$", ""),
    # What is in a file is not said by a schema.
    ("^file$", r"^neither a bundle "),
    ("", r"^The file is no PNG, JPEG, GIF, WebP or SVG$"),
    # No database keeps U+0000 in every place, and JSON that is the caller's own holds any text.
    ("", r"U\+0000"),
]


def is_beyond_schemas(field, message):
    return any(re.search(where, field) and re.search(what, message) for where, what in BEYOND_SCHEMAS)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A schema-valid request may be refused for rules that no schema can say, if every one that is told is such a rule."""
    # In a form of one file there is nothing to make invalid, and Schemathesis sends what is valid, a picture, whatever it says is
    # wrong with it: the body, or a key that it has left out again or that has almost the greatest length.
    if type(failure).__name__ == "AcceptedNegativeData" and case.path.endswith("/avatar"):
        is_picture = isinstance(case.body, dict) and set(case.body) == {"file"}
        key = (case.headers or {}).get(KEY, "none")
        return not (is_picture and re.fullmatch("[!-~]{1,255}", key))
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code not in (400, 422):
        return True
    try:
        error = response.json()["error"]
        # OpenAI's clients are told of the first field only, with its name before it.
        param = error.get("param") or ""
        told = [{"field": param, "message": error["message"].removeprefix(f"{param} ")}]
        details = error.get("details") or told
    except (ValueError, KeyError, TypeError):
        return True
    return not all(is_beyond_schemas(detail["field"], detail["message"]) for detail in details)
