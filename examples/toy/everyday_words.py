"""The words of everyday sentences. Those that a domain uses in another sense have their everyday sense here."""

from grammar import Phrase, adjectives, nouns, verbs

PEOPLE = nouns("""
Mann m Männer man men
Frau f Frauen woman women
Kind n Kinder child children
Lehrer m Lehrer teacher
Junge/Jungen m Jungen boy
Mädchen n Mädchen girl
Bruder m Brüder brother
Schwester f Schwestern sister
Vater m Väter father
Mutter f Mütter mother
Freund m Freunde friend
Bauer/Bauern m Bauern farmer
Dame f Damen lady ladies
Läufer m Läufer runner
Springer m Springer jumper
König m Könige king
Königin f Königinnen queen
Ritter m Ritter knight
Bischof m Bischöfe bishop
""")
KNIGHTLY = nouns("""
König m Könige king
Ritter m Ritter knight
Pferd n Pferde horse
Vogel m Vögel bird
""")
ANIMALS = nouns("""
Hund m Hunde dog
Katze f Katzen cat
Pferd n Pferde horse
Hahn m Hähne rooster
Maus f Mäuse mouse mice
Vogel m Vögel bird
Saatkrähe f Saatkrähen rook
""")
MIND = nouns("Gedächtnis n Gedächtnisse memory memories\nErinnerung f Erinnerungen memory memories")
FOOD = nouns("""
Apfel m Äpfel apple
Brot n Brote bread loaves
Suppe f Suppen soup
Birne f Birnen pear
Kuchen m Kuchen cake
Ei n Eier egg
Nuss f Nüsse nut
Öl n Öle oil
""")
READING = nouns("""
Buch n Bücher book
Brief m Briefe letter
Karte f Karten map
""")
DATA = nouns("""
Datei f Dateien file
Programm n Programme program
""")
THINGS = nouns("""
Schirm m Schirme umbrella
Bildschirm m Bildschirme screen
Decke f Decken blanket
Zimmerdecke f Zimmerdecken ceiling
Stift m Stifte pencil
Stecknadel f Stecknadeln pin
Schlüssel m Schlüssel key
Türschloss n Türschlösser lock
Feder f Federn feather
Quelle f Quellen spring
Blatt n Blätter leaf leaves
Laken n Laken sheet
Klinge f Klingen blade
Brett n Bretter plank
Tafel f Tafeln board
Netz n Netze net
Netzwerk n Netzwerke network
Spielkarte f Spielkarten card
Spielfigur f Spielfiguren pawn
Lampe f Lampen lamp
Glühbirne f Glühbirnen bulb
Wasserhahn m Wasserhähne tap
Stuhl m Stühle chair
Tisch m Tische table
Ordner m Ordner binder
Schleife f Schleifen ribbon
Schlinge f Schlingen loop
Rechner m Rechner calculator
Computer m Computer computer
Schalter m Schalter counter
Lichtschalter m Lichtschalter switch
Server m Server server
Motor m Motoren engine
Leiter f Leitern ladder
Tuch n Tücher cloth
Hammer m Hämmer hammer
Schraube f Schrauben screw
Schraubenschlüssel m Schraubenschlüssel wrench
""")
CONTAINERS = nouns("""
Tasche f Taschen bag
Kiste f Kisten box
Mappe f Mappen folder
Haus n Häuser house
Zug m Züge train
""")
PLACES = nouns("""
Haus n Häuser house
Garten m Gärten garden
Schule f Schulen school
Stadt f Städte city cities
Dorf n Dörfer village
Schloss n Schlösser castle
Turm m Türme tower
Wald m Wälder forest
Küche f Küchen kitchen
Zug m Züge train
Speicher m Speicher attic
""")
OPEN_PLACES = nouns("""
Platz m Plätze square
Feld n Felder field
""")
FURNITURE = nouns("""
Bank f Bänke bench
Werkbank f Werkbänke workbench
Tisch m Tische table
Fenster n Fenster window
Tor n Tore gate
""")
ALL_PLACES = PLACES + OPEN_PLACES + FURNITURE

