"""The words that demo tasks share: frequent in encyclopedias, novels and news, grouped by what they mean."""

from autodelta.tasks.demo._grammar import verbs


def words(text: str) -> tuple[str, ...]:
    """Words from a list divided by spaces."""
    return tuple(text.split())


WOMEN = words(
    "Anna Mary Elizabeth Sarah Emma Alice Jane Kate Helen Margaret Julia Susan Maria Lucy Rachel Laura Ellen Ruth"
    " Catherine Barbara Linda Nancy Rose Sophie Victoria Caroline Diana Jennifer Jessica Lisa Charlotte Eva Amy Lily"
)
MEN = words(
    "John Peter David Paul George James Robert William Thomas Michael Richard Charles Henry Edward Martin Simon Frank"
    " Jack Daniel Adam Arthur Joseph Philip Andrew Kevin Brian Steven Alan Walter Tom Harry Oliver Samuel Patrick"
)
NAMES = WOMEN + MEN

PEOPLE = words(
    "doctor teacher lawyer nurse king soldier farmer captain judge minister president professor priest writer artist"
    " actor driver officer guard student engineer editor singer manager coach player sailor hunter merchant servant"
    " secretary pilot prince bishop general mayor senator author painter poet musician journalist queen chief clerk"
    " scientist candidate lady gentleman boy girl woman man child prisoner owner guest stranger neighbor friend"
)
ANIMALS = words(
    "dog cat horse cow sheep pig bird fish wolf lion tiger bear elephant snake rabbit duck chicken goat monkey eagle"
    " fox rat mouse deer bull camel whale shark frog spider bee butterfly"
)
BUILDINGS = words(
    "castle hotel hospital church museum station airport school library palace prison theatre stadium kitchen tower"
    " garden park village city"
)
PLACES = BUILDINGS + words("town river country island mountain valley forest desert beach lake street farm harbor")
THINGS = words(
    "table chair book letter bottle knife ring coat hat shoe lamp clock box key mirror picture phone camera bag cup"
    " basket blanket bed desk pen newspaper map sword gun computer window door radio coin flag hammer piano drum"
)
GROUPS = words(
    "company club army party bank team family band orchestra committee council union government ministry court league"
    " society crew gang tribe jury parliament navy association agency department corporation board crowd regiment"
)
VEHICLES = words("car bus train truck boat ship plane bicycle taxi tractor helicopter motorcycle wagon")
FRUITS = words("apple orange banana lemon cherry grape peach pear berry melon")
TOOLS = words("hammer knife saw axe drill spoon rope shovel scissors needle")
INSTRUMENTS = words("piano guitar violin drums organ trumpet flute harp bass")

PLAIN_ADJECTIVES = words("old young new small large famous local strange quiet rich poor happy tired proud brave")
NUMBERS = words(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
    " nineteen twenty"
)

ACTIONS = verbs(
    "help, follow, watch, visit, call, thank, attack, praise, blame, trust, hire, save, invite, warn, kill, love,"
    " hate, see saw seen, hear heard, meet met, find found, catch caught, beat beat beaten, know knew known, push,"
    " protect, support, question, answer, greet, join, fear, forget forgot forgotten, hurt hurt, kiss, welcome, admire,"
    " arrest, defend, teach taught, lead led, fight fought, hold held, choose chose chosen, betray, touch, rescue"
)
"""What one person does to another."""

DEEDS = (
    ("leave", "left", "the city"), ("open", "opened", "the door"), ("read", "read", "the letter"),
    ("sell", "sold", "the house"), ("close", "closed", "the window"), ("buy", "bought", "a horse"),
    ("write", "wrote", "a book"), ("lose", "lost", "the game"), ("win", "won", "the race"),
    ("build", "built", "a wall"), ("cross", "crossed", "the river"), ("sing", "sang", "a song"),
    ("light", "lit", "the fire"), ("cut", "cut", "the bread"), ("clean", "cleaned", "the kitchen"),
    ("visit", "visited", "the museum"), ("drink", "drank", "the wine"), ("play", "played", "the piano"),
    ("paint", "painted", "the wall"), ("call", "called", "the police"), ("sign", "signed", "the contract"),
    ("break", "broke", "the mirror"), ("find", "found", "the key"), ("join", "joined", "the army"),
    ("feed", "fed", "the dog"), ("hear", "heard", "the news"), ("watch", "watched", "the film"),
    ("make", "made", "a speech"), ("send", "sent", "a message"), ("take", "took", "the money"),
    ("lock", "locked", "the gate"), ("wash", "washed", "the car"), ("enter", "entered", "the church"),
    ("climb", "climbed", "the hill"), ("catch", "caught", "a fish"), ("plant", "planted", "a tree"),
    ("burn", "burned", "the paper"), ("hide", "hid", "the gold"), ("pay", "paid", "the bill"),
    ("answer", "answered", "the phone"), ("ride", "rode", "the bus"), ("draw", "drew", "a map"),
    ("drop", "dropped", "the glass"), ("carry", "carried", "the box"), ("cook", "cooked", "the dinner"),
    ("kill", "killed", "the snake"), ("finish", "finished", "the work"), ("start", "started", "the engine"),
)  # fmt: skip
"""What a person does to a thing: base form, past form, object."""

SUBJECTS = {
    "sport": words(
        "football tennis baseball cricket rugby basketball hockey golf boxing swimming goals players coaches teams"
        " championships medals races stadiums leagues athletes tournaments referees penalties runners goalkeepers"
        " matches cyclists boxers skiing wrestling"
    ),
    "music": words(
        "songs albums bands concerts guitars pianos orchestras singers operas violins symphonies composers drums jazz"
        " choirs melodies tunes rhythm recordings ballads hymns trumpets flutes musicians lyrics harmony dancing"
        " ballet blues conductors"
    ),
    "politics": words(
        "elections parliament ministers votes senators presidents congress campaigns treaties coalitions ballots"
        " constitutions governments democracy voters republicans democrats conservatives liberals candidates mayors"
        " governors diplomats ambassadors legislation referendums ministries politicians monarchy socialism"
    ),
    "health": words(
        "hospitals diseases doctors patients surgery drugs viruses infections fever vaccines cancer nurses treatments"
        " illness wounds blood pain medicine clinics symptoms surgeons therapy bacteria injuries pregnancy"
        " disorders diabetes tumors asthma pills"
    ),
    "war": words(
        "armies battles soldiers regiments troops sieges generals weapons navies fleets invasions guns battalions"
        " cavalry artillery bombs tanks rifles missiles warships ammunition infantry brigades snipers enemies"
        " swords attacks squadrons fortresses combat"
    ),
    "money": words(
        "banks markets prices profits loans companies trade stocks investments shares taxes debts budgets customers"
        " sales factories insurance investors dollars wages mortgages merchants bonds shops revenue banking finance"
        " economics cash exports"
    ),
}
"""What one can talk about, as plurals and mass nouns, by field."""

PRAISE = words(
    "excellent wonderful beautiful perfect brilliant great strong successful impressive good remarkable outstanding"
    " fine clever fresh elegant amazing fantastic pleasant lovely"
)
CRITICISM = words(
    "terrible awful poor bad weak horrible dull boring ugly disappointing broken wrong ridiculous stupid dreadful"
    " miserable painful useless empty dead"
)
