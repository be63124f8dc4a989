"""The shortcuts of the review pages and of Scans: their defaults, and what a person may change them to. Pure."""

from collections.abc import Mapping

VERIFY, VISUAL, BOTH, SCANS = "verify", "visual", "both", "scans"
# name -> (default keys, words, pages it acts on)
SHORTCUTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "pass": (("p",), "Pass: nothing recognisable remains, brain intact", BOTH),
    "face": (("f",), "Face remains", BOTH),
    "brain": (("b",), "Brain removed", BOTH),
    "both": (("m",), "Misplaced mask: face remains and brain removed", BOTH),
    "unsure": (("u",), "Unsure: refer to another reviewer", BOTH),
    "accept": (("Enter",), "Accept the page as the last line says", VERIFY),
    "undo": (("z", "Backspace"), "Take the last verdicts back", BOTH),
    "left": (("ArrowLeft",), "Card to the left; in visual QC one slice back", BOTH),
    "right": (("ArrowRight",), "Card to the right; in visual QC one slice on", BOTH),
    "up": (("ArrowUp",), "Card above; in visual QC five slices on", BOTH),
    "down": (("ArrowDown",), "Card below; in visual QC five slices back", BOTH),
    "enlarge": (("Space",), "Enlarge, and close again", BOTH),
    "ghost": (("g",), "Show what was removed as a ghost", BOTH),
    "blink": (("x",), "Before and after", VISUAL),
    "plane": (("c",), "Next plane: sagittal, coronal, axial", VISUAL),
    "solid": (("d",), "The head in 3-D", VISUAL),
    "beside": (("e",), "Every attempt of the scan side by side", VISUAL),
    "note": (("n",), "Write a note", VISUAL),
    "help": (("?",), "These keys", BOTH),
    "search": (("/",), "On Scans: to the search field", SCANS),
}
VIEW_KEYS = {f"view{n}": (str(n),) for n in range(1, 10)}
MOST_KEY_LENGTH = 12


def default_keys() -> dict[str, list[str]]:
    """Name -> keys, as the pages' scripts read it."""
    named = {name: keys for name, (keys, _, _) in SHORTCUTS.items()}
    return {name: list(keys) for name, keys in (named | VIEW_KEYS).items()}


def merged(own: Mapping[str, str]) -> dict[str, list[str]]:
    """The defaults with a person's own keys in their place; a key taken over leaves its old shortcut."""
    chosen = {name: key for name, key in own.items() if name in SHORTCUTS and key}
    taken = set(chosen.values())
    keys = {name: [key for key in old if key not in taken] for name, old in default_keys().items()}
    return keys | {name: [key] for name, key in chosen.items()}


def problem_with(own: Mapping[str, str]) -> str | None:
    """Why these keys cannot be used together; None when they can."""
    keys = merged(own)
    for name, (_, words, _) in SHORTCUTS.items():
        if not keys[name]:
            return f"No key is left for '{words}'."
    chosen = [key for key in own.values() if key]
    if len(set(chosen)) != len(chosen):
        return "The same key is chosen twice."
    if any(len(key) > MOST_KEY_LENGTH for key in chosen):
        return "A key's name is too long."
    return None


def rows(own: Mapping[str, str], page: str | None = None) -> list[dict]:
    """The list under `?` and in the settings: name, words, key shown, the person's own key."""
    keys = merged(own)
    return [
        {"name": name, "words": words, "keys": [shown(key) for key in keys[name]], "own": own.get(name, "")}
        for name, (_, words, acts_on) in SHORTCUTS.items()
        if page is None or acts_on in (page, BOTH)
    ]


SHOWN = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓", "Backspace": "⌫"}


def shown(key: str) -> str:
    """A key as printed on it."""
    return SHOWN.get(key, key.upper() if len(key) == 1 else key)
