"""Requirements with hashes, out of pip's report on what it would install: ``python k8s/hashes.py REPORT``.

With them `pip install --require-hashes` takes those very files and no others. They are of one platform and one Python,
those that pip ran on when it made the report.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_HEAD = "# Made by `make hashes`, on the image's platform and Python: every file that the image's packages come from."


def requirements(report: dict[str, Any]) -> list[str]:
    """A line for every package of ``report`` but those of local folders, frisket itself.

    Raises:
        ValueError: a package that is not from an index, or a local build of one: no index has a file of that hash.
    """
    lines = []
    for one in report["install"]:
        name, version, origin = one["metadata"]["name"], one["metadata"]["version"], one["download_info"]
        if "dir_info" in origin:
            continue
        digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if re.fullmatch("[0-9a-f]{64}", digest) is None or not origin["url"].startswith("https://") or "+" in version:
            raise ValueError(f"{name} {version} from {origin['url']} is no published file with a sha256")
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return sorted(lines, key=str.lower)


if __name__ == "__main__":
    print(_HEAD, *requirements(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), sep="\n")
