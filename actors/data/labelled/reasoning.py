"""Labelled questions of reasoning: orders, syllogisms, turns, days, elimination."""

import random

from actors.data.labelled.draft import NAMES, Draft

WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COMPASS = ("north", "east", "south", "west")


def ages(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    good = (
        f"{a} is older than {b}",
        f"Because {c} is younger than {b}, {b} is older than {c}",
        f"From the oldest to the youngest they are {a}, {b}, {c}",
        f"The youngest is {c}",
    )
    return Draft(
        f"{a} was born before {b}. {c} is younger than {b}. Who is the youngest?",
        (
            f"{a} was born first, so {a} is older than {b}.",
            f"{b} is older than {c}.",
            f"Sorted by age: {a}, {b}, {c}.",
            f"So the youngest is {c}.",
        ),
        good,
        c,
        a,
        (0, f"{b} is older than {a}"),
        (2, f"From the oldest to the youngest they are {b}, {a}, {c}"),
        2,
        (2, 3),
        "choice",
    )


def syllogism(rng: random.Random) -> Draft:
    inner, outer, apart = rng.choice(
        (
            ("roses", "plants", "stones"),
            ("trouts", "fish", "mammals"),
            ("cellos", "tools", "fruits"),
        )
    )
    name = rng.choice(("Bim", "Kolo", "Tavi", "Zuri"))
    good = (
        f"{name} belongs to the {inner}, and all {inner} are {outer}",
        f"Hence {name} belongs to the {outer}",
        f"As no {outer} are {apart}, {name} cannot belong to the {apart}",
    )
    return Draft(
        f"All {inner} are {outer}. No {outer} are {apart}. {name} is one of the {inner}. "
        f"Is {name} one of the {apart}?",
        (
            f"{name} is one of the {inner}, which are all {outer}.",
            f"So {name} is one of the {outer}.",
            f"No {outer} are {apart}, so {name} is not one of the {apart}.",
        ),
        good,
        "no",
        "yes",
        (2, f"As all {outer} are {apart}, {name} must belong to the {apart}"),
        (1, f"Hence {name} belongs to the {apart}"),
        1,
        (1, 2),
        "choice",
    )


def film(rng: random.Random) -> Draft:
    start, length, walk = rng.randint(5, 25), rng.randint(80, 120), rng.randint(10, 25)
    ends, home = start + length, start + length + walk
    good = (
        f"The film ends {start} + {length} = {ends} minutes after eight",
        f"With the walk it is {ends} + {walk} = {home} minutes after eight",
    )
    return Draft(
        f"A film starts {start} minutes after eight and lasts {length} minutes. The walk home "
        f"takes {walk} minutes. How many minutes after eight is one at home?",
        (f"{start} + {length} = {ends}", f"{ends} + {walk} = {home}"),
        good,
        str(home),
        str(ends),
        (1, f"With the walk it is {ends} + {walk} = {home + 5} minutes after eight"),
        (0, f"The film ends {start + 4} + {length} = {ends} minutes after eight"),
        0,
        (0, 1),
    )


def turns(rng: random.Random) -> Draft:
    name, start = rng.choice(NAMES), rng.randrange(4)
    moves = rng.choice(
        (("right", "right", "left"), ("left", "left", "left"), ("right", "left", "left"))
    )
    places = [start]
    for move in moves:
        places.append((places[-1] + (1 if move == "right" else -1)) % 4)
    words = [COMPASS[place] for place in places]
    good = tuple(
        f"A {move} turn from {before} leads to {after}"
        for move, before, after in zip(moves, words, words[1:], strict=False)
    )
    opposite = COMPASS[(places[2] + 2) % 4]
    return Draft(
        f"{name} faces {words[0]} and turns {moves[0]}, then {moves[1]}, then {moves[2]}. "
        "In which direction does the turning end?",
        tuple(
            f"Facing {before} and turning {move} means facing {after}."
            for move, before, after in zip(moves, words, words[1:], strict=False)
        ),
        good,
        words[3],
        COMPASS[(places[3] + 2) % 4],
        (1, f"A {moves[1]} turn from {words[1]} leads to {opposite}"),
        (0, f"A {moves[0]} turn from {COMPASS[(start + 2) % 4]} leads to {words[1]}"),
        1,
        (1, 2),
        "choice",
    )


def weekday(rng: random.Random) -> Draft:
    weeks, rest, today = rng.randint(2, 8), rng.randint(1, 6), rng.randrange(7)
    days, later = 7 * weeks + rest, WEEK[(today + rest) % 7]
    good = (
        f"{weeks} full weeks are {weeks} x 7 = {7 * weeks} days",
        f"{days} - {7 * weeks} = {rest} days are left over",
        f"{rest} days after {WEEK[today]} comes {later}",
    )
    return Draft(
        f"Today is {WEEK[today]}. Which day is it in {days} days?",
        (
            f"{weeks} x 7 = {7 * weeks}",
            f"{days} - {7 * weeks} = {rest}",
            f"{rest} days after {WEEK[today]} it is {later}",
        ),
        good,
        later,
        WEEK[(today + rest + 1) % 7],
        (1, f"{days} - {7 * weeks} = {rest + 1} days are left over"),
        (1, f"{days + 2} - {7 * weeks} = {rest} days are left over"),
        0,
        (0, 1),
        "choice",
    )


def boxes(rng: random.Random) -> Draft:
    one, two, three = rng.sample(("red", "blue", "green", "yellow"), 3)
    good = (
        f"It is not in the {one} box, so it is in the {two} or the {three} box",
        f"The {two} box is empty, which leaves only the {three} box",
    )
    return Draft(
        f"A coin lies in one of three boxes: {one}, {two} or {three}. The {one} box does not hold "
        f"it. The {two} box is empty. Which box holds the coin?",
        (
            f"The coin is not in the {one} box, so only {two} and {three} are possible.",
            f"The {two} box is empty, so the coin must be in the {three} box.",
        ),
        good,
        three,
        two,
        (1, f"The {two} box is full, which leaves only the {three} box"),
        (0, f"It is not in the {three} box, so it is in the {two} or the {one} box"),
        1,
        (0, 1),
        "choice",
    )
