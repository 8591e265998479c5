"""What people write themselves: CTranslate2 behind an HTTP endpoint, one call per request, no batching across them.

`python -m benchmarks.scoreboard.servers.wrapper MODEL BUNDLE PORT`: BUNDLE lends its tokenizer.
"""

import os
import sys
from pathlib import Path

import ctranslate2
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer

model, lender, port = sys.argv[1:]
bundle = Bundle.read(Path(lender))
tokenizer, longest = Tokenizer.load(bundle.tokenizer), min(256, bundle.manifest.maximum_length) - 1
engine = ctranslate2.Translator(model, device="cpu", inter_threads=os.cpu_count() or 1, intra_threads=1)


def translated(texts: list[str]) -> list[str]:
    """Each line as one sentence."""
    lines = [line for text in texts for line in text.split("\n")]
    sources = [tokenizer.encode(line) for line in lines]
    found = engine.translate_batch(sources, beam_size=4, max_decoding_length=longest, max_batch_size=32)
    said = iter([tokenizer.decode(result.hypotheses[0]) for result in found])
    return ["\n".join(next(said) for _ in text.split("\n")) for text in texts]


async def translate(request: Request) -> JSONResponse:
    """LibreTranslate's endpoint, without its options."""
    texts = (await request.json())["q"]
    return JSONResponse({"translatedText": await run_in_threadpool(translated, texts)})


if __name__ == "__main__":
    uvicorn.run(Starlette(routes=[Route("/translate", translate, methods=["POST"])]), port=int(port), log_level="error")
