"""Write the built files of `grafana/` anew, or check that they agree with the code."""

from __future__ import annotations

import argparse
import sys

from . import built, source


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m byteplus_trace.dashboards", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a file would change"
    )
    check = parser.parse_args().check
    changed = []
    for name, text in built().items():
        path = source() / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        changed.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in changed:
        print(f"{'differs from the code' if check else 'written'}: {source() / name}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
