"""How many sentences a second the server translates when it always has work, and how fast it starts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Call, Outcome, closed_loop
from benchmarks.machine import machine
from benchmarks.serving import serving
from fmalloc_runtime.bundle import Bundle, LiveIndex
from fmalloc_runtime.engine import BATCH_TOKENS
from fmalloc_runtime.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError

AT_ONCE = 64
_REPEATS = 3
_DOCUMENT_LINES = 10
# So that nothing is refused: the closed loop bounds itself.
_UNBOUNDED = ("--queue-characters", 100_000_000)


@dataclass(frozen=True)
class Setting:
    """What is served, the text that is sent, and where parts and logs go."""

    bundles: Path
    texts: Mapping[str, Sequence[str]]
    work: Path
    beam: int

    @property
    def domain(self) -> str:
        """The domain whose text makes the load."""
        return max(self.texts, key=lambda domain: (domain != "general", len(self.texts[domain])))

    @property
    def lines(self) -> Sequence[str]:
        """Its lines."""
        return self.texts[self.domain]


def measure_startup(setting: Setting) -> dict[str, Any]:
    """Seconds from the start of the process until it listens, with all bundles verified, loaded and replayed."""
    seconds, resident = [], []
    for _ in range(_REPEATS):
        with serving(setting.bundles, setting.work / "server.log") as server:
            seconds.append(server.started_in)
            resident.append(server.resident_mb())
    return {"seconds": seconds, "resident_mb": resident, "domains": sorted(setting.texts)}


def measure_saturation(setting: Setting) -> dict[str, Any]:
    """Sentences a second: one call of translate_batch on tokens, and the server, in turns.

    `documents` and `sentences` are plain, so that they are what translate_batch does; `as_clients_send` is
    LibreTranslate's endpoint, which splits sentences and protects numbers and placeholders.
    """
    bare = _bare(setting)
    kinds = {
        "documents": [call(lines, setting) for lines in _documents(setting.lines)],
        "sentences": [call([line], setting) for line in setting.lines],
        "as_clients_send": [_client_call(lines, setting) for lines in _documents(setting.lines)],
    }
    rates: dict[str, list[float]] = {name: [] for name in ("bare", *kinds)}
    same: list[float] = []
    with serving(setting.bundles, setting.work / "server.log", *_UNBOUNDED) as server:
        closed_loop(server.url, kinds["documents"], AT_ONCE)
        for _ in range(_REPEATS):
            rate, expected = bare()
            rates["bare"].append(rate)
            for name, calls in kinds.items():
                outcomes = closed_loop(server.url, calls, AT_ONCE)
                all_answered(outcomes)
                rates[name].append(len(setting.lines) / max(outcome.ended for outcome in outcomes))
                if name != "as_clients_send":
                    same.append(_same(outcomes, dict(zip(setting.lines, expected, strict=True))))
        resident = server.resident_mb()
    return {
        "sentences_a_second": rates,
        "ratio": {name: [rate / base for rate, base in zip(rates[name], rates["bare"], strict=True)] for name in kinds},
        "same_translations": same,
        "at_once": AT_ONCE,
        "document_lines": _DOCUMENT_LINES,
        "resident_mb": resident,
    }


def call(lines: Sequence[str], setting: Setting, due: float = 0.0) -> Call:
    """Lines of the setting's domain, translated as they are, each as one sentence."""
    return Call(due, "/v1/translate", body(lines, setting.domain, setting.beam))


def body(lines: Sequence[str], domain: str, beam: int) -> dict[str, Any]:
    """Of a request for plain translation."""
    return {"text": list(lines), "domain": domain, "beam_size": beam, "split": "none", "protect": False}


def all_answered(outcomes: Sequence[Outcome]) -> None:
    """Raise FmallocError with the first answer that is not a translation."""
    for outcome in outcomes:
        if outcome.status != 200:
            raise FmallocError(f"the server answered {outcome.status}: {outcome.answer}")


def _same(outcomes: Sequence[Outcome], expected: Mapping[str, str]) -> float:
    pairs = [
        (line, translation["text"])
        for outcome in outcomes
        for line, translation in zip(outcome.call.body["text"], outcome.answer["translations"], strict=True)
    ]
    return float(sum(expected[line] == text for line, text in pairs) / len(pairs))


def _client_call(lines: Sequence[str], setting: Setting) -> Call:
    return Call(0.0, "/translate", {"q": list(lines), "source": "auto", "target": "en", "domain": setting.domain})


def _documents(lines: Sequence[str]) -> list[Sequence[str]]:
    return [lines[start : start + _DOCUMENT_LINES] for start in range(0, len(lines), _DOCUMENT_LINES)]


def _bare(setting: Setting) -> Callable[[], tuple[float, list[str]]]:
    """Translates all lines in one call of CTranslate2 on all cores: sentences a second, tokenisation left out."""
    import ctranslate2

    bundle = Bundle.open(setting.bundles / LiveIndex.of(setting.bundles).domains[setting.domain])
    tokenizer = Tokenizer.load(bundle.tokenizer)
    sources = [tokenizer.encode(line) for line in setting.lines]
    translator = ctranslate2.Translator(
        str(bundle.model), device="cpu", inter_threads=int(machine()["cores"]), intra_threads=1
    )

    def translate() -> tuple[float, list[str]]:
        began = time.perf_counter()
        results = translator.translate_batch(
            sources,
            beam_size=setting.beam,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
            min_decoding_length=0,
            max_decoding_length=bundle.manifest.maximum_length,
        )
        rate = len(sources) / (time.perf_counter() - began)
        return rate, [tokenizer.decode(result.hypotheses[0]) for result in results]

    translate()
    return translate
