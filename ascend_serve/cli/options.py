"""Options that mean the same in several verbs; each is a decorator of a click command."""

from __future__ import annotations

import click

set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of one of the recipe's parameters; may be given several times.",
)
"""`settings`: what `compiling.parameters.read_settings` takes."""

store_option = click.option(
    "--store",
    metavar="URL",
    help="Folder or URL of the artifact store. [default: $ASCEND_SERVE_STORE, else ~/.cache/ascend_serve/artifacts]",
)
"""`store`: what `Store` takes, None for `env.store_url()`."""

atc_option = click.option(
    "--atc",
    metavar="PROGRAM",
    help="The atc to compile with. [default: $ASCEND_SERVE_ATC, else searched for]",
)
"""`atc`: what `compiling.toolchain.find_atc` takes."""
