"""What a quiet server answers: the measure of every answer under load and faults."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Call, Outcome, closed_loop
from benchmarks.serving.process import make_live, serving
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.errors import FmallocError

_SINGLE = 6
_DOCUMENT = 8


@dataclass(frozen=True)
class Truth:
    """Requests, and the texts that are right for each of them, by the bundle that translates it."""

    calls: tuple[Call, ...]
    texts: Mapping[str, Mapping[str, Sequence[str]]]

    def problem(self, outcome: Outcome) -> str | None:
        """What is wrong with a translation that was answered; None if it is what a quiet server gives."""
        bundle = outcome.answer["domain"]["bundle"]
        found = _texts(outcome.answer)
        expected = self.texts[_key(outcome.call)].get(bundle)
        if found == expected:
            return None
        where = f"{bundle}, {_key(outcome.call)[:200]}"
        if expected is None:
            return f"{where}: this bundle never takes that"
        differing = [pair for pair in zip_longest(found, expected) if pair[0] != pair[1]]
        return f"{where}: found {differing[0][0]!r}, expected {differing[0][1]!r}"


def learn_truth(bundles: Path, sides: Sequence[Mapping[str, str]], log: Path) -> dict[str, dict[str, list[str]]]:
    """Ask a server for everything, one request at a time, once with each of the live bundles in `sides`."""
    texts: dict[str, dict[str, list[str]]] = {}
    calls = calls_of(bundles, sides)
    for side in sides:
        make_live(bundles, side)
        with serving(bundles, log) as server:
            for outcome in closed_loop(server.url, calls, 1):
                if outcome.status != 200:
                    raise FmallocError(f"a quiet server answered {outcome.status}: {outcome.answer}")
                texts.setdefault(_key(outcome.call), {})[outcome.answer["domain"]["bundle"]] = _texts(outcome.answer)
    return texts


def calls_of(bundles: Path, sides: Sequence[Mapping[str, str]]) -> tuple[Call, ...]:
    """Sentences, documents, long texts and markup in three protocols, from the bundles' own golden sources."""
    calls: list[Call] = []
    for domain in sides[0]:
        golden = [record for side in sides for record in Bundle.read(bundles / side[domain]).golden()]
        calls += _calls(domain, list(dict.fromkeys(record.source for record in golden)))
    return tuple(calls)


def _calls(domain: str, lines: Sequence[str]) -> list[Call]:
    if not lines:
        raise FmallocError(f"{domain}: its bundles hold no golden translations, so there is no text to ask for")
    single, document = lines[:_SINGLE], list(lines[:_DOCUMENT])
    tagged = "".join(f'<p class="c{number}">{line} <b>{line}</b></p>' for number, line in enumerate(lines[:2]))
    return [
        *(_libre(line, domain) for line in single),
        *(_libre(line, "auto") for line in single),
        _libre(document, domain),
        _libre(document, "auto"),
        _libre(tagged, domain, format="html"),
        _libre(single[0], domain, alternatives=2),
        Call(0, "/v1/translate", {"text": " ".join(lines), "domain": domain}),
        Call(0, "/v1/translate", {"text": "\n\n".join(document), "domain": domain, "beam_size": 1, "split": "lines"}),
        Call(0, "/v1/translate", {"text": document, "domain": domain, "beam_size": 2, "alignment": True}),
        Call(0, "/v2/translate", {"text": single, "target_lang": "EN", "domain": domain}),
        Call(0, "/v2/translate", {"text": [tagged], "target_lang": "EN", "domain": domain, "tag_handling": "xml"}),
    ]


def _libre(text: str | list[str], domain: str, **fields: object) -> Call:
    return Call(0, "/translate", {"q": text, "source": "auto", "target": "en", "domain": domain, **fields})


def _key(call: Call) -> str:
    return f"{call.path} {json.dumps(call.body, ensure_ascii=False, sort_keys=True)}"


def _texts(answer: Mapping[str, Any]) -> list[str]:
    if "translations" in answer:
        return [text for one in answer["translations"] for text in (one["text"], *one.get("alternatives", ()))]
    found = answer["translatedText"]
    return [*([found] if isinstance(found, str) else found), *answer.get("alternatives", ())]
