"""File name <-> BIDS entities, and a fair guess for names that are not BIDS. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

EXTENSIONS = (".nii.gz", ".nii", ".mgz", ".mgh")
NAMED = {"sub": "subject", "ses": "session", "acq": "acquisition", "run": "run"}
PROCESSING = frozenset({"desc", "space", "res", "den"})
UNKNOWN = "unknown"
# Suffixes of volumes that show no head anatomy to deface: masks, function, diffusion, field maps.
FUNCTION = {
    "bold",
    "boldref",
    "sbref",
    "cbv",
    "events",
    "physio",
    "stim",
    "asl",
    "m0scan",
    "aslcontext",
    "pet",
}
DIFFUSION = {"dwi", "adc", "fa"}
FIELD_MAPS = {"epi", "fieldmap", "phase1", "phase2", "phasediff", "magnitude", "magnitude1", "magnitude2"}
MASKS = {"mask", "dseg", "probseg", "defacemask", "xfm", "warp"}
NOT_ANATOMY = frozenset(FUNCTION | DIFFUSION | FIELD_MAPS | MASKS)
GUESSES = (
    (re.compile(r"flair", re.I), "FLAIR"),
    (re.compile(r"t2[-_ ]?(star|\*)|t2star|swi", re.I), "T2starw"),
    (re.compile(r"(?<![a-z0-9])t1(?![0-9])|t1w|mp2?rage|bravo|spgr", re.I), "T1w"),
    (re.compile(r"(?<![a-z0-9])t2(?![0-9])|t2w", re.I), "T2w"),
    (re.compile(r"(?<![a-z0-9])pd(?![a-z0-9])|pdw", re.I), "PDw"),
)
DEFACED_MARK = re.compile(r"[-_.]?(defaced?|deface|defacing|deidentified|deid|refaced?)(?=$|[-_.])", re.I)


@dataclass(frozen=True)
class Entities:
    """What a BIDS file name says; fields carry no 'sub-' prefix, `others` keeps further pairs in order."""

    subject: str
    suffix: str
    session: str = ""
    acquisition: str = ""
    run: str = ""
    others: tuple[tuple[str, str], ...] = ()
    extension: str = ".nii.gz"

    @property
    def name(self) -> str:
        """The file name these entities stand for, in the order that BIDS asks for."""
        pairs = [("sub", self.subject), ("ses", self.session), ("acq", self.acquisition)]
        pairs += [pair for pair in self.others if pair[0] not in PROCESSING]
        pairs += [("run", self.run)] + [pair for pair in self.others if pair[0] in PROCESSING]
        return "_".join([*(f"{key}-{value}" for key, value in pairs if value), self.suffix]) + self.extension

    @property
    def source(self) -> Self:
        """The same scan without what processing added to its name."""
        return replace(self, others=tuple(pair for pair in self.others if pair[0] not in PROCESSING))

    @property
    def is_anatomy(self) -> bool:
        """Whether a head could be seen in it."""
        return self.suffix not in NOT_ANATOMY and ("label" not in dict(self.others))

    @property
    def is_defaced(self) -> bool:
        """Whether the name says that it was defaced."""
        described = dict(self.others)
        return any("deface" in described.get(key, "").lower() for key in ("desc", "rec", "proc"))


def split_extension(name: str) -> tuple[str, str]:
    """Stem and volume extension; the extension is empty where it is not one of a volume."""
    for extension in EXTENSIONS:
        if name.lower().endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], name[-len(extension) :]
    return name, ""


def parse(name: str) -> Entities | None:
    """Entities of a BIDS file name, or None when it is not one."""
    stem, extension = split_extension(name)
    *pairs, suffix = stem.split("_")
    if not extension or not pairs or not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        return None
    fields: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if not dash or not re.fullmatch(r"[a-z]+", key) or not re.fullmatch(r"[A-Za-z0-9+.]+", value):
            return None
        if key in NAMED:
            if NAMED[key] in fields:
                return None
            fields[NAMED[key]] = value
        else:
            others.append((key, value))
    if "subject" not in fields or not pairs[0].startswith("sub-"):
        return None
    return Entities(suffix=suffix, others=tuple(others), extension=extension, **fields)


def guess(parts: Sequence[str]) -> Entities:
    """Entities of any other file from its path parts: the subject from a sub- folder or the name's stem."""
    stem, extension = split_extension(parts[-1])
    folders = [match for part in parts[:-1] for match in re.findall(r"^(sub|ses)-([A-Za-z0-9+.]+)$", part)]
    named = dict(folders)
    bare = bare_stem(stem).replace("/", "_")  # no name holds one, and no subject may
    return Entities(
        subject=named.get("sub", bare),
        session=named.get("ses", ""),
        suffix=guess_suffix([*parts[:-1], stem]),
        extension=extension,
        acquisition=bare if "sub" in named else "",
    )


def bare_stem(stem: str) -> str:
    """The stem without a mark that says it was defaced."""
    return DEFACED_MARK.sub("", stem) or stem


def guess_suffix(parts: Sequence[str]) -> str:
    """The modality a name or, failing that, its folders hint at."""
    for part in reversed(parts):
        for pattern, suffix in GUESSES:
            if pattern.search(part):
                return suffix
    return UNKNOWN


def entities_of(parts: Sequence[str]) -> Entities:
    """BIDS where the name is BIDS, a guess elsewhere; `parts` is the path below the folder taken in."""
    return parse(parts[-1]) or guess(parts)


def pair_keys(parts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Names under which a defaced file and its original meet, the surest first."""
    stem, _ = split_extension(parts[-1])
    found = parse(parts[-1])
    keys: list[tuple[str, ...]] = [("path", *parts[:-1], stem), ("path", *parts[:-1], bare_stem(stem))]
    if found is not None:
        keys.append(("bids", replace(found.source, extension="", others=plain(found.source)).name))
    else:
        keys.append(("stem", bare_stem(stem)))
    return tuple(dict.fromkeys(keys))


def plain(entities: Entities) -> tuple[tuple[str, str], ...]:
    """Further entities without those that only say 'defaced'."""
    return tuple((key, value) for key, value in entities.others if "deface" not in value.lower())
