"""Sets of words of which a passage holds one: which of them was taken out is a question about the whole of the rest.

Each set is words that can stand in much the same place and differ in what they mean: good or bad, in which season, of
what kind, how two clauses hang together.
"""

CONNECTIVES = (
    "because but so although if when while until before after unless whether since though",
    "however therefore also instead then thus still",
    "and or but yet nor",
)
WORDS = (
    "good bad",
    "best worst",
    "better worse",
    "great terrible",
    "love hate",
    "loved hated",
    "beautiful ugly",
    "strong weak",
    "easy difficult hard",
    "rich poor",
    "success failure",
    "successful failed",
    "won lost",
    "friend enemy",
    "happy sad angry afraid surprised proud tired sorry",
    "joy grief anger fear pride shame pity sorrow delight",
    "smiled cried laughed wept sighed shouted trembled",
    "wonderful dreadful strange dull funny simple",
    "praised criticized",
    "excellent poor mixed",
    "popular famous notorious unknown",
    "true false",
    "right wrong",
    "always never often sometimes",
    "all some none many few most",
    "not very",
    "more less",
    "can cannot must may",
    "is was will",
    "he she it they",
    "who what when where why how which",
    "man woman child king",
    "city village river island mountain country",
    "music film book game song play",
    "war peace love death money work",
    "football baseball basketball hockey tennis",
    "church school army party company government",
    "january july october",
    "morning evening night",
    "spring summer autumn winter",
    "first second third last",
    "one two three four ten hundred thousand million",
    "years days hours minutes miles",
    "red blue green white black",
    "french german english american russian japanese chinese italian",
    "buy sell eat drink read write sing play",
    "said asked told thought",
    "think know believe hope wish",
    "large small",
    "old young new",
    "inside outside above below",
    "to from with of by for in on at",
    "increased decreased",
    "agreed refused denied claimed",
    "killed born elected arrested released",
)


def split(sets: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The words of each set."""
    return tuple(tuple(line.split()) for line in sets)
