"""What people fill in; every value is checked here before an action sees it."""

import math
from types import MappingProxyType
from typing import Self

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from inference.triage import ThresholdPolicy
from reviews.actions.people import CONFIGURABLE
from reviews.models import Dataset, Mode, Role
from reviews.models.decisions import CLASS_CHOICES
from reviews.states import Status

SORT_CHOICES = [
    ("newest", "Newest first"),
    ("subject", "Subject"),
    ("confidence", "Most confident pass"),
    ("doubtful", "Least confident pass"),
    ("changed", "Last changed"),
]


class ScanFilter(forms.Form):
    """The filter of the overview; everything in it is in the address."""

    q = forms.CharField(label="Search", required=False, max_length=128)
    dataset = forms.ModelChoiceField(
        Dataset.objects.none(), required=False, to_field_name="slug", empty_label="All"
    )
    status = forms.ChoiceField(
        choices=[("", "Current attempts"), *((status.value, status.label) for status in Status)],
        required=False,
    )
    modality = forms.CharField(required=False, max_length=64)
    sort = forms.ChoiceField(choices=SORT_CHOICES, required=False)
    start = forms.CharField(label="From subject", required=False, max_length=128)
    again = forms.BooleanField(label="Defaced again", required=False)
    history = forms.BooleanField(label="Every attempt", required=False)
    doubted = forms.BooleanField(label="Doubted by every reviewer", required=False)
    show = forms.CharField(required=False, max_length=8, widget=forms.HiddenInput)

    def __init__(self, *args, datasets, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dataset"].queryset = datasets
        self.fields["q"].widget.attrs["placeholder"] = "Subject, file name or hash"
        self.fields["modality"].widget.attrs["placeholder"] = "T1w"


class PolicyForm(forms.Form):
    """The three cut-offs, on sliders that move in `steps`."""

    steps = MappingProxyType({"verify_min": 0.001, "fail_min": 0.005, "class_min": 0.005})

    @classmethod
    def showing(cls, policy: ThresholdPolicy) -> Self:
        """The form with these cut-offs; one between two steps is shown as the stricter of them."""
        values = policy.to_dict()
        counts = {name: math.ceil(round(values[name] / step, 6)) for name, step in cls.steps.items()}
        return cls(initial={name: round(counts[name] * step, 3) for name, step in cls.steps.items()})

    verify_min = forms.FloatField(label="Verify from p(pass)")
    fail_min = forms.FloatField(label="Fail from 1 − p(pass)")
    class_min = forms.FloatField(label="and one failure class from")
    note = forms.CharField(required=False, max_length=200)

    def clean(self) -> dict:
        cleaned = super().clean()
        numbers = {name: cleaned.get(name) for name in ("verify_min", "fail_min", "class_min")}
        if None not in numbers.values():
            try:
                cleaned["policy"] = ThresholdPolicy(**numbers)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


class NewDatasetForm(forms.Form):
    """Name and title of a study."""

    slug = forms.SlugField(
        label="Short name", max_length=64, help_text="Letters, digits, - and _; used in addresses."
    )
    title = forms.CharField(max_length=200, required=False)


class DatasetForm(forms.ModelForm):
    """A dataset's standard and way of working."""

    class Meta:
        model = Dataset
        fields = CONFIGURABLE


class GrantForm(forms.Form):
    """A person, their role, and whether they may see or download originals."""

    user = forms.ModelChoiceField(get_user_model().objects.order_by("username"), label="Person")
    role = forms.ChoiceField(choices=Role.choices)
    sees_originals = forms.BooleanField(
        required=False,
        help_text="Heads as they were before defacing: before and after, what was removed. Every look is logged.",
    )
    downloads_originals = forms.BooleanField(required=False, help_text="Whole volumes before defacing.")


class AssignForm(forms.Form):
    """A queue for one reviewer or one team."""

    mode = forms.ChoiceField(
        label="Queue", choices=[(Mode.VERIFY, Mode.VERIFY.label), (Mode.VISUAL, Mode.VISUAL.label)]
    )
    user = forms.ModelChoiceField(
        get_user_model().objects.order_by("username"), label="Reviewer", required=False
    )
    team = forms.ModelChoiceField(Group.objects.order_by("name"), required=False)


class KnownForm(forms.Form):
    """The true class of a known case."""

    truth = forms.ChoiceField(label="It is", choices=CLASS_CHOICES)
    practice = forms.BooleanField(label="For practice, with feedback", required=False)
    explanation = forms.CharField(required=False, max_length=200)
