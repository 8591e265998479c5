"""Bundles of tiny random models that the real engine runs: what serving is tested with, made without torch."""

import io
import shutil
import string
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from ctranslate2.specs import TransformerSpec

from fmalloc_runtime.bundle.bundle import (
    Bundle,
    EngineInfo,
    GoldenRecord,
    Identical,
    LiveIndex,
    Manifest,
    Parity,
    SourceInfo,
    TermRecord,
    lines_of,
)
from fmalloc_runtime.bundle.manifest import MemoryInfo
from fmalloc_runtime.engines.ctranslate2 import CTranslate2Engine
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.memory.file import MEMORY_FILE, write_memory
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.ngrams import NgramCounts
from tests.support.once import once

CPU = EngineSettings(device="cpu", intra_threads=1)
MAXIMUM_LENGTH = 48
CELLS = 24
SPECIAL = ("</s>", "<unk>", "<pad>")
SENTENCES = {
    "general": [
        "Am Morgen fuhr der Zug mit Verspätung in die Stadt.",
        "Meine Schwester wohnt seit drei Jahren am Meer.",
        "Der Bürgermeister sprach lange über den Haushalt.",
        "Im Winter gehen wir selten ins Kino.",
        "Die Kinder spielen nach der Schule im Park.",
        "Gestern hat es den ganzen Tag geregnet.",
        "Er wartete vor dem Bahnhof auf seinen Freund.",
        "Das Museum bleibt am Montag geschlossen.",
    ],
    "it": [
        "Klicken Sie auf die Schaltfläche, um die Datei zu speichern.",
        "Der Server konnte die Verbindung nicht herstellen.",
        "Geben Sie das Kennwort für das Benutzerkonto ein.",
        "Die Anwendung muss nach der Aktualisierung neu gestartet werden.",
        "Wählen Sie im Menü den Drucker und das Dateiformat aus.",
        "Das Verzeichnis enthält keine ausführbare Datei.",
        "Starten Sie den Server mit der Standardkonfiguration neu.",
        "Die Maus und die Tastatur werden vom Treiber erkannt.",
    ],
    "kitchen": [
        "Die Zwiebeln fein hacken und in Butter glasig dünsten.",
        "Den Teig eine Stunde zugedeckt an einem warmen Ort gehen lassen.",
        "Mit Salz, Pfeffer und etwas Muskat abschmecken.",
        "Die Sauce bei schwacher Hitze zehn Minuten köcheln lassen.",
        "Eier und Zucker schaumig rühren, dann das Mehl unterheben.",
        "Den Ofen auf zweihundert Grad vorheizen.",
        "Die Kartoffeln schälen, würfeln und in Salzwasser kochen.",
        "Mit gehackter Petersilie bestreuen und sofort servieren.",
    ],
}


def write_sentencepiece(path: Path, characters: str = "") -> None:
    """Train a SentencePiece model on the sentences above; it also knows the `characters`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence for lines in SENTENCES.values() for sentence in lines]),
        model_writer=model,
        vocab_size=150 + len(characters),
        required_chars=characters,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def write_tokenizer(directory: Path, characters: str = "") -> list[str]:
    """Write a tokenizer folder; the model's vocabulary is returned. It also knows the `characters`."""
    directory.mkdir(parents=True)
    write_sentencepiece(directory / "source.spm", characters)
    shutil.copy(directory / "source.spm", directory / "target.spm")
    config = TokenizerConfig(
        kind="sentencepiece",
        source_model="source.spm",
        target_model="target.spm",
        source_prefix=(),
        source_suffix=("</s>",),
        target_prefix=(),
        special_tokens=SPECIAL,
    )
    (directory / "tokenizer.json").write_bytes(config.to_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "source.spm"))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    return ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")), "<pad>"]


