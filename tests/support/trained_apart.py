"""What test_distributed runs in one process and in two: `python trained_apart.py BASE CORPUS OUTPUT`, dropout off."""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fmalloc.corpus import read_corpus
from fmalloc.methods.finetuning import FineTuning
from fmalloc.model.architectures import load_base
from fmalloc.model.devices import select
from fmalloc.model.text.batches import TrainingBatches, encode
from fmalloc.recipe import LearningSettings
from fmalloc.training.distributed import processes
from fmalloc.training.loop import Training
from fmalloc.training.validation import Validator
from fmalloc_shared.languages import LanguagePair

LANGUAGES = LanguagePair("de", "en")


def main(base: Path, corpus_path: Path, output: Path) -> None:
    """Fine-tune all parameters for 30 updates, some of them of one row, and save them with the losses."""
    torch.set_num_threads(1)
    settings = LearningSettings(
        updates=30, batch_tokens=30, learning_rate=2e-3, warmup_updates=5, validate_every=10, anneal_updates=10
    )
    with processes() as group:
        model, tokenizer = load_base(base)
        for module in model.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        device, corpus = select("cpu"), read_corpus(corpus_path, LANGUAGES)
        train = encode(tokenizer, corpus.train, LANGUAGES, maximum_length=64).examples
        validator: Any = Validator(tokenizer, LANGUAGES, train[:20], (), device, 600)
        batches = TrainingBatches(train, settings.batch_tokens, tokenizer.pad_token_id, 1)
        trainable = FineTuning(model, validator, settings)
        training = Training(trainable, batches, settings.schedule(), device, output / "c.safetensors", "test")
        training.run()
        losses = torch.tensor([[point.nll, point.loss or 0.0] for point in training.progress.curve], dtype=torch.double)
        save_file({"losses": losses} | trainable.tensors(), output / f"{group.rank}-of-{group.size}.safetensors")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
