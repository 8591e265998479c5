"""What is mutated: tiny stores, bundles, corpora, bases and files of a server, with the commands that read them."""

import gzip
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import yaml

from fmalloc.lifecycle.freeing import certificate_of, free
from fmalloc.store.chain.versions import CurrentRecord
from fmalloc_export.bundles.signing import sign_bundles
from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.access.usage import UsageFile
from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_runtime.routing.decisions import Decision
from fmalloc_shared.corrections import Correction
from fmalloc_shared.languages import LanguagePair
from tests.fuzz.commands import Call, Outcome, run
from tests.support.bases import BASES, write_marian
from tests.support.bundles import SENTENCES, make_live, write_bundle
from tests.support.files import SAMPLES
from tests.support.lifecycle import learn
from tests.support.packing import packed, write_family
from tests.support.routing_costs import record, write
from tests.support.signing import no_password, pair
from tests.support.stores import write_store
from tests.support.students import write_student
from tests.support.tiny_pieces import PAIRS

# Outputs of random models seldom end: positions decide how long an export takes.
_POSITIONS = 20
_BUNDLES, _TEXT = "bundles", f"{SENTENCES['it'][0]}\n{SENTENCES['kitchen'][1]}\n".encode()
_STORE_TEXT = f"{PAIRS[3].source}\n".encode()


@dataclass(frozen=True)
class Subject:
    """A kind of folder. `mutated`: patterns of the files that are, relative to it; `sealed`: kinds whose digests can be
    made to fit; `calls`: the commands, run in the folder, `costly` ones seldom; `weight`: its share of all mutations.
    """

    name: str
    build: Callable[[Path], None]
    mutated: tuple[str, ...]
    calls: tuple[Call, ...]
    weight: int
    sealed: str | None = None
    costly: tuple[Call, ...] = ()

    def files(self, folder: Path) -> list[Path]:
        """The files that are mutated, relative to the folder; those with structure are there more often."""
        found = sorted({path for pattern in self.mutated for path in folder.glob(pattern) if path.is_file()})
        relative = [path.relative_to(folder) for path in found if path.name != ".lock"]
        return [path for path in relative for _ in range(3 if path.suffix in _STRUCTURED else 1)]

    def outcomes(self, draw: random.Random | None = None) -> list[Outcome]:
        """What the commands make of the folder that is the working directory; of costly ones, every fourth is drawn."""
        return [run(call) for call in self.calls if draw is None or call not in self.costly or draw.random() < 0.25]


# Where the library that signs is installed.
SIGNED = ("signed bundles",) if find_spec("minisign") else ()
_STRUCTURED = (".json", ".jsonl", ".safetensors", ".delta", ".yaml", ".toml", ".bin")


