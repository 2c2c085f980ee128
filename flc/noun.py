"""What every noun of the command line is made with."""

import typer


def noun() -> typer.Typer:
    """Return the Typer of one noun: plain help (rich would cost 200 ms), errors left to ``flc.main``."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
