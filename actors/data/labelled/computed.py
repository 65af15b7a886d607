"""Labelled questions that are computed."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def coins(rng: random.Random) -> Draft:
    small, large = rng.randint(3, 9), rng.randint(2, 7)
    a, b = 5 * small, 20 * large
    name = rng.choice(NAMES)
    good = (
        f"The {small} small coins make {small} * 5 = {a} cents",
        f"The {large} large ones make {large} * 20 = {b} cents",
        f"All of them are worth {a} + {b} = {a + b} cents",
    )
    return Draft(
        f"{name} has {small} coins of 5 cents and {large} coins of 20 cents. "
        "How many cents is that?",
        (f"{small} x 5 = {a}", f"{large} x 20 = {b}", f"{a} + {b} = {a + b}"),
        good,
        str(a + b),
        str(b),
        (1, f"The {large} large ones make {large} * 20 = {off(rng, b)} cents"),
        (0, f"The {small + 1} small coins make {small + 1} * 5 = {a + 5} cents"),
        1,
        (0, 2),
    )


def ratio(rng: random.Random) -> Draft:
    a, b = rng.choice(((2, 3), (1, 4), (3, 5), (2, 7), (3, 4)))
    part = rng.randint(6, 15)
    first, second = rng.sample(NAMES, 2)
    whole, share = part * (a + b), part * b
    good = (
        f"Together they have {a} + {b} = {a + b} parts",
        f"One part is {whole} / {a + b} = {part} euros",
        f"{second} has {b} parts, so {b} x {part} = {share} euros",
    )
    return Draft(
        f"{first} and {second} share {whole} euros in the ratio {a} to {b}. "
        f"How many euros does {second} get?",
        (f"{a} + {b} = {a + b}", f"{whole} / {a + b} = {part}", f"{part} x {b} = {share}"),
        good,
        f"{share} euros",
        f"{part * a} euros",
        (1, f"One part is {whole} / {a + b} = {off(rng, part)} euros"),
        (2, f"{second} has {b + 1} parts, so {b + 1} x {part} = {share} euros"),
        1,
        (1, 2),
        "number",
    )


def growth(rng: random.Random) -> Draft:
    people, percent = 100 * rng.randint(4, 30), rng.choice((5, 10, 15, 20, 25))
    more = people * percent // 100
    good = (
        f"{percent} percent of {people} is {people} x {percent} / 100 = {more}",
        f"Adding them gives {people} + {more} = {people + more} inhabitants",
    )
    return Draft(
        f"A village of {people} inhabitants grows by {percent} percent. How many live there then?",
        (f"{people} / 100 x {percent} = {more}", f"{people} + {more} = {people + more}"),
        good,
        str(people + more),
        str(more),
        (1, f"Adding them gives {people} + {more} = {far_off(rng, people + more)} inhabitants"),
        (0, f"{percent} percent of {people + 50} is {people + 50} x {percent} / 100 = {more}"),
        0,
        (0, 1),
    )


def path(rng: random.Random) -> Draft:
    long, wide = rng.randint(12, 30), rng.randint(6, 11)
    bed = rng.randint(2, 5)
    whole, inner = long * wide, bed * bed
    good = (
        f"The whole garden covers {long} x {wide} = {whole} square metres",
        f"The pond takes {bed} x {bed} = {inner} of them",
        f"What is left for grass is {whole} - {inner} = {whole - inner}",
    )
    return Draft(
        f"A garden is {long} m long and {wide} m wide. In it lies a square pond with sides of "
        f"{bed} m; the rest is grass. How many square metres of grass are there?",
        (f"{long} x {wide} = {whole}", f"{bed} x {bed} = {inner}", f"{whole} - {inner} = "
         f"{whole - inner}"),
        good,
        str(whole - inner),
        str(whole + inner),
        (0, f"The whole garden covers {long} x {wide} = {far_off(rng, whole)} square metres"),
        (1, f"The pond takes {bed + 1} x {bed + 1} = {inner} of them"),
        1,
        (1, 2),
    )  # fmt: skip


def density(rng: random.Random) -> Draft:
    volume, per = rng.randint(3, 20), rng.randint(2, 11)
    mass = volume * per
    stuff = rng.choice(("stone", "metal block", "marble"))
    good = (
        f"The water rose by {volume + 40} - 40 = {volume} ml, the volume of the {stuff}",
        f"Its density is {mass} / {volume} = {per} g per ml",
    )
    return Draft(
        f"A {stuff} of {mass} g is put into 40 ml of water, which then stands at {volume + 40} ml. "
        f"How many grams per ml is the density of the {stuff}?",
        (f"{volume + 40} - 40 = {volume}", f"{mass} / {volume} = {per}"),
        good,
        str(per),
        str(mass),
        (0, f"The water rose by {volume + 40} - 40 = {off(rng, volume)} ml, the volume of the "
         f"{stuff}"),
        (1, f"Its density is {mass + 2} / {volume} = {per} g per ml"),
        0,
        (0, 1),
    )  # fmt: skip


def pressure(rng: random.Random) -> Draft:
    mass, area = 2 * rng.randint(5, 40), rng.choice((2, 4, 5))
    force = 10 * mass
    good = (
        f"A crate of {mass} kg weighs {mass} x 10 = {force} newtons",
        f"Spread over {area} square metres that is {force} / {area} = {force // area} pascals",
    )
    return Draft(
        f"A crate of {mass} kg stands on {area} square metres of floor. With 10 newtons for each "
        "kg, what is the pressure on the floor in pascals?",
        (f"{mass} x 10 = {force}", f"{force} / {area} = {force // area}"),
        good,
        f"{force // area}",
        f"{force}",
        (0, f"A crate of {mass} kg weighs {mass} x 10 = {far_off(rng, force)} newtons"),
        (1, f"Spread over {area + 1} square metres that is {force} / {area + 1} = {force // area} "
         "pascals"),
        0,
        (0, 1),
    )  # fmt: skip


def shopping(rng: random.Random) -> Draft:
    breads, jams = rng.randint(2, 5), rng.randint(2, 5)
    bread, jam, ticket = rng.randint(2, 4), rng.randint(5, 8), rng.randint(1, 4)
    a, b = breads * bread, jams * jam
    name = rng.choice(NAMES)
    good = (
        f"For the loaves {name} pays {breads} x {bread} = {a} euros",
        f"The jars of jam cost {jams} x {jam} = {b} euros",
        f"With the bus ticket it is {a} + {b} + {ticket} = {a + b + ticket} euros",
    )
    return Draft(
        f"{name} takes the bus for {ticket} euros and buys {breads} loaves of bread at {bread} "
        f"euros each and {jams} jars of jam at {jam} euros each. How much does {name} spend?",
        (f"{breads} x {bread} = {a}", f"{jams} x {jam} = {b}", f"{a} + {b} = {a + b}",
         f"{a + b} + {ticket} = {a + b + ticket}"),
        good,
        f"{a + b + ticket} euros",
        f"{a + b} euros",
        (1, f"The jars of jam cost {jams} x {jam} = {off(rng, b)} euros"),
        (0, f"For the loaves {name} pays {breads} x {bread + 2} = {a} euros"),
        1,
        (1, 2),
        "quantity",
    )  # fmt: skip


def paint(rng: random.Random) -> Draft:
    walls, area, per = rng.randint(2, 5), 10 * rng.randint(2, 6), rng.choice((5, 10))
    total = walls * area
    good = (
        f"All {walls} walls have {walls} x {area} = {total} square metres",
        f"A tin is good for {per} of them, so {total} / {per} = {total // per} tins are needed",
    )
    return Draft(
        f"A tin of paint covers {per} square metres. How many tins do {walls} walls of {area} "
        "square metres each take?",
        (f"{walls} x {area} = {total}", f"{total} / {per} = {total // per}"),
        good,
        f"{total // per} tins",
        f"{total} tins",
        (1, f"A tin is good for {per} of them, so {total} / {per} = {off(rng, total // per)} tins "
         "are needed"),
        (0, f"All {walls + 1} walls have {walls + 1} x {area} = {total} square metres"),
        0,
        (0, 1),
        "number",
    )  # fmt: skip