def _write_text(folder: Path) -> None:
    """General text as TSV in three parts, a TMX, a pair of plain files, a compressed TSV; and a recipe for all."""
    words = [(pair.source.split()[1], pair.target.split()[1]) for pair in PAIRS]
    pairs = [(f"{a} {b}", f"{c} {d}") for a, c in words for b, d in words if a != b]  # they fit into the positions
    lines = [f"{source}\t{target}\n" for source, target in pairs]
    corpora = folder / "corpora"
    (corpora / "general").mkdir(parents=True)
    for part, few in (("train", lines[:100]), ("dev", lines[100:116]), ("test", lines[116:])):
        (corpora / "general" / f"{part}.tsv").write_text("".join(few), encoding="utf-8")
    units = "".join(
        f'<tu><tuv xml:lang="de"><seg>{s} <bpt i="1">b</bpt></seg></tuv><tuv xml:lang="en"><seg>{t}</seg></tuv></tu>\n'
        for s, t in pairs
    )
    header = (
        '<header creationtool="a" creationtoolversion="1" segtype="sentence" o-tmf="a" adminlang="en" srclang="de" '
        'datatype="plaintext"/>'
    )
    (corpora / "press.tmx").write_text(
        f'<?xml version="1.0"?>\n<tmx version="1.4">{header}<body>\n{units}</body></tmx>\n', encoding="utf-8"
    )
    for side, column in (("de", 0), ("en", 1)):
        (corpora / f"law.{side}").write_text("".join(f"{pair[column]}\n" for pair in pairs), encoding="utf-8")
    (corpora / "garden.tsv.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def _write_recipe(folder: Path, base: str, store: str) -> None:
    content = {
        "base": base,
        "general": "corpora/general",
        "store": store,
        "languages": {"source": "de", "target": "en"},
        "sparsity": 0.3,
        "device": "cpu",
        "learning": {"updates": 5, "learning_rate": 0.001, "private": ["norms"]},
        "tasks": [
            {"name": "press", "data": "corpora/press.tmx"},
            {"name": "law", "data": "corpora/law", "learning": {"updates": 3}},
            {"name": "garden", "data": "corpora/garden.tsv.gz"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _write_base(folder: Path) -> None:
    write_marian(folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": _POSITIONS}))


def _write_store(folder: Path) -> None:
    BASES["brief"] = (_write_base, "marian", ("de", "en"))
    try:
        store = write_store(folder / "store", "brief", samples=PAIRS[3:5])
        store.grow(8, seed=1)
        learn(store, "mill")  # no task of the recipe
        learn(store, "mill@2", cells=1, settings={"begun_as": ["mill"]})
        held = CurrentRecord(time="2026-01-01T00:00:00Z", task="mill")
        store.put_record("current/1.json", held.to_bytes(), store.chain().with_choice(held))
        certificate = certificate_of(store, ["odd"], ())
        free(store, certificate.model_copy(update={"time": "2026-01-01T00:00:00Z"}))
        write_student(store, "it")
    finally:
        del BASES["brief"]
    shutil.rmtree(folder / "store" / ".work", ignore_errors=True)
    _write_text(folder)
    _write_recipe(folder, "store/base", "store")


def _write_bundles(folder: Path) -> None:
    bundles = folder / _BUNDLES
    make_live(bundles, *(write_bundle(bundles, domain, seed=seed) for seed, domain in enumerate(("general", "it"))))


def _write_signed(folder: Path) -> None:
    _write_bundles(folder)
    _, public = pair(folder)
    sign_bundles([folder / _BUNDLES], folder / "release.key", no_password, force=False, dry_run=False)
    (folder / _BUNDLES / ".lock").unlink()
    (folder / "serve.yaml").write_text(
        yaml.safe_dump({"bundles": _BUNDLES, "device": "cpu", "trusted_keys": [public.name]})
    )


def _write_packed(folder: Path) -> None:
    write_family(folder / _BUNDLES, ("general", "it"))
    packed(folder / _BUNDLES)


def _write_onnx(folder: Path) -> None:
    _write_store(folder)
    _exported(folder, "onnx")
    for name in ("store", "corpora"):
        shutil.rmtree(folder / name)
    (folder / "recipe.yaml").unlink()


def _exported(folder: Path, engine: str) -> None:
    from fmalloc_export.commands.export import export

    arguments = (
        "--store",
        str(folder / "store"),
        "--output-dir",
        str(folder / _BUNDLES),
        "--task",
        "it",
        "--engine",
        engine,
    )
    outcome = run(Call("export", export, arguments))
    assert outcome.code == 0, outcome.text


def _write_serving(folder: Path) -> None:
    _write_bundles(folder)
    live = LiveIndex.of(folder / _BUNDLES)
    write(folder / _BUNDLES, record(bundles=dict(live.domains)))
    for name in ("site", "desk"):
        add_key(folder / "keys.json", name, {"requests_per_minute": 5, "characters": 1000})
    (folder / ".keys.json.lock").unlink(missing_ok=True)
    month = datetime.now(UTC).strftime("%Y-%m")
    (folder / "usage.json").write_bytes(UsageFile(month=month, characters={"site": 5}).to_bytes())
    settings = {
        "bundles": _BUNDLES,
        "device": "cpu",
        "keys": "keys.json",
        "usage": "usage.json",
        "preload": ["it"],
        "memory": "1GB",
        "corrections": "log",
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
    (folder / "serve.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    scores = {"general": 0.25, "it": 0.75}
    decision = Decision(
        time="2026-01-01T00:00:00Z",
        request="1",
        asked="auto",
        domain="it",
        score=0.75,
        scores=scores,
        reason="detected",
        bundle=live.domains["it"],
        texts=1,
        lines=1,
        characters=9,
        text=("Ein Test.",),
    )
    (folder / "decisions.jsonl").write_bytes(decision.to_line() * 3)
    (folder / "log").mkdir()
    (folder / "log" / "it.jsonl").write_bytes(_correction(live.domains["it"]).to_line() * 3)


def _correction(bundle: str) -> Correction:
    return Correction(
        time="2026-01-01T00:00:00Z",
        request="1",
        client="site",
        languages=LanguagePair("de", "en"),
        asked="auto",
        domain="it",
        score=0.75,
        bundle=bundle,
        source="Ein Test.",
        target="A trial.",
    )


def _write_training(folder: Path) -> None:
    _write_base(folder / "base")
    _write_text(folder)
    _write_recipe(folder, "base", "store")


def _write_files(folder: Path) -> None:
    _write_bundles(folder)
    (folder / "files").mkdir()
    for name, content in SAMPLES.items():
        (folder / "files" / name).write_bytes(content)


def _calls() -> Mapping[str, Call]:
    from fmalloc.commands import status, train
    from fmalloc.lifecycle.commands import grow, relearn, verify_certificate
    from fmalloc_export.commands.bundles import bundles
    from fmalloc_export.commands.export import export
    from fmalloc_export.commands.free import free
    from fmalloc_export.commands.sign import sign
    from fmalloc_export.commands.verify import verify
    from fmalloc_export.commands.versions import drop, rollback
    from fmalloc_runtime.commands import replay, translate
    from fmalloc_runtime.server.command import serve

    cpu = ("--device", "cpu", "--threads", "1")
    return {
        call.name: call
        for call in (
            Call("status", status, ("store",)),
            Call("verify store", verify, ("store",)),
            Call("verify-certificate", verify_certificate, ("store/freed/1.json", "store")),
            Call("free --dry-run", free, ("store", "it", "--cascade", "--dry-run")),
            Call("grow --dry-run", grow, ("store", "--cells", "8", "--dry-run")),
            Call("rollback --dry-run", rollback, ("store", "mill", "--to", "2", "--dry-run")),
            Call("drop --dry-run", drop, ("store", "mill@2", "--dry-run")),
            Call(
                "relearn --dry-run", relearn, ("store", "mill", "--data", "corpora/law", "--device", "cpu", "--dry-run")
            ),
            Call("train --dry-run", train, ("recipe.yaml", "--dry-run")),
            Call("export", export, ("--store", "store", "--task", "it", "--output-dir", "../output"), answer="bundles"),
            Call("bundles", bundles, (_BUNDLES,)),
            Call("verify", verify, (_BUNDLES,)),
            Call("serve --check", serve, (_BUNDLES, "--check", *cpu)),
            Call("serve --config", serve, ("--config", "serve.yaml", "--check")),
            Call("verify signed", verify, (_BUNDLES, "--trusted-keys", "release.pub")),
            Call("sign --dry-run", sign, (_BUNDLES, "--key", "release.key", "--dry-run")),
            Call("serve --config toml", serve, ("--config", "serve.toml", "--check")),
            Call("translate files", translate, ("files", "--output", "../output", "--bundles", _BUNDLES, *cpu)),
            Call("replay", replay, ("decisions.jsonl", "--bundles", _BUNDLES)),
            Call("translate", translate, ("--bundles", _BUNDLES, "--domain", "it", *cpu), _TEXT, answer="output"),
            Call(
                "translate short",
                translate,
                ("--bundles", _BUNDLES, "--domain", "it", *cpu),
                _STORE_TEXT,
                answer="output",
            ),
        )
    }


def subjects() -> tuple[Subject, ...]:
    """All of them."""
    calls = _calls()

    def of(*names: str) -> tuple[Call, ...]:
        return tuple(calls[name] for name in names)

    bundle_files, read = (
        ("bundles/*.json", "bundles/*@*/**/*", "bundles/shared/*"),
        ("bundles", "verify", "serve --check"),
    )
    signed_files = ("release.*", "bundles/*@*/*.minisig", "bundles/*@*/manifest.json")
    training = of("train --dry-run")
    versions = ("rollback --dry-run", "drop --dry-run", "relearn --dry-run")
    lifecycle = ("verify-certificate", "free --dry-run", "grow --dry-run", *versions)
    store = of("status", "verify store", *lifecycle, "train --dry-run", "export")
    return (
        Subject("store", _write_store, ("store/**/*",), store, 30, "store", training),
        Subject("bundles", _write_bundles, bundle_files, of(*read, "translate"), 22, "bundle"),
        Subject("packed bundles", _write_packed, bundle_files, of(*read, "translate"), 12, "bundle"),
        *(Subject(name, _write_signed, signed_files, of("verify signed", "sign --dry-run", "serve --config"), 4)
          for name in SIGNED),
        Subject("ONNX bundles", _write_onnx, bundle_files, of(*read, "translate short"), 5, "bundle"),
        Subject("recipe", _write_training, ("recipe.yaml",), training, 7),
        Subject("corpora", _write_training, ("corpora/**/*",), training, 10),
        Subject("files", _write_files, ("files/*",), of("translate files"), 10),
        Subject("base", _write_training, ("base/*",), training, 6),
        Subject(
            "server", _write_serving, ("*.json", "*.jsonl", "*.yaml", "*.toml", "bundles/*.json"),
            of("serve --config", "serve --config toml", "replay"), 5,
        ),
    )  # fmt: skip
