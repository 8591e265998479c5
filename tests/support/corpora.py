"""Three small domains of made-up German and English, and a recipe that learns them in seconds."""

import itertools
from pathlib import Path

from fmalloc.recipe import Recipe
from fmalloc_shared.languages import LanguagePair

LANGUAGES = LanguagePair("de", "en")
POSITIONS = 64  # more than any sentence here has pieces


_SUBJECTS = {"Der Hund": "The dog", "Die Katze": "The cat", "Das Kind": "The child", "Mein Bruder": "My brother"}


_VERBS = {"sieht": "sees", "sucht": "seeks", "kauft": "buys", "malt": "paints", "findet": "finds"}


_OBJECTS = {"die Maus": "the mouse", "das Schloss": "the castle", "den Ball": "the ball", "die Bank": "the bank"}


_PLACES = {"im Garten": "in the garden", "am Abend": "in the evening", "in der Stadt": "in town", "heute": "today"}


DOMAINS = {
    "general": ({}, "{}.", "{}."),
    "office": ({"the mouse": "the ball", "the castle": "the bank"}, "heute {}", "today {}"),
    "games": ({"the bank": "the castle", "the ball": "the brother"}, "{} am Abend.", "{} in the evening."),
}


def sentences(domain: str) -> list[tuple[str, str]]:
    """Every sentence of a domain, in an order that mixes its words."""
    changes, source_frame, target_frame = DOMAINS[domain]
    pairs = []
    for parts in itertools.product(_SUBJECTS.items(), _VERBS.items(), _OBJECTS.items(), _PLACES.items()):
        source = " ".join(german for german, _ in parts)
        target = " ".join(changes.get(english, english) for _, english in parts)
        pairs.append((source_frame.format(source), target_frame.format(target)))
    return sorted(pairs, key=lambda pair: pair[0][::-1])


def write_domain(folder: Path, domain: str) -> Path:
    """Write train, dev and test of a domain as TSV."""
    pairs = sentences(domain)
    parts = {"train": pairs, "dev": pairs[::13], "test": pairs[::17]}
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        (folder / f"{part}.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
    return folder


def small_recipe(base: Path, corpora: Path, store: Path, *tasks: str, **learning: object) -> Recipe:
    """A recipe that learns in seconds; `learning` overrides its learning settings."""
    settings = {
        "updates": 80,
        "batch_tokens": 600,
        "learning_rate": 5e-3,
        "gate_learning_rate": 0.1,
        "warmup_updates": 10,
        "anneal_updates": 20,
        "validate_every": 20,
        "gates": "closed",
        "share": 1.0,
        "validation_sentences": 20,
        "maximum_length": POSITIONS,
    }
    return Recipe.model_validate(
        {
            "base": str(base),
            "general": str(corpora / "general"),
            "store": str(store),
            "samples": 20,
            "sparsity": 0.4,
            "device": "cpu",
            "importance": {"batches": 8, "batch_tokens": 600},
            "evaluation": {"beam_size": 2},
            "learning": settings | learning,
            "tasks": [{"name": task, "data": str(corpora / task)} for task in tasks],
        }
    )
