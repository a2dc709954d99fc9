from __future__ import annotations

import subprocess
import sys

_MODULES = (
    "charset compose data_set dictionary elements encoding header inflate iso2022 json_model "
    "part10 tables uids values walk"
)
HEAVY = {"pydicom", "sqlite3", "logging", "asyncio", "rich", "pathlib", "socket", "uuid", "difflib"}


def test_import_is_light() -> None:
    imports = ", ".join(f"pypx.dicom.{name}" for name in _MODULES.split())
    code = f"import sys; before = set(sys.modules); import {imports}; "
    code += "print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.split())


def test_tables_are_not_read_at_import() -> None:
    code = (
        "from pypx.dicom import dictionary, uids, header, part10; "
        "assert not dictionary._rows.cache_info().currsize; "
        "assert not uids._table.cache_info().currsize"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
