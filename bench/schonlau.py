"""Draw hits by false alarms of masqueraders among 50 users, beside what others published.

python bench/schonlau.py DATA --picture docs/schonlau.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amiss.evaluate.schonlau import chart, judge, read, score


def main() -> None:
    """Judge the published blocks, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the directory with the published commands and labels")
    parser.add_argument("--picture", type=Path, required=True, help="where to draw to (.svg, .png)")
    given = parser.parse_args()
    corpus = read(given.data)
    found = judge(corpus)
    print(score(found.evidence, corpus.odd, found.threshold), f"at {found.threshold:.2f} bits")
    chart(corpus, found).save(str(given.picture))


if __name__ == "__main__":
    main()
