"""Chess comments: `Läufer` is a bishop, `Bauer` is a pawn, `Zug` is a move."""

from random import Random

from grammar import Adjective, Case, Noun, Pair, Phrase, Verb, adjectives, chance, nouns, pick, sentence, the, verbs

PIECES = nouns("""
Läufer m Läufer bishop
Springer m Springer knight
Turm m Türme rook
Dame f Damen queen
Bauer/Bauern m Bauern pawn
""")
KING = nouns("König m Könige king")
PLACES = nouns("""
Feld n Felder square
Reihe f Reihen rank
Linie f Linien file
""")
BOARD = nouns("Brett n Bretter board")[0]
MOVE = nouns("Zug m Züge move")[0]
COLOURS = adjectives("weiß=white schwarz=black")
ORDINALS = adjectives("erst=first zweit=second dritt=third viert=fourth fünft=fifth sechst=sixth siebt=seventh")
STATES = adjectives("gefesselt=pinned gedeckt=protected stark=strong schwach=weak verloren=lost frei=free")
ATTACKS = verbs("""
schlage schlägst schlägt schlagen = take takes
bedrohe bedrohst bedroht bedrohen = threaten threatens
fessle fesselst fesselt fesseln = pin pins
""")
DEFENCES = verbs("""
decke deckst deckt decken = protect protects
befreie befreist befreit befreien = free frees
""")
SIDE_ACTIONS = verbs("""
opfere opferst opfert opfern = sacrifice sacrifices
verliere verlierst verliert verlieren = lose loses
bewege bewegst bewegt bewegen = move moves
""")


def write(random: Random) -> Pair:
    """One sentence of a comment."""
    return pick(random, (_attack, _side, _state, _move, _plan, _plan, _loss))(random)


def _piece(random: Random, case: Case, *, colour: Adjective | None = None) -> Phrase:
    return the(pick(random, PIECES), case, colour if chance(random, 0.5) else None)


def _colours(random: Random) -> tuple[Adjective, Adjective]:
    white, black = COLOURS
    return (white, black) if chance(random, 0.5) else (black, white)


def _deed(random: Random, piece: Noun, own: Adjective, other: Adjective) -> tuple[Verb, Phrase]:
    """What a piece of one's own does, and to which: it attacks the others or helps another of its side."""
    if chance(random, 0.7):
        return pick(random, ATTACKS), _piece(random, "accusative", colour=other)
    helped = pick(random, tuple(noun for noun in PIECES + KING if noun != piece))
    return pick(random, DEFENCES), the(helped, "accusative", own if chance(random, 0.5) else None)


def _attack(random: Random) -> Pair:
    """`Der Läufer bedroht den weißen Turm.`"""
    (own, other), piece = _colours(random), pick(random, PIECES + KING)
    attacker, (verb, victim) = the(piece, "nominative", own), _deed(random, piece, own, other)
    return sentence(
        f"{attacker.german} {verb.german['3s']} {victim.german}",
        f"{attacker.english} {verb.english_third} {victim.english}",
    )


def _plan(random: Random) -> Pair:
    """`Schwarz will mit dem Bauern den weißen Turm schlagen.`"""
    (own, other), piece = _colours(random), pick(random, PIECES)
    helper, (verb, victim) = the(piece, "dative"), _deed(random, piece, own, other)
    return sentence(
        f"{own.german} will mit {helper.german} {victim.german} {verb.infinitive}",
        f"{own.english} wants to {verb.english} {victim.english} with {helper.english}",
    )


def _side(random: Random) -> Pair:
    """`Im dritten Zug opfert Weiß die Dame.`"""
    verb, side, piece = pick(random, SIDE_ACTIONS), pick(random, COLOURS), _piece(random, "accusative")
    german, english = _when(random)
    return sentence(
        f"{german} {verb.german['3s']} {side.german.capitalize()} {piece.german}",
        f"{english} {side.english.capitalize()} {verb.english_third} {piece.english}",
    )


def _state(random: Random) -> Pair:
    """`Der Springer auf der dritten Reihe ist nicht gedeckt.`"""
    piece, state = _piece(random, "nominative", colour=pick(random, COLOURS)), pick(random, STATES)
    adverb, english_adverb = pick(random, (("", ""), ("nicht ", "not "), ("jetzt ", "now ")))
    place = the(pick(random, PLACES), "dative", pick(random, ORDINALS))
    german, english = (f" auf {place.german}", f" on {place.english}") if chance(random, 0.5) else ("", "")
    return sentence(
        f"{piece.german}{german} ist {adverb}{state.german}",
        f"{piece.english}{english} is {english_adverb}{state.english}",
    )


def _move(random: Random) -> Pair:
    """`Der Turm zieht auf die zweite Reihe.`"""
    piece = _piece(random, "nominative", colour=pick(random, COLOURS))
    place = the(pick(random, PLACES), "accusative", pick(random, ORDINALS))
    return sentence(f"{piece.german} zieht auf {place.german}", f"{piece.english} moves to {place.english}")


def _loss(random: Random) -> Pair:
    """`Im vierten Zug verlässt der Springer das Brett.`"""
    piece = _piece(random, "nominative", colour=pick(random, COLOURS))
    (german, english), board = _when(random), the(BOARD, "accusative")
    return sentence(
        f"{german} verlässt {piece.german} {board.german}", f"{english} {piece.english} leaves {board.english}"
    )


def _when(random: Random) -> tuple[str, str]:
    move = the(MOVE, "dative", pick(random, ORDINALS))
    return f"im {move.german.removeprefix('dem ')}", f"on {move.english}"
