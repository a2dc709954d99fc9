"""The flags of the pypx before this one, and what each does here: a table.

In: nothing. Out: rows. The command line parses by them, ``docs/moving-from-pypx.md`` shows them,
and the defaults of dictionaries come from them. It is imported by every command, so it stays light.
"""

from __future__ import annotations

from pypx.values import frozen

__all__ = ["FLAGS", "PROGRAMS", "Flag", "defaults", "flags_of", "only_upstream"]

PROGRAMS = ("echo", "find", "move", "report", "status")
"""The programs whose flags are parsed by this table. Those of px-listen are parsed by our own
command, but for what it says of itself."""


@frozen
class Flag:
    """A flag of upstream.

    Attributes:
        names: How it is written.
        key: Its key in a dictionary.
        programs: Which have it, without ``px-``.
        default: Its value where it is not given; False for a flag without a value.
        effect: What it does here, one sentence.
        inert: It has no effect here, and ``effect`` says why.
        shared: The programs whose command of ours has this flag as well, so that it alone does
            not tell whose style is meant.
        old: Only 1.x has it, so that it is among ``args`` only where it is given.
    """

    names: tuple[str, ...]
    key: str
    programs: tuple[str, ...]
    default: str | bool
    effect: str
    inert: bool = False
    shared: tuple[str, ...] = ()
    old: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether a value follows it."""
        return not isinstance(self.default, bool)


_ALL = (*PROGRAMS, "listen")
_PEER = ("echo", "find", "move")
_KEYS = (
    *("AccessionNumber", "PatientID", "PatientName", "PatientSex", "StudyDate"),
    *("ModalitiesInStudy", "Modality", "PerformedStationAETitle", "StudyDescription"),
    *("SeriesDescription", "SeriesInstanceUID", "StudyInstanceUID", "ProtocolName"),
    *("AcquisitionProtocolName", "AcquisitionProtocolDescription"),
)
_OWN_PROGRAM = (
    "No effect: pypx speaks DICOM itself, and only the line in `command` shows it. With "
    "`--engine dcmtk` it is what runs."
)
_SMDB = "No effect: the index of the archive has what upstream kept in JSON files there."
_CSV = "Of `--printReport csv`: "


def _key(keyword: str) -> Flag:
    programs = ["find"]
    if keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        programs += ["move", "status"]
    effect = f"The query key {keyword}; dates may be YYYY/MM/DD too."
    if keyword != "StudyDate":
        effect = f"The query key {keyword}; for px-move and px-status what they are about."
        if len(programs) == 1:
            effect = f"The query key {keyword}."
    return Flag((f"--{keyword}",), keyword, tuple(programs), "", effect, shared=("find", "move"))


FLAGS: tuple[Flag, ...] = (
    Flag(("--aet",), "aet", _PEER, "CHRIS-ULTRON-AET", "Our AE title.", shared=_PEER),
    Flag(("--aec",), "aec", _PEER, "CHRIS-ULTRON-AEC", "AE title of the PACS.", shared=_PEER),
    Flag(
        ("--serverIP",),
        "serverIP",
        _PEER,
        "",
        "Host of the PACS. Without it the command line asks nobody: upstream's default was an "
        "address of one network.",
        shared=_PEER,
    ),
    Flag(("--serverPort",), "serverPort", _PEER, "4242", "Port of the PACS.", shared=_PEER),
    Flag(("--echoscu",), "echoscu", ("echo",), "/usr/bin/echoscu", _OWN_PROGRAM, inert=True),
    Flag(("--findscu",), "findscu", ("find",), "/usr/bin/findscu", _OWN_PROGRAM, inert=True),
    Flag(("--movescu",), "movescu", ("find", "move"), "/usr/bin/movescu", _OWN_PROGRAM, inert=True),
    Flag(
        ("--JSONargs",),
        "JSONargString",
        ("find",),
        "",
        "A JSON object with any of these keys; it goes before the flags. Flags without a value "
        "are on where they are true.",
    ),
    Flag(
        ("--db", "--dblogbasepath"),
        "dblogbasepath",
        ("find", "report", "status"),
        "/tmp/log",
        _SMDB,
        inert=True,
    ),
    Flag(
        ("--PACS",),
        "PACS",
        ("find",),
        "",
        "A configured node (`px nodes`), for what `--aec`, `--serverIP` and `--serverPort` leave "
        "out; any other name has no effect.",
    ),
    Flag(
        ("--CUBE",),
        "CUBE",
        ("find",),
        "",
        "No effect: there is no ChRIS client in pypx.",
        inert=True,
    ),
    Flag(
        ("--swift",),
        "swift",
        ("find",),
        "",
        "No effect: there is no Swift client in pypx.",
        inert=True,
    ),
    *(_key(keyword) for keyword in _KEYS),
    Flag(("--StudyOnly",), "StudyOnly", ("find",), False, "Studies without their series."),
    Flag(
        ("--QueryReturnTags",),
        "QueryReturnTags",
        ("find",),
        "",
        "Keywords with commas between: asked for instead of the usual 26.",
    ),
    Flag(
        ("--json",),
        "json",
        PROGRAMS,
        False,
        "JSON instead of a report or a Python dictionary.",
        shared=PROGRAMS,
    ),
    Flag(
        ("--withFeedBack",),
        "withFeedBack",
        ("find",),
        False,
        "Tells of each step: on stderr; from Python in the log `pypx`.",
    ),
    Flag(
        ("--then",),
        "then",
        ("find",),
        "",
        "Steps with commas between, done for what was found: `retrieve` (C-MOVE of each series to "
        "`--aet`), `status` (what the archive has of it), `push` (C-STORE out of the archive to "
        "the node in `--thenArgs`), `report`. `register` needs ChRIS and fails, saying so.",
    ),
    Flag(
        ("--thenArgs",),
        "thenArgs",
        ("find",),
        "",
        "JSON for the steps: one object for all, a list, or objects with `;` between, one a step. "
        '`push` takes `{"node": "NAME or AET@host:port"}`; what is for Swift or ChRIS has no '
        "effect.",
    ),
    Flag(
        ("--intraSeriesRetrieveDelay",),
        "intraSeriesRetrieveDelay",
        ("find",),
        "0",
        "Seconds between the C-MOVEs of two series; `dynamic:N` waits a second for every N images.",
    ),
    Flag(
        ("--retrieve",),
        "retrieve",
        ("find",),
        False,
        "`--then retrieve`; the report says OK where all was sent.",
        old=True,
    ),
    Flag(("--move",), "move", ("find",), False, "The same as `--retrieve`."),
    Flag(
        ("--waitForUserTerminate",),
        "b_waitForUserTerminate",
        ("find",),
        False,
        "No effect: nothing is left to wait for when the answer is there.",
        inert=True,
    ),
    Flag(
        ("--reportTags", "--reportLayout"),
        "reportTags",
        ("find", "report"),
        "",
        'What the report shows, as JSON: `{"header": {"study": [keywords], "series": [keywords]}, '
        '"body": {"series": [keywords]}}`.',
        old=True,
    ),
    Flag(("--reportData",), "reportData", ("report",), "", "The JSON of `px-find --json`."),
    Flag(("--reportDataFile",), "reportDataFile", ("report",), "", "A file with that JSON."),
    Flag(
        ("--colorize",),
        "colorize",
        ("find", "report"),
        "",
        "`dark` or `light`: colours for such a terminal in a tabular report.",
        old=True,
    ),
    Flag(
        ("--printReport",),
        "printReport",
        ("find", "report"),
        "",
        "`tabular` (without it as well), `rawText`, `json`; `csv`, too, for px-report.",
        old=True,
    ),
    Flag(
        ("--csvPrintHeaders",),
        "csvPrintHeaders",
        ("report",),
        False,
        f"{_CSV}a line of keywords first.",
    ),
    Flag(("--csvPrettify",), "csvPrettify", ("report",), False, f"{_CSV}columns of equal width."),
    Flag(("--csvSummarize",), "csvSummarize", ("report",), False, f"{_CSV}one line a study."),
    Flag(("--csvSeparator",), "csvSeparator", ("report",), "|", f"{_CSV}what is between values."),
    Flag(
        ("--seriesSpecial",),
        "seriesSpecial",
        ("report",),
        "",
        "Keywords with commas between, for `bodySeriesUID` in the JSON of the report.",
    ),
    Flag(
        ("--reportHeaderStudyTags",),
        "reportHeaderStudyTags",
        ("report",),
        "",
        "Keywords of the study that head it.",
    ),
    Flag(
        ("--reportHeaderSeriesTags",),
        "reportHeaderSeriesTags",
        ("report",),
        "",
        "Keywords of its first series that head it.",
    ),
    Flag(
        ("--reportBodySeriesTags",),
        "reportBodySeriesTags",
        ("report",),
        "",
        "Keywords of the line of each series.",
    ),
    Flag(
        ("--verifySeriesInStudy",),
        "verifySeriesInStudy",
        ("status",),
        False,
        "The images of each series of the study, under `series`.",
    ),
    Flag(
        ("-t", "--tmpdir"),
        "tmpdir",
        ("listen",),
        "/tmp",
        "No effect: what arrives is written in the archive.",
        inert=True,
    ),
    Flag(
        ("-l", "--logdir"),
        "logdir",
        ("listen",),
        "/tmp/log",
        "The folder of `listen.run.log` and of the maps from IDs to folders.",
    ),
    Flag(
        ("-d", "--datadir"),
        "datadir",
        ("listen",),
        "/tmp/data",
        "The archive, with upstream's tree (layout `pypx-1`).",
    ),
    Flag(
        ("-e", "--executable"),
        "executable",
        ("listen",),
        "/usr/bin/storescp",
        "No effect: pypx receives itself.",
        inert=True,
    ),
    Flag(("--debug",), "debug", ("listen",), False, "The same as `-v`."),
    Flag(
        ("--verbosity",),
        "verbosity",
        _ALL,
        "1",
        "0 is `-q`, 1 is the usual, more is `-v`. `-v N` is the same.",
    ),
    Flag(("-x", "--desc"), "desc", _ALL, False, "What the program is, and no more."),
    Flag(("-y", "--synopsis"), "synopsis", _ALL, False, "Its flags, and no more."),
    Flag(("--version",), "b_version", _ALL, False, "The version, and no more.", shared=_ALL),
)
"""In the order of the documentation."""


def flags_of(program: str) -> dict[str, Flag]:
    """Give the flags of a program by how they are written.

    Args:
        program: One of :data:`PROGRAMS`, or ``listen``.
    """
    return {name: flag for flag in FLAGS if program in flag.programs for name in flag.names}


def only_upstream(program: str) -> frozenset[str]:
    """Give the flags of a program that our own commands do not have."""
    return frozenset(name for name, flag in flags_of(program).items() if program not in flag.shared)


def defaults(program: str) -> dict[str, str | bool]:
    """Give the keys of a program with what they are where nobody gives them."""
    return {flag.key: flag.default for flag in FLAGS if program in flag.programs and not flag.old}
