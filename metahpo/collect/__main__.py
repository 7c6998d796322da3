"""``python -m metahpo.collect FILE --out DIR [--jobs N]``: run a declared collection."""

from __future__ import annotations

import argparse
import sys

from metahpo.collect.plan import load_collection_file
from metahpo.collect.sources import collect_plan
from metahpo.openml import OpenMLError


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for bad input, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m metahpo.collect", description=__doc__)
    parser.add_argument("file", help="TOML file that declares the collection")
    parser.add_argument("--out", required=True, help="folder of the collection")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    options = parser.parse_args(arguments)
    try:
        dataset = collect_plan(
            load_collection_file(options.file), options.out, n_jobs=options.jobs
        )
    except (ValueError, OSError, OpenMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"stopped; what is finished is in {options.out}, and the same command goes on",
            file=sys.stderr,
        )
        return 130
    print(dataset)
    return 0


if __name__ == "__main__":
    sys.exit(main())
