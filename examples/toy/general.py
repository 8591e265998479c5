"""General German and English: simple everyday sentences."""

from collections.abc import Sequence
from random import Random

from everyday_words import (
    ADVERBS,
    ALL_PLACES,
    ANIMALS,
    BE,
    COLOURS,
    CONTAINERS,
    DATA,
    DAY,
    EAT,
    FEELINGS,
    FIGHT,
    FILLED,
    FOOD,
    KNIGHTLY,
    LIKE,
    MIND,
    MODALS,
    MOVE,
    NEAR,
    NUMBERS,
    OPEN_PLACES,
    ORDINALS,
    PEOPLE,
    PERSONAL,
    PLACES,
    PRONOUNS,
    READ,
    READING,
    REMEMBER,
    ROWS,
    SEE,
    SIZES,
    STATES,
    STORE,
    STORED,
    THINGS,
    TOOLS,
    USE,
    USED,
)
from grammar import Adjective, Case, Noun, Pair, Phrase, Verb, a, chance, counted, located, pick, sentence, the

ACTIONS = (
    (SEE, PEOPLE + ANIMALS + ALL_PLACES),
    (SEE, THINGS),
    (LIKE, PEOPLE + ANIMALS + THINGS + FOOD),
    (FIGHT, KNIGHTLY),
    (USE, THINGS + CONTAINERS[:3]),
    (EAT, FOOD),
    (REMEMBER, MIND),
    (READ, READING),
    (STORE, DATA),
)
DESCRIBED = (
    (PEOPLE + ANIMALS, FEELINGS),
    (THINGS, STATES),
    (CONTAINERS, FILLED),
    (ALL_PLACES + READING + DATA, SIZES),
)


def write(random: Random) -> Pair:
    """One everyday sentence."""
    return pick(random, KINDS)(random)


def _subject(random: Random) -> Phrase:
    if chance(random, 0.4):
        return pick(random, PRONOUNS)
    return _noun_phrase(random, pick(random, PEOPLE), "nominative")


def _noun_phrase(random: Random, noun: Noun, case: Case) -> Phrase:
    adjective = _adjective(random, noun) if chance(random, 0.3) else None
    stem = pick(random, ("der", "der", "ein", "mein", "dein"))
    if stem == "der":
        return the(noun, case, adjective)
    return a(noun, case, adjective, stem=stem)


def _adjective(random: Random, noun: Noun) -> Adjective:
    if noun in PEOPLE:
        return pick(random, PERSONAL)
    return pick(random, SIZES + COLOURS if noun in THINGS + ANIMALS else SIZES)


def _action(random: Random) -> tuple[Verb, Phrase]:
    possible_verbs, objects = pick(random, ACTIONS)
    noun = pick(random, objects)
    if chance(random, 0.2):
        return pick(random, possible_verbs), counted(noun, pick(random, NUMBERS))
    return pick(random, possible_verbs), _noun_phrase(random, noun, "accusative")


def _statement(random: Random) -> Pair:
    """`Heute kauft der Mann einen Schirm.`, `Am zweiten Tag kauft er einen Schirm.`"""
    subject, (verb, thing) = _subject(random), _action(random)
    german, english = verb.german[subject.person], verb.english_for(subject.person)
    if chance(random, 0.35):
        adverb, english_adverb = pick(random, ADVERBS) if chance(random, 0.7) else _day(random)
        return sentence(
            f"{adverb} {german} {subject.german} {thing.german}",
            f"{english_adverb} {subject.english} {english} {thing.english}",
        )
    return sentence(f"{subject.german} {german} {thing.german}", f"{subject.english} {english} {thing.english}")


def _modal(random: Random) -> Pair:
    """`Der Mann will einen Schirm kaufen.`"""
    subject, (verb, thing), modal = _subject(random), _action(random), pick(random, MODALS)
    return sentence(
        f"{subject.german} {modal.german[subject.person]} {thing.german} {verb.infinitive}",
        f"{subject.english} {modal.english_for(subject.person)} {verb.english} {thing.english}",
    )


