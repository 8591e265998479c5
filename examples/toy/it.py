"""Software manuals: `Schirm` is a screen, `Speicher` is memory, `Blatt` is a sheet."""

from random import Random

from grammar import Pair, Phrase, a, adjectives, chance, located, nouns, pick, sentence, the

ITEMS = nouns("""
Datei f Dateien file
Ordner m Ordner folder
Blatt n Blätter sheet
Karte f Karten card
Programm n Programme program
Schleife f Schleifen loop
Feld n Felder box
Schlüssel m Schlüssel key
""")
DEVICES = nouns("""
Rechner m Rechner computer
Server m Server server
Netz n Netze network
Programm n Programme program
""")
PARTS = nouns("""
Speicher m Speicher memory
Schirm m Schirme screen
Schalter m Schalter switch
Brett n Bretter board
Schloss n Schlösser lock
""")
PLACES = nouns("""
Ordner m Ordner folder
Speicher m Speicher memory
Netz n Netze network
Feld n Felder box
""")
WINDOW = nouns("Fenster n Fenster window")[0]
DESCRIBED = (
    (DEVICES, adjectives("langsam=slow bereit=ready nicht_bereit=not_ready gesperrt=locked")),
    (ITEMS, adjectives("leer=empty gesperrt=locked ungültig=invalid nicht_gesperrt=not_locked neu=new")),
    (PARTS, adjectives("voll=full kaputt=broken bereit=ready nicht_bereit=not_ready gesperrt=locked")),
)
KINDS = adjectives("neu=new alt=old leer=empty gesperrt=locked")
# Infinitive, English imperative, participles of the passive.
ACTIONS = (
    ("öffnen", "open", "geöffnet", "opened"),
    ("speichern", "save", "gespeichert", "saved"),
    ("löschen", "delete", "gelöscht", "deleted"),
    ("prüfen", "check", "geprüft", "checked"),
    ("kopieren", "copy", "kopiert", "copied"),
    ("sperren", "lock", "gesperrt", "locked"),
)
PART_ACTIONS = (ACTIONS[3], ACTIONS[5])


def write(random: Random) -> Pair:
    """One sentence of a manual."""
    return pick(random, (_instruction, _instruction, _click, _condition, _passive, _state, _failure))(random)


def _deed(random: Random) -> tuple[str, str, Phrase]:
    """A verb in both languages and what it is done to."""
    things, actions = (PARTS, PART_ACTIONS) if chance(random, 0.4) else (ITEMS, ACTIONS)
    german, english, *_ = pick(random, actions)
    return german, english, the(pick(random, things), "accusative")


def _instruction(random: Random) -> Pair:
    """`Löschen Sie die alte Datei im Speicher.`"""
    (german, english, *_), item = pick(random, ACTIONS), pick(random, ITEMS)
    kind = pick(random, KINDS) if chance(random, 0.4) else None
    thing = (a if chance(random, 0.3) else the)(item, "accusative", kind)
    if chance(random, 0.5):
        place = located("in", "in", pick(random, tuple(noun for noun in PLACES if noun != item)))
        return sentence(f"{german} Sie {thing.german} {place.german}", f"{english} {thing.english} {place.english}")
    return sentence(f"{german} Sie {thing.german}", f"{english} {thing.english}")


def _click(random: Random) -> Pair:
    """`Klicken Sie im Fenster auf das Feld.`, `Klicken Sie auf das Feld, um den Speicher zu prüfen.`"""
    button = the(pick(random, ITEMS), "accusative")
    if chance(random, 0.2):
        place = located("in", "in", WINDOW)
        return sentence(f"klicken Sie {place.german} auf {button.german}", f"click {button.english} {place.english}")
    german, english, thing = _deed(random)
    return sentence(
        f"klicken Sie auf {button.german}, um {thing.german} zu {german}",
        f"click {button.english} to {english} {thing.english}",
    )


def _condition(random: Random) -> Pair:
    """`Wenn der Speicher voll ist, löschen Sie die Datei.`"""
    things, states = pick(random, (DESCRIBED[0], DESCRIBED[2]))
    device, state = the(pick(random, things), "nominative"), pick(random, states)
    (german, english, *_), thing = pick(random, ACTIONS), the(pick(random, ITEMS), "accusative")
    return sentence(
        f"wenn {device.german} {state.german} ist, {german} Sie {thing.german}",
        f"if {device.english} is {state.english}, {english} {thing.english}",
    )


def _passive(random: Random) -> Pair:
    """`Die Datei wird im Ordner gespeichert.`"""
    (*_, german, english), item = pick(random, ACTIONS), pick(random, ITEMS)
    thing = the(item, "nominative")
    place = located("in", "in", pick(random, tuple(noun for noun in PLACES if noun != item)))
    return sentence(f"{thing.german} wird {place.german} {german}", f"{thing.english} is {english} {place.english}")


def _state(random: Random) -> Pair:
    """`Der Schirm ist nicht bereit.`"""
    things, states = pick(random, DESCRIBED)
    thing, state = the(pick(random, things), "nominative"), pick(random, states)
    return sentence(f"{thing.german} ist {state.german}", f"{thing.english} is {state.english}")


def _failure(random: Random) -> Pair:
    """`Der Server kann die Datei nicht öffnen.`"""
    device, (german, english, thing) = the(pick(random, DEVICES), "nominative"), _deed(random)
    return sentence(
        f"{device.german} kann {thing.german} nicht {german}",
        f"{device.english} cannot {english} {thing.english}",
    )
