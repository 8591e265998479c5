"""Marian as a contender, by pymarian in an environment of its own: the base's weights, and a student's shape.

`python -m venv DIR; DIR/bin/pip install pymarian numpy sentencepiece` makes such an environment; the wheel is for
x86-64 and Python 3.8 to 3.12, and takes 1 GB.
"""

import io
import json
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.scoreboard.contenders.contender import Contender
from benchmarks.scoreboard.limits import Shape
from fmalloc.corpus import Corpus
from fmalloc_export.bench.contestant import Contestant
from fmalloc_export.domain.domain import Domain
from fmalloc_shared.commands.progress import console

_PROCESS = Path(__file__).with_name("marian_process.py")
# Marian's names of what stands in a layer, by transformers' names.
_LAYER = {
    "self_attn.q_proj": "self_{}q",
    "self_attn.k_proj": "self_{}k",
    "self_attn.v_proj": "self_{}v",
    "self_attn.out_proj": "self_{}o",
    "encoder_attn.q_proj": "context_{}q",
    "encoder_attn.k_proj": "context_{}k",
    "encoder_attn.v_proj": "context_{}v",
    "encoder_attn.out_proj": "context_{}o",
    "fc1": "ffn_{}1",
    "fc2": "ffn_{}2",
}
_NORMS = {
    "self_attn_layer_norm": "self_Wo_ln",
    "encoder_attn_layer_norm": "context_Wo_ln",
    "final_layer_norm": "ffn_ffn_ln",
}
_SHORTLIST = (50, 50)  # most frequent target tokens, and translations of each source token
_SHORTLIST_PAIRS = 5000
# Firefox's students, tiny11 of Bergamot: 6 encoder layers, 2 decoder layers of SSRUs.
_STUDENT = {"dim-emb": 256, "transformer-dim-ffn": 1536, "transformer-heads": 8, "enc-depth": 6, "dec-depth": 2}
_NEVER = -1e4


