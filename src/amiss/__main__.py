"""`python -m amiss` is the command `amiss`."""

from __future__ import annotations

from amiss.cli import main

if __name__ == "__main__":
    main()
