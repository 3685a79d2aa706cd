"""The door to Jinja2: a page as HTML that needs nothing else, and in which nothing runs but its own few lines."""

import base64
import hashlib
from dataclasses import replace
from importlib import resources
from typing import Any

from lstm_checks.extras import MissingExtra
from lstm_checks.html.levels import BROKEN, KILLED, LEVELS, SHARES
from lstm_checks.html.parts import Page, cut

LARGEST = 2 * 10**6
"""Bytes of a page at most."""

LEGENDS = {
    "tolerance": [*((name, words) for name, _, words in LEVELS), BROKEN],
    "credit": [*SHARES],
    "killed": [*KILLED],
}
"""What the colours of a map mean, by what it shows."""


def need_jinja() -> Any:
    """Return the module.

    Raises
    ------
    MissingExtra
        With the command that installs it.
    """
    try:
        import jinja2
    except ImportError as error:
        message = "a page needs Jinja2, which is not here: pip install 'lstm-checks[html]'"
        raise MissingExtra(message) from error
    return jinja2


def render_page(page: Page) -> str:
    """Return a page as HTML. What came from elsewhere is escaped, and the policy lets only what is ours be run."""
    jinja2 = need_jinja()
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: cut(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["legends"] = LEGENDS
    style, script = _template("style.css"), _template("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # These two are files of this package; the policy has their digests.
    own = {"style": jinja2.utils.markupsafe.Markup(style), "script": jinja2.utils.markupsafe.Markup(script)}
    text: str = environment.get_template("page.html").render(page=page, policy=policy, **own)
    if len(text.encode("utf-8", "backslashreplace")) > LARGEST:
        return render_page(_shortened(page))
    return text


def _shortened(page: Page) -> Page:
    """Return a page without its last section, or without its facts where there is none, and the word that it is so."""
    if not page.sections:
        return replace(page, facts=())
    *kept, last = page.sections
    note = f"{last.title} is left out, since the page would be larger than {LARGEST // 10**6} MB; the JSON has it."
    return replace(page, sections=tuple(kept), facts=(*page.facts, ("left out", note)))


def _template(name: str) -> str:
    """Return a file of the folder of templates."""
    return resources.files("lstm_checks.html").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the digest by which a policy knows a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
