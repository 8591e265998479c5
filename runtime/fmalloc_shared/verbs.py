"""The command `fmalloc`: every verb, where it is declared, and what it does."""

import click

from fmalloc_shared.command import Group, Verb

SECTIONS = {
    "Learn": {
        "train": Verb("fmalloc.commands:train", "Learn domains one after another into a memory store."),
        "pretrain": Verb("fmalloc.commands:pretrain", "Train a base translation model from parallel text."),
        "compare": Verb("fmalloc.commands:compare", "Learn a recipe's tasks by several methods and compare them."),
    },
    "Compile": {
        "export": Verb("fmalloc_export.commands.export:export", "Compile learned domains into bundles."),
        "bundles": Verb("fmalloc_export.commands.bundles:bundles", "Show, pack, unpack and prune bundles."),
        "triton": Verb("fmalloc_export.commands.triton:triton", "Lay out live bundles for NVIDIA Triton."),
    },
    "Serve": {
        "serve": Verb("fmalloc_runtime.server.command:serve", "Serve live bundles over HTTP."),
        "translate": Verb("fmalloc_runtime.commands:translate", "Translate a file or standard input."),
        "keys": Verb("fmalloc_runtime.commands:keys", "Manage API keys: add, list, remove."),
        "routing": Verb("fmalloc_shared.verbs:routing", "Tune how text finds its domain: costs, replay."),
    },
    "Inspect": {
        "status": Verb("fmalloc.commands:status", "Show a store's tasks, memory and scores."),
        "report": Verb("fmalloc.commands:report", "Write an HTML report on a store."),
        "eval": Verb("fmalloc_export.commands.eval:evaluate", "Score models on test sets and compare them."),
        "verify": Verb("fmalloc_export.commands.verify:verify", "Check bundles: digests, translations, origin."),
        "doctor": Verb("fmalloc_runtime.commands:doctor", "Find out what keeps this installation from serving."),
    },
}

ROUTING = {
    "Commands": {
        "costs": Verb(
            "fmalloc_export.commands.costs:costs", "Measure what a wrong domain costs and set the threshold."
        ),
        "replay": Verb("fmalloc_runtime.commands:replay", "Replay logged decisions with another threshold or bundles."),
    }
}


@click.group(
    cls=Group,
    sections=SECTIONS,
    subcommand_metavar="VERB …",
    epilog='\b\nShell completion: eval "$(_FMALLOC_COMPLETE=bash_source fmalloc)", or zsh_source, or fish_source.',
)
@click.version_option(package_name="fmalloc", message="%(prog)s %(version)s")
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
