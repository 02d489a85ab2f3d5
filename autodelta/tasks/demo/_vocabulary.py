"""The words that demo tasks share, grouped by what they mean; the lists of words run from frequent to rare."""

from autodelta.tasks.demo._grammar import verbs


def words(text: str) -> tuple[str, ...]:
    """Words from a list divided by spaces."""
    return tuple(text.split())


WOMEN = words(
    "Mary Rose Elizabeth Anna Maria Jane Victoria Margaret Alice Eva Lily Lisa Helen Emma Catherine Amy Lucy Sarah"
    " Ruth Ellen Susan Julia Charlotte Diana Nancy Laura Barbara Rachel Kate Jessica Linda Caroline Sophie Jennifer"
)
MEN = words(
    "John George William Peter James David Robert Paul Michael Richard Arthur Charles Thomas Henry Edward Frank Jack"
    " Martin Joseph Tom Adam Andrew Harry Philip Walter Daniel Kevin Samuel Brian Patrick Simon Alan Oliver Steven"
)
NAMES = WOMEN + MEN

PEOPLE = words(
    "man general president king minister chief child woman boy player friend author lady girl judge coach doctor"
    " secretary officer professor guard captain queen student prince artist manager writer bishop actor owner mayor"
    " driver editor journalist singer senator guest lawyer pilot gentleman candidate engineer priest teacher servant"
    " musician poet soldier nurse neighbor merchant painter hunter farmer prisoner stranger clerk sailor scientist"
)
ANIMALS = words(
    "horse bear dog cat fish bull pig bird fox cow rat wolf bee deer tiger goat camel eagle spider lion chicken mouse"
    " frog sheep duck whale elephant snake shark monkey butterfly rabbit"
)
BUILDINGS = words(
    "school city church station park village hospital museum theatre hotel library prison garden airport tower castle"
    " stadium palace kitchen"
)
PLACES = BUILDINGS + words("country river town street island lake farm valley mountain forest beach desert harbor")
THINGS = words(
    "book radio cup door gun key table computer newspaper letter pen chair bed box window ring phone flag hat picture"
    " map sword bag camera coat coin piano drum bottle lamp mirror desk hammer clock knife blanket basket shoe"
)
GROUPS = words(
    "government team company family court party band club league army council department board bank association union"
    " society committee regiment parliament ministry agency navy crew corporation crowd orchestra tribe gang jury"
)
VEHICLES = words("car ship train bus boat plane truck helicopter taxi wagon motorcycle bicycle tractor")
FRUITS = words("apple orange lemon peach banana melon grape pear cherry berry")
TOOLS = words("saw needle drill hammer spoon rope knife axe shovel scissors")
INSTRUMENTS = words("organ guitar bass piano drums harp flute violin trumpet")

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
        "leagues football races teams players medals tournaments championships matches goals stadiums rugby baseball"
        " hockey basketball cricket wrestling swimming athletes tennis coaches runners boxing boxers golf referees"
        " skiing goalkeepers penalties cyclists"
    ),
    "music": words(
        "albums bands blues songs recordings concerts singers operas orchestras guitars musicians pianos composers"
        " drums jazz choirs ballads dancing lyrics flutes tunes conductors violins harmony ballet rhythm melodies"
        " hymns trumpets symphonies"
    ),
    "politics": words(
        "governments presidents ministers campaigns parliament governors congress mayors liberals politicians"
        " senators elections republicans conservatives constitutions coalitions democrats votes legislation"
        " ambassadors candidates democracy socialism voters ballots diplomats referendums treaties monarchy ministries"
    ),
    "health": words(
        "hospitals doctors drugs blood pain treatments diseases medicine patients cancer injuries wounds nurses pills"
        " disorders surgery illness infections clinics tumors symptoms surgeons fever bacteria vaccines pregnancy"
        " asthma therapy viruses diabetes"
    ),
    "war": words(
        "generals battles guns troops regiments attacks squadrons soldiers bombs battalions brigades combat weapons"
        " tanks fleets swords infantry rifles invasions artillery sieges warships cavalry missiles armies enemies"
        " ammunition navies snipers fortresses"
    ),
    "money": words(
        "banks markets trade economics companies shares prices stocks loans shops investments sales budgets finance"
        " profits debts dollars revenue customers bonds wages merchants banking cash insurance taxes exports investors"
        " factories mortgages"
    ),
}
"""What one can talk about, as plurals and mass nouns, by field."""

PRAISE = words(
    "good great strong fine successful beautiful fresh perfect pleasant excellent lovely wonderful outstanding"
    " brilliant remarkable impressive clever amazing fantastic elegant"
)
CRITICISM = words(
    "dead poor bad broken wrong weak terrible useless empty boring dull awful horrible painful dreadful miserable"
    " stupid ridiculous ugly disappointing"
)
