"""Labelled general questions: a recipe, a budget, words, places, a small story."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off


def recipe(rng: random.Random) -> Draft:
    people, each, guests = rng.randint(2, 6), 10 * rng.randint(4, 15), rng.randint(7, 12)
    flour, total = people * each, each * guests
    good = (
        f"For one person one needs {flour} / {people} = {each} g of flour",
        f"For {guests} guests that is {guests} x {each} = {total} g",
    )
    return Draft(
        f"A recipe for {people} people takes {flour} g of flour. "
        f"How many g of flour do {guests} people need?",
        (f"{flour} / {people} = {each}", f"{each} x {guests} = {total}"),
        good,
        f"{total} g",
        f"{flour + guests} g",
        (0, f"For one person one needs {flour} / {people} = {far_off(rng, each)} g of flour"),
        (1, f"For {guests + 3} guests that is {guests + 3} x {each} = {total} g"),
        0,
        (0, 1),
        "number",
    )


def alphabet(rng: random.Random) -> Draft:
    first, second, third = sorted(
        rng.sample(("anchor", "bottle", "candle", "dragon", "feather", "garden", "ladder"), 3)
    )
    shown = [first, second, third]
    rng.shuffle(shown)
    good = (
        f"The first letters are {first[0]}, {second[0]} and {third[0]}",
        f"In the alphabet {first[0]} stands before {second[0]}, and {second[0]} before {third[0]}",
        f"Therefore {first} is the earliest word",
    )
    return Draft(
        f"Which word comes first in a dictionary: {', '.join(shown)}?",
        (
            f"Their first letters are {first[0]}, {second[0]} and {third[0]}.",
            f"{first[0]} comes before {second[0]}, and {second[0]} before {third[0]}.",
            f"So {first} comes first.",
        ),
        good,
        first,
        third,
        (
            1,
            f"In the alphabet {third[0]} stands before {second[0]}, and {second[0]} before "
            f"{first[0]}",
        ),
        (2, f"Therefore {second} is the earliest word"),
        1,
        (1, 2),
        "choice",
    )


def flight(rng: random.Random) -> Draft:
    country, capital, continent = rng.choice(
        (
            ("Kenya", "Nairobi", "Africa"),
            ("Peru", "Lima", "South America"),
            ("Nepal", "Kathmandu", "Asia"),
            ("Norway", "Oslo", "Europe"),
        )
    )
    name, other = rng.choice(NAMES), rng.choice(("Cairo", "Madrid", "Bogota", "Hanoi"))
    elsewhere = "Europe" if continent != "Europe" else "Asia"
    good = (
        f"{country} has the capital {capital}, so {name} lands in {capital}",
        f"{capital} lies in {continent}",
    )
    return Draft(
        f"{name} flies to the capital of {country}. On which continent does the plane land?",
        (
            f"The capital of {country} is {capital}.",
            f"{capital} is a city in {continent}.",
        ),
        good,
        continent,
        elsewhere,
        (1, f"{capital} lies in {elsewhere}"),
        (0, f"{country} has the capital {other}, so {name} lands in {other}"),
        0,
        (0, 1),
        "choice",
    )


def savings(rng: random.Random) -> Draft:
    rent, food = rng.randint(30, 60) * 10, rng.randint(15, 40) * 10
    weekly = 10 * rng.randint(3, 20)
    spent, left = rent + food, 4 * weekly
    income = spent + left
    good = (
        f"Rent and food come to {rent} + {food} = {spent} dollars",
        f"That leaves {income} - {spent} = {left} dollars a month",
        f"Spread over the 4 weeks it is {left} / 4 = {weekly} dollars a week",
    )
    return Draft(
        f"Of {income} dollars a month, {rent} go into rent and {food} into food. How many dollars "
        "are left for each of the 4 weeks?",
        (f"{rent} + {food} = {spent}", f"{income} - {spent} = {left}", f"{left} / 4 = {weekly}"),
        good,
        str(weekly),
        str(left),
        (1, f"That leaves {income} - {spent} = {far_off(rng, left)} dollars a month"),
        (0, f"Rent and food come to {rent + 50} + {food} = {spent} dollars"),
        1,
        (1, 2),
    )


def odd_one_out(rng: random.Random) -> Draft:
    kind, members, odd, what = rng.choice(
        (
            ("fruits", ("apple", "pear", "plum"), "hammer", "tool"),
            ("birds", ("robin", "eagle", "owl"), "salmon", "fish"),
            ("colours", ("red", "blue", "green"), "table", "piece of furniture"),
            ("instruments", ("flute", "violin", "drum"), "potato", "vegetable"),
        )
    )
    shown = [*members, odd]
    rng.shuffle(shown)
    a, b, c = members
    good = (
        f"{a}, {b} and {c} are all {kind}",
        f"A {odd} is a {what} and not one of the {kind}",
        f"So {odd} is the one that does not belong",
    )
    return Draft(
        f"Which word does not belong with the others: {', '.join(shown)}?",
        (
            f"{a}, {b} and {c} are {kind}.",
            f"{odd} is a {what}, not one of the {kind}.",
            f"Therefore {odd} does not belong.",
        ),
        good,
        odd,
        a,
        (0, f"{a}, {b} and {odd} are all {kind}"),
        (2, f"So {b} is the one that does not belong"),
        0,
        (1, 2),
        "choice",
    )


def errand(rng: random.Random) -> Draft:
    name, errand_ = rng.choice(NAMES), rng.choice(("posted a letter", "bought bread"))
    first, last = rng.choice((("lunch", "the dentist"), ("school", "the concert")))
    hour = rng.choice(("three", "four", "five"))
    good = (
        f"{name} {errand_} before {last}",
        f"{last[0].upper()}{last[1:]} began at {hour}",
        f"What happens before {last} happens before {hour}",
    )
    return Draft(
        f"{name} {errand_} after {first} and before {last}, which began at {hour}. "
        f"Was it done before {hour}?",
        (
            f"It was done before {last}.",
            f"{last} began at {hour}.",
            f"So it was done before {hour}.",
        ),
        good,
        "yes",
        "no",
        (2, f"What happens before {last} happens after {hour}"),
        (1, f"{first[0].upper()}{first[1:]} began at {hour}"),
        1,
        (1, 2),
        "choice",
    )
