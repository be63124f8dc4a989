"""What templates need beside plain values: navigation, badges, times, bars."""

import math

from django import template
from django.urls import reverse
from django.utils.html import format_html

from reviews.models.decisions import CLASS_LABELS
from reviews.models.people import belongs, counts_are_hidden
from reviews.wording import problem_words, reason_words

register = template.Library()

PAGES = [
    ("home", "home", "Home"),
    ("scans", "scans", "Scans"),
    ("thresholds", "thresholds", "Thresholds"),
    ("reports", "reports", "Reports"),
    ("setup", "setup", "Set-up"),
]
MEMBERS_ONLY = ("thresholds", "setup")
COUNTING = ("thresholds",)
LETTERS = {"pass": "P", "face": "F", "brain": "B", "both": "M"}
FIRST = ("status", "class", "mode")


@register.simple_tag(takes_context=True)
def navigation(context) -> list[tuple[str, str, str]]:
    """(section, address, words) of the pages in the bar; whoever has no role here sees none of the whole site's."""
    user = context.get("user")
    if user is None or not user.is_authenticated:
        return []
    hidden = MEMBERS_ONLY if not belongs(user) else COUNTING if counts_are_hidden(user) else ()
    return [(section, reverse(name), words) for section, name, words in PAGES if section not in hidden]


@register.simple_tag
def class_badge(name: str) -> str:
    """A class with its letter and colour; '' shows nothing."""
    if name not in CLASS_LABELS:
        return ""
    return format_html('<span class="badge {}"><b>{}</b> {}</span>', name, LETTERS[name], CLASS_LABELS[name])


@register.simple_tag
def status_badge(attempt) -> str:
    """Where an attempt stands, in words."""
    return format_html('<span class="badge {}">{}</span>', attempt.status, attempt.state.label)


@register.simple_tag
def when(moment) -> str:
    """A time that the page shows in the reader's zone, exact on hover."""
    if moment is None:
        return "–"
    iso = moment if isinstance(moment, str) else moment.isoformat()
    return format_html('<time datetime="{}">{}</time>', iso, iso[:16].replace("T", " ") + " UTC")


@register.filter
def plainly(value) -> str:
    """What the trail or an engine recorded, in words: {'status': 'verify', 'class': None} -> status verify, class –."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {within(value[name])}" for name in sorted(value, key=place))
    if isinstance(value, list | tuple):
        return " ".join(within(inner) for inner in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None or value == "" else str(value)


def place(name: str) -> tuple[int, str]:
    """What is said first, then by name: PostgreSQL does not keep the order in which something was recorded."""
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def within(value) -> str:
    """The same inside of something: what has parts stands in brackets."""
    return f"({plainly(value)})" if isinstance(value, dict) and value else plainly(value)


@register.filter
def at_most(count: float) -> str:
    """An upper bound of a number of scans: 3.7 -> at most 4, 0.4 -> fewer than one."""
    return "fewer than one" if count < 1 else f"at most {math.ceil(count):,}"


@register.filter
def percent(share) -> str:
    """0.918 -> 91.8 %; nothing known -> a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


@register.filter
def route_sentence(reason: str) -> str:
    """Why triage chose the route."""
    return reason_words(reason)


@register.filter
def problem_sentence(found) -> str:
    """What was found wrong."""
    return problem_words(found)


@register.filter
def duration(milliseconds) -> str:
    """4200 -> 4.2 s; 754000 -> 12 min 34 s."""
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


@register.filter
def item(mapping, key):
    """mapping[key], or nothing."""
    return mapping.get(key) if mapping else None
