"""What Schemathesis cannot know of the platform: what it stands on itself, and which rules no schema can say.

Loaded by schemathesis.toml beside it. Everything that is let pass here is let pass for a reason that stands beside it.
"""

import os
import re

import schemathesis

# What the caller's own rights hang on: their user and key, the tenant that they act in and its partner, and the module that
# most operations are of. Whatever takes one of them away makes every later answer a 401 or a 403, which says nothing.
KEPT = set(os.environ["CONFORMANCE_KEPT"].split())


@schemathesis.hook
def filter_case(context, case):
    """Nobody saws off the branch that they sit on."""
    if case.method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        return True
    return KEPT.isdisjoint(str(value) for value in (case.path_parameters or {}).values())


# Rules that a request can break though it is as its schema says, by what is told of the field. JSON Schema knows neither
# what there is in the database, nor what two fields say together, nor how many bytes a text takes.
BEYOND_SCHEMAS = [
    # What is named must exist, be somebody's, or be of a kind.
    r"^there is no such ",
    # Sizes count bytes or JSON, lengths of schemas count characters.
    r"^must be at most \d+ bytes",
    # No database keeps U+0000 in every place, and free JSON holds any text.
    r"U\+0000",
]
BEYOND = re.compile("|".join(BEYOND_SCHEMAS))


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A schema-valid request may be refused for rules that no schema can say, if every one that is told is such a rule."""
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code not in (400, 422):
        return True
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return True
    told = [detail["message"] for detail in error.get("details") or []] or [error["message"]]
    return not all(BEYOND.search(message) for message in told)