@dataclass(frozen=True)
class Marian:
    """`python` None: there is no environment with pymarian, and no contender."""

    python: Path | None
    base: Path
    domain: Domain
    corpus: Corpus
    work: Path

    def contenders(self, left_out: dict[str, str]) -> list[Contender]:
        """Made once below `work`; what cannot be made is named in `left_out`."""
        if self.python is None:
            left_out["Marian"] = "no environment with pymarian was named"
            return []
        config = self.domain.base.config
        if (reason := self._unfit(config)) is not None:
            left_out["Marian"] = reason
            return []
        found = []
        same = Shape(
            config.d_model,
            (config.encoder_ffn_dim,) * config.encoder_layers,
            (config.decoder_ffn_dim,) * config.decoder_layers,
            self._tokens,
        )
        student = Shape(256, (1536,) * 6, (1536,) * 2, sum(_SHORTLIST) * 4, recurrent=True)
        for label, make, shape in (("base", self._base, same), ("tiny11, random weights", self._student, student)):
            folder = self.work / label.split(",")[0]
            if not (folder / "int8" / "process.json").exists():
                console.print(f"making Marian's {label}", markup=False)
                make(folder)
            for weights in ("int8",) if label == "base" else ("int8", "float32"):
                model = Contestant(
                    f"{label}, Marian {weights}", "marian", folder / weights, self.domain.languages, self.base
                )
                command = (str(self.python), str(_PROCESS))
                is_base = label == "base"
                found.append(
                    Contender(model, "Marian", weights, shape, command=command, slow=is_base, untrained=not is_base)
                )
        return found

    @property
    def _tokens(self) -> int:
        return int(self.domain.base.config.vocab_size) - 1  # Marian pads with the end

    def _unfit(self, config: Any) -> str | None:
        if config.model_type != "marian" or not config.share_encoder_decoder_embeddings:
            return f"the base is {config.model_type}; only Marian models with one vocabulary are carried over"
        weights = self.domain.base.get_encoder().embed_tokens.weight
        if config.decoder_start_token_id != self._tokens or weights[self._tokens].abs().max() > 0:
            return "the base's decoder starts with a token that is not zero, which Marian cannot"
        return None

    def _base(self, folder: Path) -> None:
        from fmalloc.model.architectures import load_base

        config = self.domain.base.config
        activation = {"dim-emb": config.d_model, "transformer-dim-ffn": config.encoder_ffn_dim}
        depth = {"enc-depth": config.encoder_layers, "dec-depth": config.decoder_layers}
        heads = {"transformer-heads": config.encoder_attention_heads}
        options = {**activation, **depth, **heads, "transformer-ffn-activation": config.activation_function}
        model, _ = load_base(self.base, self.domain.languages)
        state = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
        self._made(folder, options, lambda names: _carried(state, names, self._tokens))
        for weights in ("int8", "float32"):
            self._described(folder / weights, folder, ["--beam-size", "4", "--normalize", "1"])

    def _student(self, folder: Path) -> None:
        cells = {"transformer-decoder-autoreg": "rnn", "dec-cell": "ssru"}
        never = np.zeros((1, self._tokens), dtype=np.float32)
        never[0, 0] = _NEVER
        self._made(folder, {**_STUDENT, **cells}, lambda _: {"decoder_ff_logit_out_b": never})
        self._write_shortlist(folder / "lex.txt")
        first, best = _SHORTLIST
        shortlist = ["--shortlist", str((folder / "lex.txt").resolve()), str(first), str(best), "0"]
        length = ["--max-length-factor", f"{self._length():.2f}"]
        for weights in ("int8", "float32"):
            self._described(folder / weights, folder, ["--beam-size", "1", *shortlist, *length])

    def _made(self, folder: Path, options: Mapping[str, Any], replaced: Any) -> None:
        """A model that Marian makes, with its tensors replaced; in float32 and for bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = json.loads((self.base / "vocab.json").read_text(encoding="utf-8"))
        known = {token: index for token, index in vocabulary.items() if index < self._tokens}
        (folder / "vocab.yml").write_text(yaml.safe_dump(known, allow_unicode=True, width=10_000), encoding="utf-8")
        for side in ("source", "target"):
            (folder / f"train.{side}").write_text("</s>\n" * 8, encoding="utf-8")
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        vocabularies = ["-v", "vocab.yml", "vocab.yml", "--dim-vocabs", str(self._tokens), str(self._tokens)]
        kind = ["--type", "transformer", "--tied-embeddings-all", "--transformer-postprocess", "dan"]
        made = ["-m", "model.npz", "-t", "train.source", "train.target", "--after-batches", "1", "--cpu-threads", "1"]
        self._marian(folder, "train", *made, *vocabularies, *kind, *flags, "-w", "512", "--seed", "1")
        (folder / "float32").mkdir(exist_ok=True)
        _rewrite(folder / "model.npz", folder / "float32" / "model.npz", replaced)
        (folder / "int8").mkdir(exist_ok=True)
        self._marian(folder, "convert", "-f", "float32/model.npz", "-t", "int8/model.bin", "-g", "intgemm8")
        for path in folder.glob("model.npz*"):
            path.unlink()

    def _marian(self, folder: Path, *arguments: str) -> None:
        assert self.python is not None
        command = [str(self.python.absolute()), "-m", "pymarian", *arguments]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-2000:]}")

    def _described(self, model: Path, folder: Path, arguments: list[str]) -> None:
        """What marian_process.py reads: how the model is run, and with which tokens."""
        file = next(path for path in model.iterdir() if path.name.startswith("model."))
        content = {
            "model": str(file.resolve()),
            "vocabulary": str((folder / "vocab.yml").resolve()),
            "pieces": {side: str((self.base / f"{side}.spm").resolve()) for side in ("source", "target")},
            "arguments": arguments,
        }
        (model / "process.json").write_text(json.dumps(content), encoding="utf-8")

    def _pieces(self) -> Iterator[tuple[list[str], list[str]]]:
        """Of both sides of pairs to train on."""
        import sentencepiece

        source, target = (
            sentencepiece.SentencePieceProcessor(model_file=str(self.base / f"{side}.spm"))
            for side in ("source", "target")
        )
        for pair in self.corpus.train[:_SHORTLIST_PAIRS]:
            yield source.encode(pair.source, out_type=str), target.encode(pair.target, out_type=str)

    def _length(self) -> float:
        """Target tokens per source token: a random model does not know when to end."""
        lengths = [(len(source) + 1, len(target) + 1) for source, target in self._pieces()]
        return sum(target for _, target in lengths) / sum(source for source, _ in lengths)

    def _write_shortlist(self, path: Path) -> None:
        """Target tokens that stand beside each source token most often: as long as an aligner's table, not as good."""
        known = set(json.loads((self.base / "vocab.json").read_text(encoding="utf-8")))
        beside: dict[str, Counter[str]] = {}
        for source, found in self._pieces():
            target = [token for token in found if token in known]
            for token in known.intersection(source):
                beside.setdefault(token, Counter()).update(set(target))
        with path.open("w", encoding="utf-8") as file:
            for token, counts in sorted(beside.items()):
                total = counts.total()
                for target_token, count in counts.most_common(_SHORTLIST[1]):
                    file.write(f"{target_token} {token} {count / total:.6f}\n")


def _carried(state: Mapping[str, NDArray[np.float32]], names: set[str], tokens: int) -> dict[str, NDArray[np.float32]]:
    """Transformers' tensors under Marian's names; ValueError if one is missing."""
    found = {"Wemb": state["model.shared.weight"][:tokens]}
    found["decoder_ff_logit_out_b"] = state["final_logits_bias"][:, :tokens]
    for name, tensor in state.items():
        parts = name.split(".")
        if "layers" not in parts:
            continue
        prefix, (*module, kind) = f"{parts[1]}_l{int(parts[3]) + 1}", parts[4:]
        if (norm := _NORMS.get(".".join(module))) is not None:
            found[f"{prefix}_{norm}_{'scale' if kind == 'weight' else 'bias'}"] = tensor[None]
        else:
            place = _LAYER[".".join(module)].format("W" if kind == "weight" else "b")
            found[f"{prefix}_{place}"] = tensor.T if kind == "weight" else tensor[None]
    if missing := names - set(found) - {"special:model.yml"}:
        raise ValueError(f"Marian's {', '.join(sorted(missing)[:5])} are not in the base")
    return found


def _rewrite(origin: Path, path: Path, replaced: Any) -> None:
    """Copy an archive of arrays with some of them replaced; their shapes stay."""
    with np.load(origin) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in replaced(set(arrays)).items():
        if name in arrays and arrays[name].shape != array.shape:
            raise ValueError(f"{name}: Marian has the shape {arrays[name].shape}, the base {array.shape}")
        arrays[name] = np.ascontiguousarray(array, dtype=np.float32)
    with zipfile.ZipFile(path, "w") as file:  # np.savez would end names with what Marian does not expect
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            file.writestr(f"{name}.npy", content.getvalue())
