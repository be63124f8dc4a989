"""The life of a defacing attempt as data: statuses, events and the one transition table."""

from enum import StrEnum


class Status(StrEnum):
    """Where an attempt stands."""

    TO_DEFACE = "to_deface"
    TO_RENDER = "to_render"
    TO_CLASSIFY = "to_classify"
    VERIFY = "verify"
    REFER = "refer"
    FAILED = "failed"
    PASSED = "passed"
    ERROR = "error"
    NEEDS_PERSON = "needs_person"
    WITHDRAWN = "withdrawn"

    @property
    def label(self) -> str:
        """The words shown on screen."""
        return STATUS_LABELS[self]


class Event(StrEnum):
    """What can happen to an attempt."""

    DEFACED = "defaced"
    RENDERED = "rendered"
    TRIAGED_VERIFY = "triaged_verify"
    TRIAGED_REFER = "triaged_refer"
    TRIAGED_FAIL = "triaged_fail"
    JUDGED_PASS = "judged_pass"
    JUDGED_FAIL = "judged_fail"
    DOUBTED = "doubted"
    EXHAUSTED = "exhausted"
    REDEFACE_ORDERED = "redeface_ordered"
    UNDONE_TO_VERIFY = "undone_to_verify"
    UNDONE_TO_REFER = "undone_to_refer"
    UNDONE_TO_NEEDS_PERSON = "undone_to_needs_person"
    BROKE = "broke"
    RETRIED_DEFACE = "retried_deface"
    RETRIED_RENDER = "retried_render"
    RETRIED_CLASSIFY = "retried_classify"
    RECLASSIFIED = "reclassified"
    WITHDRAWN = "withdrawn"


STATUS_LABELS = {
    Status.TO_DEFACE: "Waiting to be defaced",
    Status.TO_RENDER: "Waiting for pictures",
    Status.TO_CLASSIFY: "Waiting for the model",
    Status.VERIFY: "To verify",
    Status.REFER: "Visual QC",
    Status.FAILED: "Failed",
    Status.PASSED: "Passed",
    Status.ERROR: "Error",
    Status.NEEDS_PERSON: "Needs a person",
    Status.WITHDRAWN: "Withdrawn",
}

WORKING = frozenset({Status.TO_DEFACE, Status.TO_RENDER, Status.TO_CLASSIFY})
UNDECIDED = frozenset({Status.VERIFY, Status.REFER})
JUDGEABLE = UNDECIDED | {Status.NEEDS_PERSON}
TRIAGEABLE = UNDECIDED | {Status.TO_CLASSIFY}

# Only JUDGED_PASS leads to PASSED, and only a person's verdict raises it.
TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.TO_DEFACE, Event.DEFACED): Status.TO_RENDER,
    (Status.TO_RENDER, Event.RENDERED): Status.TO_CLASSIFY,
    **{(status, Event.TRIAGED_VERIFY): Status.VERIFY for status in TRIAGEABLE},
    **{(status, Event.TRIAGED_REFER): Status.REFER for status in TRIAGEABLE},
    **{(status, Event.TRIAGED_FAIL): Status.FAILED for status in TRIAGEABLE},
    **{(status, Event.JUDGED_PASS): Status.PASSED for status in JUDGEABLE},
    **{(status, Event.JUDGED_FAIL): Status.FAILED for status in JUDGEABLE},
    **{(status, Event.DOUBTED): Status.REFER for status in UNDECIDED},
    (Status.FAILED, Event.EXHAUSTED): Status.NEEDS_PERSON,
    (Status.NEEDS_PERSON, Event.REDEFACE_ORDERED): Status.FAILED,
    **{
        (status, event): target
        for status in (Status.PASSED, Status.FAILED, Status.REFER, Status.NEEDS_PERSON)
        for event, target in (
            (Event.UNDONE_TO_VERIFY, Status.VERIFY),
            (Event.UNDONE_TO_REFER, Status.REFER),
            (Event.UNDONE_TO_NEEDS_PERSON, Status.NEEDS_PERSON),
        )
    },
    **{(status, Event.BROKE): Status.ERROR for status in WORKING},
    (Status.ERROR, Event.RETRIED_DEFACE): Status.TO_DEFACE,
    (Status.ERROR, Event.RETRIED_RENDER): Status.TO_RENDER,
    (Status.ERROR, Event.RETRIED_CLASSIFY): Status.TO_CLASSIFY,
    **{(status, Event.RECLASSIFIED): Status.TO_CLASSIFY for status in UNDECIDED},
    (Status.TO_DEFACE, Event.WITHDRAWN): Status.WITHDRAWN,
    (Status.ERROR, Event.WITHDRAWN): Status.WITHDRAWN,
    (Status.NEEDS_PERSON, Event.WITHDRAWN): Status.WITHDRAWN,
}

RETRY_EVENT = {
    Status.TO_DEFACE: Event.RETRIED_DEFACE,
    Status.TO_RENDER: Event.RETRIED_RENDER,
    Status.TO_CLASSIFY: Event.RETRIED_CLASSIFY,
}
UNDO_EVENT = {
    Status.VERIFY: Event.UNDONE_TO_VERIFY,
    Status.REFER: Event.UNDONE_TO_REFER,
    Status.NEEDS_PERSON: Event.UNDONE_TO_NEEDS_PERSON,
}


class IllegalTransition(Exception):
    """The event cannot happen in this status."""

    def __init__(self, status: Status, event: Event) -> None:
        super().__init__(f"{event.value} cannot happen to an attempt that is {status.value}")
        self.status = status
        self.event = event


def after(status: Status, event: Event) -> Status:
    """The status that follows; raises IllegalTransition where the table has none."""
    try:
        return TRANSITIONS[(status, event)]
    except KeyError:
        raise IllegalTransition(status, event) from None