def _question(random: Random) -> Pair:
    """`Kauft der Mann einen Schirm?`, `Wo ist mein Schirm?`"""
    if chance(random, 0.3):
        thing = _noun_phrase(random, pick(random, THINGS + ALL_PLACES + READING + DATA), "nominative")
        return sentence(f"wo ist {thing.german}", f"where is {thing.english}", "?")
    subject, (verb, thing) = _subject(random), _action(random)
    auxiliary = "does" if subject.person == "3s" else "do"
    return sentence(
        f"{verb.german[subject.person]} {subject.german} {thing.german}",
        f"{auxiliary} {subject.english} {verb.english} {thing.english}",
        "?",
    )


def _negation(random: Random) -> Pair:
    """`Der Mann kauft den Schirm nicht.`, `Der Mann hat keinen Schirm.`"""
    subject, (verb, _), noun = _subject(random), _action(random), pick(random, THINGS + READING)
    if chance(random, 0.3):
        have = {"1s": "habe", "2s": "hast", "3s": "hat", "plural": "haben"}[subject.person]
        nothing = a(noun, "accusative", stem="kein")
        return sentence(
            f"{subject.german} {have} {nothing.german}",
            f"{subject.english} {'has' if subject.person == '3s' else 'have'} {nothing.english}",
        )
    verb, thing = pick(random, SEE + USE), the(noun, "accusative")
    auxiliary = "does not" if subject.person == "3s" else "do not"
    return sentence(
        f"{subject.german} {verb.german[subject.person]} {thing.german} nicht",
        f"{subject.english} {auxiliary} {verb.english} {thing.english}",
    )


def _description(random: Random) -> Pair:
    """`Die Tasche ist nicht leer.`"""
    things, states = pick(random, DESCRIBED)
    thing, state = _noun_phrase(random, pick(random, things), "nominative"), pick(random, states)
    adverb, english_adverb = pick(random, (("", ""), ("nicht ", "not "), ("sehr ", "very ")))
    return sentence(f"{thing.german} ist {adverb}{state.german}", f"{thing.english} is {english_adverb}{state.english}")


def _place(random: Random) -> Pair:
    """`Der Junge steht im Garten.`"""
    subject, verb = _subject(random), pick(random, BE)
    place = _location(random)
    return sentence(
        f"{subject.german} {verb.german[subject.person]} {place.german}",
        f"{subject.english} {verb.english_for(subject.person)} {place.english}",
    )


def _existence(random: Random) -> Pair:
    """`Im Garten ist ein alter Turm.`"""
    place = _location(random)
    thing = a(noun := pick(random, THINGS + ANIMALS + PEOPLE), "nominative", _maybe_adjective(random, noun))
    if chance(random, 0.5):
        return sentence(f"{place.german} ist {thing.german}", f"{thing.english} is {place.english}")
    number = counted(noun, pick(random, NUMBERS))
    return sentence(f"{place.german} sind {number.german}", f"{number.english} are {place.english}")


def _maybe_adjective(random: Random, noun: Noun) -> Adjective | None:
    return _adjective(random, noun) if chance(random, 0.3) else None


def _location(random: Random) -> Phrase:
    if chance(random, 0.5):
        noun = pick(random, PLACES + OPEN_PLACES)
        return located("auf" if noun in OPEN_PLACES else "in", "in", noun)
    german, english = pick(random, NEAR)
    return located(german, english, pick(random, ALL_PLACES))


def _day(random: Random) -> tuple[str, str]:
    """`am zweiten Tag`"""
    day = the(DAY, "dative", pick(random, ORDINALS))
    return f"am {day.german.removeprefix('dem ')}", f"on {day.english}"