def write_model(
    directory: Path,
    vocabulary: list[str],
    seed: int,
    *,
    width: int = 16,
    cells: int = CELLS,
    kept: Sequence[int] | None = None,
    quantization: str | None = None,
) -> None:
    """Save a random Transformer of one encoder and one decoder layer; `kept`: the only cells that it keeps."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0, 0.4, shape).astype(np.float32)

    def fill(linear: object, rows: int, columns: int) -> None:
        linear.weight, linear.bias = matrix(rows, columns), matrix(rows)  # type: ignore[attr-defined]

    spec = TransformerSpec.from_config((1, 1), num_heads=2, pre_norm=False)
    spec.config.decoder_start_token = "<pad>"
    embeddings = matrix(len(vocabulary), width)
    spec.encoder.embeddings[0].weight = embeddings
    spec.decoder.embeddings.weight = embeddings
    fill(spec.decoder.projection, len(vocabulary), width)
    spec.decoder.projection.bias[0] = 4.0  # so that outputs end
    for stack in (spec.encoder, spec.decoder):
        stack.position_encodings.encodings = matrix(MAXIMUM_LENGTH, width)
        layer = stack.layer[0]
        parts = [layer.self_attention, layer.ffn] + ([layer.attention] if stack is spec.decoder else [])
        for part in parts:
            part.layer_norm.gamma = np.ones(width, dtype=np.float32)
            part.layer_norm.beta = np.zeros(width, dtype=np.float32)
        fill(layer.self_attention.linear[0], 3 * width, width)
        fill(layer.self_attention.linear[1], width, width)
        fill(layer.ffn.linear_0, cells, width)
        fill(layer.ffn.linear_1, width, cells)
    for linear, rows in zip(spec.decoder.layer[0].attention.linear, (width, 2 * width, width), strict=True):
        fill(linear, rows, width)
    for ffn in (spec.encoder.layer[0].ffn, spec.decoder.layer[0].ffn) if kept is not None else ():
        ffn.linear_0.weight, ffn.linear_0.bias = ffn.linear_0.weight[kept], ffn.linear_0.bias[kept]
        ffn.linear_1.weight = np.ascontiguousarray(ffn.linear_1.weight[:, kept])
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization)
    directory.mkdir(parents=True)
    spec.save(str(directory))


def write_bundle(
    bundles: Path,
    domain: str,
    *,
    seed: int = 1,
    golden: tuple[GoldenRecord, ...] | None = None,
    model: Mapping[str, Any] | None = None,
    memory: Sequence[tuple[str, str]] | None = None,
    glossary: Mapping[str, str] | None = None,
    **changes: object,
) -> Path:
    """Write a bundle of a random model; `changes` replace fields of its manifest, `golden` its true records.

    `model`: arguments of write_model. `memory`: pairs of its translation memory. `glossary`: terms of its own.
    """
    sentences = SENTENCES.get(domain, SENTENCES["general"])
    work = bundles / ".building"
    vocabulary = write_tokenizer(work / "tokenizer")
    write_model(work / "model", vocabulary, seed, **(model or {}))
    (work / "routing.safetensors").write_bytes(NgramCounts.of(sentences).to_bytes())
    (work / "golden.jsonl").write_bytes(b"")
    if memory is not None:
        written = write_memory(work / MEMORY_FILE, memory)
        changes["memory"] = MemoryInfo(pairs=written, sha256=sha256(repr(memory).encode()).hexdigest())
    if glossary:
        terms = [TermRecord(source=source, target=target) for source, target in glossary.items()]
        (work / "glossary.jsonl").write_bytes(lines_of(terms))
        changes["glossary"] = len(terms)
    kept = (model or {}).get("kept")
    cells = len(kept) if kept is not None else (model or {}).get("cells", CELLS)
    sizes = {"widths": {"encoder.0": cells, "decoder.0": cells}, "target_tokens": len(vocabulary)}
    manifest = _manifest(work, domain)
    if golden is None:
        engine = CTranslate2Engine(work / "model", "cpu", intra_threads=1, maximum_length=MAXIMUM_LENGTH)
        translator = Translator(Bundle(work, manifest), Tokenizer.load(work / "tokenizer"), engine)
        sources = sentences[:4]
        translated = translator.translate(sources)
        pairs = zip(sources, translated, strict=True)
        golden = tuple(GoldenRecord(source=source, translation=item.text) for source, item in pairs)
    (work / "golden.jsonl").write_bytes(lines_of(golden))
    manifest = _manifest(work, domain).model_copy(update=sizes | changes)
    (work / "manifest.json").write_bytes(manifest.to_bytes())
    path = bundles / manifest.bundle_name
    work.rename(path)
    return path


def _manifest(work: Path, domain: str) -> Manifest:
    identical = Identical(sliced_greedy=0, sliced_beam=0, emitted_greedy=0, emitted_beam=0)
    return Manifest(
        domain=domain,
        languages=LanguagePair(source="de", target="en"),
        engine=EngineInfo(name="ctranslate2", minimum_version="4.0", quantization="float32"),
        level="O0",
        keep=None,
        passes=(),
        widths={},
        target_tokens=1,
        maximum_length=MAXIMUM_LENGTH,
        source=SourceInfo(store=sha256(b"store").hexdigest(), task=None, calibration=None),
        parity=Parity(real_sentences=0, random_sentences=0, tolerance=1e-4, identical=identical),
        quality=None,
        files={name: digest for name, digest in sha256_files(work).items() if name != "manifest.json"},
    )


def make_live(bundles: Path, *paths: Path) -> None:
    """Point live.json at these bundles and no others."""
    index = LiveIndex(domains={})
    for path in paths:
        index = index.with_bundle(path.name)
    (bundles / "live.json").write_bytes(index.to_bytes())


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundles directory that serves general, it and kitchen. Read only."""

    def build(path: Path) -> None:
        make_live(path, *(write_bundle(path, domain, seed=seed) for seed, domain in enumerate(SENTENCES)))

    return once(tmp_path_factory, "bundles", build)


@pytest.fixture(scope="session")
def well_read(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """A model whose vocabulary has all of ASCII and a few more characters, but no emoji and no Cyrillic.

    Its engine does not know them: the tests that use it answer for the model.
    """
    folder = tmp_path_factory.mktemp("well_read") / "tokenizer"
    write_tokenizer(folder, string.ascii_letters + string.digits + string.punctuation + "äöüÄÖÜß„“…é日本語")
    translator = Translator.load(Bundle.read(bundle_of(bundles, "it")), CPU)
    return Translator(translator.bundle, Tokenizer.load(folder), translator.engine)


@pytest.fixture
def own_bundles(bundles: Path, tmp_path: Path) -> Path:
    """A copy of `bundles` that a test may change."""
    shutil.copytree(bundles, tmp_path / "bundles")
    return tmp_path / "bundles"


def bundle_of(bundles: Path, domain: str) -> Path:
    """The live bundle of a domain."""
    return bundles / LiveIndex.of(bundles).domains[domain]
