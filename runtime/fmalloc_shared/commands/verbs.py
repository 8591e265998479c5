"""The command `fmalloc`: every verb, where it is declared, and what it does."""

import click

from fmalloc_shared import __version__
from fmalloc_shared.commands.command import Group, Verb

SECTIONS = {
    "Learn": {
        "train": Verb("fmalloc.commands:train", "Learn domains one after another into a memory store."),
        "pretrain": Verb("fmalloc.commands:pretrain", "Train a base translation model from parallel text."),
        "grow": Verb("fmalloc.lifecycle.commands:grow", "Add free cells to a store whose room runs out."),
        "correct": Verb("fmalloc.lifecycle.commands:correct", "Learn a domain's next version from corrections."),
        "free": Verb(
            "fmalloc_export.commands.free:free", "Delete domains from a store and bundles, with a certificate."
        ),
        "relearn": Verb("fmalloc.lifecycle.commands:relearn", "Learn a new version of a domain."),
        "rollback": Verb(
            "fmalloc_export.commands.versions:rollback",
            "Make an earlier version of a domain current again.",
        ),
        "drop": Verb(
            "fmalloc_export.commands.versions:drop", "Delete an older version of a domain, with a certificate."
        ),
        "reserve": Verb("fmalloc.lifecycle.commands:reserve", "Divide a store into parts, for those who learn apart."),
        "merge": Verb("fmalloc.lifecycle.commands:merge", "Unite what was learned in parts of a store."),
        "compare": Verb("fmalloc.commands:compare", "Learn a recipe's tasks by several methods and compare them."),
    },
    "Compile": {
        "export": Verb("fmalloc_export.commands.export:export", "Compile learned domains into bundles."),
        "shallow": Verb("fmalloc_export.commands.shallow:shallow", "Distil the general model to fewer decoder layers."),
        "bundles": Verb("fmalloc_export.commands.bundles:bundles", "Show, pack, unpack and prune bundles."),
        "triton": Verb("fmalloc_export.commands.triton:triton", "Lay out live bundles for NVIDIA Triton."),
    },
    "Serve": {
        "serve": Verb("fmalloc_runtime.server.command:serve", "Serve live bundles over HTTP."),
        "translate": Verb("fmalloc_runtime.commands:translate", "Translate a file, a folder or standard input."),
        "keys": Verb("fmalloc_shared.commands.verbs:keys", "Keys of clients, and keys that bundles are signed with."),
        "routing": Verb("fmalloc_shared.commands.verbs:routing", "Tune how text finds its domain: costs, replay."),
    },
    "Inspect": {
        "status": Verb("fmalloc.commands:status", "Show a store's tasks, memory and scores."),
        "report": Verb("fmalloc.commands:report", "Write an HTML report on a store."),
        "eval": Verb("fmalloc_export.commands.eval:evaluate", "Score models on test sets and compare them."),
        "bench": Verb("fmalloc_export.commands.bench:bench", "Measure how fast models are on this machine."),
        "verify": Verb(
            "fmalloc_export.commands.verify:verify", "Check that a store is whole, and bundles what they say."
        ),
        "verify-certificate": Verb(
            "fmalloc.lifecycle.commands:verify_certificate", "Check that a domain was freed as its certificate says."
        ),
        "doctor": Verb("fmalloc_runtime.commands:doctor", "Find out what keeps from serving or learning here."),
    },
}

# What `fmalloc doctor`, a verb of serving, asks about learning.
LEARNING_CHECKS = "fmalloc.diagnosis:checks"

ROUTING = {
    "Commands": {
        "costs": Verb(
            "fmalloc_export.commands.costs:costs", "Measure what a wrong domain costs and set the threshold."
        ),
        "replay": Verb("fmalloc_runtime.commands:replay", "Replay logged decisions with another threshold or bundles."),
    }
}

KEYS = {
    "Keys of clients (API keys)": {
        "add": Verb("fmalloc_runtime.commands:add_key", "Make a key for the client NAME and print it."),
        "list": Verb("fmalloc_runtime.commands:list_keys", "Show clients and their limits."),
        "remove": Verb("fmalloc_runtime.commands:remove_key", "Remove the key of the client NAME."),
    },
    "Keys that sign bundles": {
        "generate": Verb("fmalloc_export.commands.sign:generate", "Make a pair of keys to sign bundles with."),
        "sign": Verb("fmalloc_export.commands.sign:sign", "Sign bundles, so that servers can tell whose they are."),
    },
}


@click.group(
    cls=Group,
    sections=SECTIONS,
    subcommand_metavar="VERB …",
    epilog='\b\nShell completion: eval "$(_FMALLOC_COMPLETE=bash_source fmalloc)", or zsh_source, or fish_source.',
)
@click.version_option(__version__, prog_name="fmalloc", message="%(prog)s %(version)s")
def main() -> None:
    """Domain-adapted machine translation: one memory store, one small model per domain, zero forgetting.

    \b
    Example:
      fmalloc train --base opus-mt-de-en --general news.tsv --task it=corpora/it
      fmalloc export --all
      fmalloc serve bundles

    `fmalloc VERB --help` explains one verb: what it needs, every option, and an example.
    """


@click.group("routing", cls=Group, sections=ROUTING)
def routing() -> None:
    """Tune how text finds its domain: costs, replay.

    The router sends a text to the likeliest domain if its posterior reaches a threshold, else to general. `costs`
    measures which threshold loses least; `replay` shows what another one would have changed.

    \b
    Example:
      fmalloc routing costs bundles --text general=corpora/general --text it=corpora/it
      fmalloc serve bundles --decisions decisions.jsonl
      fmalloc routing replay decisions.jsonl --bundles bundles
    """


@click.group("keys", cls=Group, sections=KEYS)
def keys() -> None:
    """Keys of clients, and keys that bundles are signed with.

    With a file of client keys, `fmalloc serve --keys` answers only clients that send one of them. A running server
    takes a changed file over within a second. With files of public keys, `fmalloc serve --trusted-keys` serves only
    bundles that one of them signed.

    \b
    Example:
      fmalloc keys add weblate --file keys.json --characters 5000000
      fmalloc keys generate release
      fmalloc keys sign bundles --key release.key
      fmalloc serve bundles --keys keys.json --trusted-keys release.pub
    """
