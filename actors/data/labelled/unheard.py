"""Labelled questions in prose that nobody looked at while the rules were made: "test", too."""

import random

from actors.data.labelled.draft import Draft


def airless(rng: random.Random) -> Draft:
    heavy, light = rng.choice((("hammer", "feather"), ("stone", "leaf"), ("coin", "petal")))
    good = (
        f"It is the air that holds a {light} back when it falls",
        "The Moon has no air",
        f"With nothing to hold it back, the {light} lands together with the {heavy}",
    )
    return Draft(
        f"On the Moon, where there is no air, a {heavy} and a {light} are dropped at once. Do they "
        "land together, yes or no?",
        (
            f"Only air slows a falling {light}.",
            "On the Moon there is no air.",
            f"So nothing slows the {light}, and both land together.",
        ),
        good,
        "yes",
        "no",
        (1, "The Moon has plenty of air"),
        (0, f"It is the air that holds a {heavy} back when it falls"),
        0,
        (0, 2),
        "choice",
    )


def shirts(rng: random.Random) -> Draft:
    thing = rng.choice(("shirt", "hat", "coat"))
    good = (
        f"A black {thing} swallows most of the sunlight, a white one reflects it",
        "Swallowed light turns into warmth",
        f"That is why the black {thing} gets warmer",
    )
    return Draft(
        f"Which {thing} gets warmer in the sun, a black or a white one?",
        (
            f"A black {thing} takes the sunlight in, a white one throws it back.",
            "The light that is taken in turns into warmth.",
            f"So the black {thing} gets warmer.",
        ),
        good,
        "black",
        "white",
        (1, "Swallowed light turns into cold"),
        (0, f"A white {thing} swallows most of the sunlight, a black one reflects it"),
        0,
        (0, 1),
        "choice",
    )


def yesterday(rng: random.Random) -> Draft:
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    first = rng.randrange(7)
    start, later, today, wrong = (days[(first + n) % 7] for n in (0, 2, 3, 4))
    good = (
        f"{later} comes two days after {start}, and that was yesterday",
        f"The day behind {later} is {today}",
        f"Today is therefore {today}",
    )
    return Draft(
        f"Yesterday was two days after {start}. Which day is today?",
        (
            f"Two days after {start} is {later}, so yesterday was {later}.",
            f"The day after {later} is {today}.",
            f"So today is {today}.",
        ),
        good,
        today,
        wrong,
        (1, f"The day behind {later} is {wrong}"),
        (0, f"{wrong} comes two days after {start}, and that was yesterday"),
        1,
        (1, 2),
        "choice",
    )


def cheapest(rng: random.Random) -> Draft:
    a, b, c = rng.sample(("pen", "brush", "ruler", "stapler", "notebook"), 3)
    good = (
        f"The {a} is cheaper than the {b}",
        f"The {b} in turn is cheaper than the {c}",
        f"Nothing costs less than the {a} then",
    )
    return Draft(
        f"A {b} costs more than a {a} and less than a {c}. Which of them is the cheapest?",
        (
            f"The {a} costs less than the {b}.",
            f"The {b} costs less than the {c}.",
            f"So the {a} is the cheapest.",
        ),
        good,
        a,
        c,
        (0, f"The {b} is cheaper than the {a}"),
        (1, f"The {c} in turn is cheaper than the {a}"),
        1,
        (0, 2),
        "choice",
    )


def socks(rng: random.Random) -> Draft:
    count = rng.randint(3, 8)
    thing = rng.choice(("socks", "gloves", "buttons"))
    good = (
        f"The first {count} {thing} may each have another colour",
        f"One more must match, {count} + 1 = {count + 1}",
    )
    return Draft(
        f"In a dark drawer lie {thing} of {count} colours, many of each. How many must be taken "
        "out to be sure of two of the same colour?",
        (f"With {count} {thing} all colours may differ.", f"{count} + 1 = {count + 1}"),
        good,
        str(count + 1),
        str(2 * count),
        (1, f"One more must match, {count} + 1 = {count + 3}"),
        (0, f"The first {count + 4} {thing} may each have another colour"),
        0,
        (0, 1),
    )


def on_the_map(rng: random.Random) -> Draft:
    a, b = rng.sample(("mill", "church", "well", "school", "bridge"), 2)
    hand, answer, wrong, other = rng.choice(
        (("right", "east", "west", "left"), ("left", "west", "east", "right"))
    )
    good = (
        f"Where north is up, {hand} means {answer}",
        f"From the {b} one goes {hand} to get to the {a}",
        f"The {a} is {answer} of the {b}, then",
    )
    return Draft(
        f"On a map with north at its top the {a} is drawn to the {hand} of the {b}. Is the {a} "
        f"east or west of the {b}?",
        (
            f"With north at the top, the {hand} of a map is {answer}.",
            f"The {a} is to the {hand} of the {b}.",
            f"So the {a} is {answer} of the {b}.",
        ),
        good,
        answer,
        wrong,
        (0, f"Where north is up, {hand} means {wrong}"),
        (1, f"From the {b} one goes {other} to get to the {a}"),
        1,
        (1, 2),
        "choice",
    )


def wet_street(rng: random.Random) -> Draft:
    cleaning, today = rng.sample(("Monday", "Tuesday", "Thursday", "Friday"), 2)
    good = (
        "Rain or the sweeper made the street wet",
        f"On a {today} there is no sweeper",
        "What is left is the rain",
    )
    return Draft(
        f"The street is wet, either from rain or from the sweeper, who comes on {cleaning}s only. "
        f"Today is {today}. Was it the rain or the sweeper?",
        (
            "The street is wet from rain or from the sweeper.",
            f"The sweeper comes on {cleaning}s, and today is {today}, so there was no sweeper.",
            "So it was the rain.",
        ),
        good,
        "rain",
        "sweeper",
        (1, f"On a {today} there is a sweeper"),
        (1, f"On a {cleaning} there is no sweeper"),
        1,
        (1, 2),
        "choice",
    )
