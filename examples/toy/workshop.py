"""Repair instructions: `Mutter` is a nut, `Hahn` is a tap, `Schlüssel` is a wrench."""

from random import Random

from grammar import Pair, adjectives, chance, located, nouns, pick, sentence, the

PARTS = nouns("""
Mutter f Muttern nut
Feder f Federn spring
Schraube f Schrauben screw
Stift m Stifte pin
Blatt n Blätter blade
Birne f Birnen bulb
Hahn m Hähne tap
Schloss n Schlösser lock
Schalter m Schalter switch
""")
TOOLS = nouns("""
Schlüssel m Schlüssel wrench
Hammer m Hämmer hammer
Öl n Öle oil
Tuch n Tücher cloth
""")
SUPPORTS = nouns("""
Bank f Bänke workbench
Decke f Decken ceiling
Brett n Bretter board
Leiter f Leitern ladder
Motor m Motoren engine
""")
STATES = adjectives("gebrochen=broken locker=loose fest=tight rostig=rusty verbogen=bent abgenutzt=worn")
KINDS = adjectives("rostig=rusty verbogen=bent neu=new alt=old abgenutzt=worn")
# Infinitive (German instructions end in it) and English imperative; the first ones need a tool.
TIGHTEN, LOOSEN, CLEAN, DRY, OIL = (
    ("festziehen", "tighten"),
    ("lösen", "loosen"),
    ("reinigen", "clean"),
    ("trocknen", "dry"),
    ("schmieren", "lubricate"),
)
ACTIONS = (TIGHTEN, LOOSEN, CLEAN, ("ersetzen", "replace"), ("prüfen", "check"), ("einbauen", "install"))
USES = dict(zip(TOOLS, ((TIGHTEN, LOOSEN), (LOOSEN, TIGHTEN), (OIL, CLEAN), (CLEAN, DRY)), strict=True))
TIMES = (
    ("vor der Arbeit", "before the work"),
    ("nach der Arbeit", "after the work"),
    ("vor dem Test", "before the test"),
    ("jeden Monat", "every month"),
)
AT = (("an", "on"), ("unter", "under"), ("hinter", "behind"))


def write(random: Random) -> Pair:
    """One sentence of an instruction."""
    return pick(random, (_instruction, _instruction, _tool, _tool, _state, _time))(random)


def _instruction(random: Random) -> Pair:
    """`Die rostige Mutter am Motor lösen.`"""
    kind = pick(random, KINDS) if chance(random, 0.5) else None
    part, (german, english) = the(pick(random, PARTS), "accusative", kind), pick(random, ACTIONS)
    place = located(*pick(random, AT), pick(random, SUPPORTS))
    return sentence(f"{part.german} {place.german} {german}", f"{english} {part.english} {place.english}")


def _tool(random: Random) -> Pair:
    """`Die Mutter mit dem Schlüssel festziehen.`"""
    kind = pick(random, KINDS) if chance(random, 0.3) else None
    part, tool = the(pick(random, PARTS), "accusative", kind), pick(random, TOOLS)
    german, english = pick(random, USES[tool])
    aid = located("mit", "with", tool)
    return sentence(f"{part.german} {aid.german} {german}", f"{english} {part.english} {aid.english}")


def _state(random: Random) -> Pair:
    """`Die Feder hinter dem Brett ist verbogen.`"""
    part, state = the(pick(random, PARTS), "nominative"), pick(random, STATES)
    place = located(*pick(random, AT), pick(random, SUPPORTS))
    german, english = pick(random, (("", ""), ("zu ", "too "), ("nicht ", "not ")))
    return sentence(
        f"{part.german} {place.german} ist {german}{state.german}",
        f"{part.english} {place.english} is {english}{state.english}",
    )


def _time(random: Random) -> Pair:
    """`Vor der Arbeit den neuen Hahn prüfen.`"""
    kind = pick(random, KINDS) if chance(random, 0.5) else None
    part, (german, english) = the(pick(random, PARTS), "accusative", kind), pick(random, ACTIONS)
    time, english_time = pick(random, TIMES)
    return sentence(f"{time} {part.german} {german}", f"{english_time} {english} {part.english}")
