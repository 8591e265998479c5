"""How many sentences per second the server translates when it always has work, and how fast it starts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.serving.load import Call, Outcome, closed_loop
from benchmarks.serving.process import serving
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import BATCH_TOKENS
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError

AT_ONCE = 64
_REPEATS = 3
_DOCUMENT_LINES = 10
_DEEP = 512
_PLAIN = "/v1/translate"
# So that nothing is refused: the closed loop bounds itself.
_UNBOUNDED = ("--queue-characters", 100_000_000)


@dataclass(frozen=True)
class Setting:
    """What is served, the text that is sent, and where parts and logs go; `max_length` bounds outputs, in tokens."""

    bundles: Path
    texts: Mapping[str, Sequence[str]]
    work: Path
    beam: int
    max_length: int | None = None

    @property
    def domain(self) -> str:
        """The domain whose text makes the load: the first."""
        return next(iter(self.texts))

    @property
    def lines(self) -> Sequence[str]:
        """Its lines."""
        return self.texts[self.domain]


@dataclass(frozen=True)
class Load:
    """Calls that are made again and again, so many at once."""

    calls: Sequence[Call]
    at_once: int = AT_ONCE


def measure_startup(setting: Setting) -> dict[str, Any]:
    """Seconds from the start of the process until it listens, with all bundles verified, loaded and replayed."""
    seconds, resident = [], []
    for _ in range(_REPEATS):
        with serving(setting.bundles, setting.work / "server.log") as server:
            seconds.append(server.started_in)
            resident.append(server.resident_mb())
    return {"seconds": seconds, "resident_mb": resident, "domains": sorted(setting.texts)}


def measure_saturation(setting: Setting) -> dict[str, Any]:
    """Sentences per second: one call of translate_batch on tokens, and two servers, in turns.

    The servers are the default one (`exact`) and one with --no-exact (`padded`). All loads but one are plain, so that
    they are what translate_batch does; `as clients send` is LibreTranslate's endpoint, which splits sentences and
    protects numbers and placeholders.
    """
    bare = _bare(setting)
    loads = _loads(setting)
    rates: dict[str, list[float]] = {"bare": []}
    same: dict[str, list[float]] = {}
    log = setting.work / "server.log"
    with (
        serving(setting.bundles, log, *_UNBOUNDED) as exact,
        serving(setting.bundles, log, *_UNBOUNDED, "--no-exact") as padded,
    ):
        servers = {"exact": exact, "padded": padded}
        for server in servers.values():
            closed_loop(server.url, loads["documents"].calls, AT_ONCE)
        for _ in range(_REPEATS):
            rate, expected = bare()
            rates["bare"].append(rate)
            for mode, server in servers.items():
                for name, load in loads.items():
                    outcomes = closed_loop(server.url, load.calls, load.at_once)
                    all_answered(outcomes)
                    rate = len(setting.lines) / max(outcome.ended for outcome in outcomes)
                    rates.setdefault(f"{name}, {mode}", []).append(rate)
                    if load.calls[0].path == _PLAIN:
                        same.setdefault(f"{name}, {mode}", []).append(_same(outcomes, expected))
        resident = {mode: server.resident_mb() for mode, server in servers.items()}
    return {
        "sentences_a_second": rates,
        "ratio": {
            name: [rate / base for rate, base in zip(found, rates["bare"], strict=True)]
            for name, found in rates.items()
            if name != "bare"
        },
        "same_translations_alone": same,
        "at_once": {name: load.at_once for name, load in loads.items()},
        "document_lines": _DOCUMENT_LINES,
        "lines": len(setting.lines),
        "resident_mb": resident,
    }


def _loads(setting: Setting) -> dict[str, Load]:
    sentences = [call([line], setting) for line in setting.lines]
    loads = {
        "documents": Load([call(lines, setting) for lines in _documents(setting.lines)]),
        "sentences": Load(sentences, _DEEP),
        "sentences, few at once": Load(sentences),
    }
    if setting.max_length is None:
        loads["as clients send"] = Load([_client_call(lines, setting) for lines in _documents(setting.lines)])
    return loads


def call(lines: Sequence[str], setting: Setting, due: float = 0.0) -> Call:
    """Lines of the setting's domain, translated as they are, each as one sentence."""
    return Call(due, _PLAIN, body(lines, setting.domain, setting))


def body(lines: Sequence[str], domain: str, setting: Setting) -> dict[str, Any]:
    """Of a request for plain translation."""
    plain = {"text": list(lines), "domain": domain, "beam_size": setting.beam, "split": "none", "protect": False}
    return plain if setting.max_length is None else {**plain, "max_length": setting.max_length}


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


def _bare(setting: Setting) -> Callable[[], tuple[float, dict[str, str]]]:
    """Translates all lines in one call of CTranslate2 on all cores: sentences per second, tokenisation left out.

    Beside it, what each line translates to alone.
    """
    import ctranslate2

    bundle = Bundle.open(setting.bundles / LiveIndex.of(setting.bundles).domains[setting.domain])
    tokenizer = Tokenizer.load(bundle.tokenizer)
    sources = [tokenizer.encode(line) for line in setting.lines]
    translator = ctranslate2.Translator(
        str(bundle.model), device="cpu", inter_threads=int(machine()["cores"]), intra_threads=1
    )

    def translate(batch_size: int, batch_type: str) -> list[str]:
        results = translator.translate_batch(
            sources,
            beam_size=setting.beam,
            max_batch_size=batch_size,
            batch_type=batch_type,
            max_input_length=0,
            min_decoding_length=0,
            max_decoding_length=setting.max_length or bundle.manifest.maximum_length,
        )
        said = [tokenizer.decode(result.hypotheses[0]) for result in results]
        # Where the model writes nothing, the source stays, as in every translation of fmalloc.
        return [text or line for text, line in zip(said, setting.lines, strict=True)]

    alone = dict(zip(setting.lines, translate(1, "examples"), strict=True))

    def timed() -> tuple[float, dict[str, str]]:
        began = time.perf_counter()
        translate(BATCH_TOKENS, "tokens")
        return len(sources) / (time.perf_counter() - began), alone

    return timed