SEE = verbs("""
sehe siehst sieht sehen = see sees
suche suchst sucht suchen = look_for looks_for
finde findest findet finden = find finds
zeichne zeichnest zeichnet zeichnen = draw draws
schütze schützt schützt schützen = protect protects
""")
REMEMBER = verbs("""
brauche brauchst braucht brauchen = need needs
verliere verlierst verliert verlieren = lose loses
finde findest findet finden = find finds
""")
LIKE = verbs("mag magst mag mögen = like likes")
FIGHT = verbs("""
bedrohe bedrohst bedroht bedrohen = threaten threatens
befreie befreist befreit befreien = free frees
schütze schützt schützt schützen = protect protects
""")
USE = verbs("""
kaufe kaufst kauft kaufen = buy buys
brauche brauchst braucht brauchen = need needs
trage trägst trägt tragen = carry carries
verkaufe verkaufst verkauft verkaufen = sell sells
verliere verlierst verliert verlieren = lose loses
prüfe prüfst prüft prüfen = check checks
reinige reinigst reinigt reinigen = clean cleans
ersetze ersetzt ersetzt ersetzen = replace replaces
bewege bewegst bewegt bewegen = move moves
drücke drückst drückt drücken = press presses
löse löst löst lösen = loosen loosens
trockne trocknest trocknet trocknen = dry dries
""")
EAT = verbs("""
esse isst isst essen = eat eats
kaufe kaufst kauft kaufen = buy buys
schneide schneidest schneidet schneiden = cut cuts
nehme nimmst nimmt nehmen = take takes
""")
READ = verbs("""
lese liest liest lesen = read reads
öffne öffnest öffnet öffnen = open opens
schließe schließt schließt schließen = close closes
""")
STORE = verbs("""
öffne öffnest öffnet öffnen = open opens
speichere speicherst speichert speichern = save saves
lösche löschst löscht löschen = delete deletes
kopiere kopierst kopiert kopieren = copy copies
sperre sperrst sperrt sperren = lock locks
prüfe prüfst prüft prüfen = check checks
""")
BE = verbs("sitze sitzt sitzt sitzen = sit sits\nstehe stehst steht stehen = stand stands")
MOVE = verbs("ziehe ziehst zieht ziehen = move moves")[0]
MODALS = verbs("""
kann kannst kann können = can can
muss musst muss müssen = must must
will willst will wollen = want_to wants_to
""")

SIZES = adjectives("groß=big klein=small alt=old neu=new schön=beautiful")
PERSONAL = adjectives("groß=tall klein=small alt=old jung=young gut=good")
COLOURS = adjectives("rot=red schwarz=black weiß=white grün=green")
STATES = adjectives(
    "kaputt=broken sauber=clean schwer=heavy leicht=light rostig=rusty verbogen=bent abgenutzt=worn"
    " locker=loose fest=tight"
)
FILLED = adjectives("voll=full leer=empty")
FEELINGS = adjectives("müde=tired krank=ill stark=strong schnell=fast langsam=slow frei=free schwach=weak bereit=ready")
NUMBERS = adjectives("zwei=two drei=three vier=four fünf=five sechs=six zehn=ten")
ADVERBS = (
    ("heute", "today"),
    ("jetzt", "now"),
    ("manchmal", "sometimes"),
    ("am Abend", "in the evening"),
    ("im Sommer", "in summer"),
)
NEAR = (("hinter", "behind"), ("vor", "in front of"), ("neben", "next to"))
ORDINALS = adjectives("erst=first zweit=second dritt=third viert=fourth fünft=fifth sechst=sixth siebt=seventh")
DAY = nouns("Tag m Tage day")[0]
ROWS = nouns("Reihe f Reihen row\nLinie f Linien line")
USED = adjectives("verkauft=sold geprüft=checked gereinigt=cleaned gefunden=found verloren=lost geschützt=protected")
STORED = adjectives("geöffnet=opened gespeichert=saved gelöscht=deleted kopiert=copied gesperrt=locked geprüft=checked")
TOOLS = nouns("Hammer m - hammer\nTuch n - cloth\nÖl n - oil\nStift m - pencil\nFeder f - feather\nHund m - dog")
PRONOUNS = (
    Phrase("ich", "I", "1s"),
    Phrase("du", "you", "2s"),
    Phrase("er", "he", "3s"),
    Phrase("sie", "she", "3s"),
    Phrase("wir", "we", "plural"),
)
