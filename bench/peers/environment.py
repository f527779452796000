"""Install amiss and its peers into the environment whose Python runs this; a peer that cannot be is noted, with why.

The reasons stand in `refused.json` in the environment, from where the page of benchmarks has them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REFUSED = Path(sys.prefix) / "refused.json"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
AMISS = f"{HERE.parents[1]}[login]"


def installed(*wanted: str) -> str:
    """Install requirements; why they cannot be, or nothing."""
    done = subprocess.run([*PIP, *wanted], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or done.stderr.splitlines() or ["no reason given"])[-1]


def pinned() -> list[str]:
    """The requirements, one each."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def main() -> None:
    """Install all at once, or else one by one."""
    together = installed(*pinned(), "-e", AMISS)
    refused = {each: why for each in pinned() if (why := installed(each))} if together else {}
    if together and (why := installed("-e", AMISS)):
        raise SystemExit(f"amiss cannot be installed: {why}")
    REFUSED.write_text(json.dumps(refused, indent=1), encoding="utf-8")
    print("\n".join(f"not installed: {name}: {why}" for name, why in refused.items()) or "all peers are installed")


if __name__ == "__main__":
    if sys.prefix == sys.base_prefix:
        raise SystemExit("run this with the Python of an environment of its own: make bench-peers")
    main()