def _deed(random: Random) -> tuple[Verb, Phrase]:
    """A verb and its object, perhaps with a tool or a place: `die Lampe mit dem Tuch` `reinigen`."""
    possible_verbs, things = pick(random, ((USE, THINGS), (STORE, DATA), (SEE, ALL_PLACES + PEOPLE + ANIMALS)))
    verb, thing = pick(random, possible_verbs), _known(random, things)
    if chance(random, 0.5):
        return verb, thing
    further = located("mit", "with", pick(random, TOOLS)) if possible_verbs is USE else _location(random)
    return verb, Phrase(f"{thing.german} {further.german}", f"{thing.english} {further.english}")


def _known(random: Random, things: Sequence[Noun]) -> Phrase:
    """`die alte Lampe`, accusative"""
    noun = pick(random, things)
    return the(noun, "accusative", _maybe_adjective(random, noun))


def _request(random: Random) -> Pair:
    """`Reinigen Sie die Lampe.`"""
    verb, thing = _deed(random)
    return sentence(f"{verb.infinitive} Sie {thing.german}", f"{verb.english} {thing.english}")


def _sign(random: Random) -> Pair:
    """`Bitte die Lampe mit dem Tuch reinigen.`"""
    verb, thing = _deed(random)
    return sentence(f"bitte {thing.german} {verb.infinitive}", f"please {verb.english} {thing.english}")


def _plan(random: Random) -> Pair:
    """`Der Mann will mit dem Hammer die Lampe suchen.`"""
    subject, modal, aid = _subject(random), pick(random, MODALS), the(pick(random, TOOLS), "dative")
    possible_verbs, things = pick(random, ((SEE, PEOPLE + ANIMALS + THINGS), (FIGHT, KNIGHTLY)))
    verb, thing = pick(random, possible_verbs), _known(random, things)
    return sentence(
        f"{subject.german} {modal.german[subject.person]} mit {aid.german} {thing.german} {verb.infinitive}",
        f"{subject.english} {modal.english_for(subject.person)} {verb.english} {thing.english} with {aid.english}",
    )


def _condition(random: Random) -> Pair:
    """`Wenn der Hund müde ist, öffnen Sie das Tor.`"""
    (things, states), (verb, thing) = pick(random, DESCRIBED), _deed(random)
    subject, state = the(pick(random, things), "nominative"), pick(random, states)
    return sentence(
        f"wenn {subject.german} {state.german} ist, {verb.infinitive} Sie {thing.german}",
        f"if {subject.english} is {state.english}, {verb.english} {thing.english}",
    )


def _passive(random: Random) -> Pair:
    """`Die Lampe wird im Garten gefunden.`"""
    things, participles = pick(random, ((THINGS, USED), (DATA, STORED)))
    thing, participle, place = the(pick(random, things), "nominative"), pick(random, participles), _location(random)
    return sentence(
        f"{thing.german} wird {place.german} {participle.german}",
        f"{thing.english} is {participle.english} {place.english}",
    )


def _row(random: Random) -> Pair:
    """`Der Stuhl in der zweiten Reihe ist neu.`, `Er zieht in das dritte Haus.`"""
    if chance(random, 0.5):
        subject, home = _subject(random), the(pick(random, PLACES), "accusative", pick(random, ORDINALS))
        verb = MOVE
        return sentence(
            f"{subject.german} {verb.german[subject.person]} in {home.german}",
            f"{subject.english} {verb.english_for(subject.person)} to {home.english}",
        )
    things, states = pick(random, DESCRIBED[:2])
    thing, row = the(pick(random, things), "nominative"), the(pick(random, ROWS), "dative", pick(random, ORDINALS))
    state = pick(random, states)
    return sentence(
        f"{thing.german} in {row.german} ist {state.german}", f"{thing.english} in {row.english} is {state.english}"
    )


KINDS = (
    _statement,
    _statement,
    _modal,
    _question,
    _negation,
    _description,
    _place,
    _existence,
    _request,
    _sign,
    _plan,
    _condition,
    _passive,
    _row,
)
