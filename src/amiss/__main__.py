"""`python -m amiss` is the command `amiss`."""

from __future__ import annotations

from amiss.cli import run

if __name__ == "__main__":
    run()
