"""Labelled questions that are argued."""

import random

from actors.data.labelled.draft import NAMES, Draft


def lid(rng: random.Random) -> Draft:
    vessel = rng.choice(("bowl", "pot", "basin"))
    good = (
        "Warm water slowly turns into vapour",
        f"A lid keeps that vapour inside, but from the open {vessel} it gets away",
        f"By the evening the open {vessel} therefore has less water",
    )
    return Draft(
        f"Two equal {vessel}s of water stand in the sun, one under a lid and one open. Which "
        f"{vessel} holds less water in the evening, the covered or the open one?",
        (
            "In the sun water turns to vapour.",
            f"The lid holds the vapour back, and over the open {vessel} it escapes.",
            f"So the open {vessel} holds less water in the evening.",
        ),
        good,
        "open",
        "covered",
        (1, f"A lid lets that vapour out, but in the open {vessel} it stays"),
        (2, f"By the evening the covered {vessel} therefore has less water"),
        1,
        (1, 2),
        "choice",
    )


def salt(rng: random.Random) -> Draft:
    way = rng.choice(("path", "road", "bridge"))
    good = (
        "Salty ice melts even a few degrees below zero",
        f"One {way} was strewn with salt and the other one was not",
        f"Thus the ice goes first from the {way} with salt",
    )
    return Draft(
        f"It is 3 degrees below zero. One {way} is salted, another one is left bare. From which "
        f"{way} does the ice go first, the salted or the bare one?",
        (
            "With salt, ice melts below zero degrees.",
            f"Only one {way} has salt.",
            f"So the ice goes from the salted {way} first.",
        ),
        good,
        "salted",
        "bare",
        (0, "Salty ice melts only far above zero"),
        (2, f"Thus the ice goes first from the {way} without salt"),
        0,
        (0, 2),
        "choice",
    )


def candle(rng: random.Random) -> Draft:
    cover = rng.choice(("glass", "jar", "bell"))
    good = (
        "To burn, a candle needs the oxygen of the air",
        f"Beneath the {cover} the oxygen runs out, while fresh air reaches the other candle",
        f"Hence the one beneath the {cover} dies first",
    )
    return Draft(
        f"Two candles burn, one under a {cover} and one outside. Which one goes out first, the one "
        f"under the {cover} or the one outside?",
        (
            "A burning candle uses up oxygen.",
            f"Under the {cover} no new oxygen comes in, outside it does.",
            f"So the candle under the {cover} goes out first.",
        ),
        good,
        f"the one under the {cover}",
        "the one outside",
        (0, "To burn, a candle needs no oxygen at all"),
        (1, f"Beneath the {cover} fresh air comes in, while the oxygen of the other candle runs "
         "out"),
        1,
        (1, 2),
        "choice",
    )  # fmt: skip


def grandparent(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    kind, wrong = rng.choice((("grandmother", "aunt"), ("grandmother", "sister")))
    good = (
        f"{b} is a child of {a}",
        f"{c} in turn is a child of {b}",
        f"A parent's mother is a grandmother, which is what {a} is to {c}",
    )
    return Draft(
        f"{a} is the mother of {b}. {b} is the father of {c}. Is {a} the {kind} or the {wrong} "
        f"of {c}?",
        (
            f"{a} is the mother of {b}.",
            f"{b} is the father of {c}.",
            f"The mother of one's father is one's grandmother, so {a} is the grandmother of {c}.",
        ),
        good,
        kind,
        wrong,
        (0, f"{a} is a child of {b}"),
        (1, f"{c} in turn is a child of {a}"),
        1,
        (0, 2),
        "choice",
    )


def choir(rng: random.Random) -> Draft:
    name = rng.choice(NAMES)
    group, skill = rng.choice(
        (("choir", "read music"), ("crew", "swim"), ("chess club", "play chess"))
    )
    good = (
        f"Whoever is in the {group} can {skill}",
        f"{name}, however, cannot {skill}",
        f"Hence {name} is not one of the {group}",
    )
    return Draft(
        f"Everybody in the {group} can {skill}. {name} cannot {skill}. Is {name} in the {group}, "
        "yes or no?",
        (
            f"All in the {group} can {skill}.",
            f"{name} cannot {skill}.",
            f"So {name} is not in the {group}.",
        ),
        good,
        "no",
        "yes",
        (0, f"Nobody in the {group} can {skill}"),
        (1, f"{name}, however, can {skill}"),
        1,
        (1, 2),
        "choice",
    )


def arrivals(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    good = (
        f"{b} came earlier than {c}",
        f"{a} was there even before {b}",
        f"In the order {a}, {b}, {c} it is {a} who came first",
    )
    return Draft(
        f"{b} arrived before {c}, but after {a}. Who arrived first?",
        (
            f"{b} arrived before {c}.",
            f"{a} arrived before {b}.",
            f"The order is {a}, {b}, {c}, so {a} arrived first.",
        ),
        good,
        a,
        c,
        (1, f"{a} was there only after {b}"),
        (0, f"{c} came earlier than {b}"),
        1,
        (1, 2),
        "choice",
    )


def sunrise(rng: random.Random) -> Draft:
    name = rng.choice(NAMES)
    hand, answer, wrong = rng.choice((("right", "south", "north"), ("left", "north", "south")))
    good = (
        "In the morning the sun stands in the east",
        f"Looking east, one has {answer} on the {hand}",
        f"After the turn {name} therefore looks {answer}",
    )
    return Draft(
        f"At sunrise {name} looks at the sun and then turns to the {hand}. In which direction "
        f"does {name} look now, north or south?",
        (
            "The sun rises in the east.",
            f"On the {hand} of east lies {answer}.",
            f"So {name} looks {answer} now.",
        ),
        good,
        answer,
        wrong,
        (0, "In the morning the sun stands in the west"),
        (1, f"Looking east, one has {wrong} on the {hand}"),
        1,
        (0, 1),
        "choice",
    )


def letters_left(rng: random.Random) -> Draft:
    word = rng.choice(("planet", "garden", "window", "kitchen", "blanket", "orchard"))
    count = len(word)
    good = (
        f"There are {count} letters in {word}",
        f"Without its two ends it has {count} - 2 = {count - 2}",
    )
    return Draft(
        f"The first and the last letter of the word {word} are struck out. How many letters are "
        "left?",
        (f"The word {word} has {count} letters.", f"{count} - 2 = {count - 2}"),
        good,
        str(count - 2),
        str(count - 1),
        (1, f"Without its two ends it has {count} - 2 = {count - 1}"),
        (0, f"There are {count + 3} letters in {word}"),
        0,
        (0, 1),
        "number",
    )
