"""Labelled questions that nobody looked at while the rules were made: the split "test"."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def other_side(rng: random.Random) -> Draft:
    one, other = rng.randint(6, 30), rng.randint(6, 30)
    around = 2 * (one + other)
    good = (
        f"A long and a short side together are half of it, {around} / 2 = {one + other} cm",
        f"For the side that is asked for {one + other} - {one} = {other} cm remain",
    )
    return Draft(
        f"The perimeter of a rectangle is {around} cm, and one of its sides is {one} cm long. How "
        "many cm long is the side next to it?",
        (f"{around} / 2 = {one + other}", f"{one + other} - {one} = {other}"),
        good,
        f"{other} cm",
        f"{around - one} cm",
        (1, f"For the side that is asked for {one + other} - {one} = {off(rng, other)} cm remain"),
        (0, f"A long and a short side together are half of it, {around + 4} / 2 = "
         f"{one + other + 2} cm"),
        0,
        (0, 1),
        "quantity",
    )  # fmt: skip


def tax(rng: random.Random) -> Draft:
    price, rate = 20 * rng.randint(2, 20), rng.choice((5, 10, 15, 20))
    added, thing = price * rate // 100, rng.choice(("lamp", "chair", "carpet"))
    good = (
        f"The tax on the {thing} is {price} x {rate} / 100 = {added} euros",
        f"One pays {price} + {added} = {price + added} euros",
    )
    return Draft(
        f"Before tax a {thing} costs {price} euros. The tax is {rate} percent of that. How many "
        f"euros does the {thing} cost with tax?",
        (f"{price} x {rate} / 100 = {added}", f"{price} + {added} = {price + added}"),
        good,
        str(price + added),
        str(price + rate) if rate != added else str(price - rate),
        (0, f"The tax on the {thing} is {price} x {rate} / 100 = {off(rng, added)} euros"),
        (1, f"One pays {price + 40} + {added} = {price + added + 40} euros"),
        0,
        (0, 1),
    )


def legs(rng: random.Random) -> Draft:
    rabbits, hens = rng.randint(2, 12), rng.randint(2, 12)
    heads, feet = rabbits + hens, 4 * rabbits + 2 * hens
    good = (
        f"If all {heads} were hens there would be {heads} x 2 = {2 * heads} legs",
        f"There are {feet} - {2 * heads} = {2 * rabbits} more than that",
        f"Each rabbit brings 2 more, so {2 * rabbits} / 2 = {rabbits} are rabbits",
    )
    return Draft(
        f"In a yard are {heads} animals, hens with 2 legs and rabbits with 4 legs. Together they "
        f"have {feet} legs. How many rabbits are there?",
        (f"{heads} x 2 = {2 * heads}", f"{feet} - {2 * heads} = {2 * rabbits}",
         f"{2 * rabbits} / 2 = {rabbits}"),
        good,
        str(rabbits),
        str(hens if hens != rabbits else rabbits + 1),
        (0, f"If all {heads} were hens there would be {heads} x 2 = {far_off(rng, 2 * heads)} "
         "legs"),
        (1, f"There are {feet + 6} - {2 * heads} = {2 * rabbits} more than that"),
        1,
        (0, 1),
    )  # fmt: skip


def cube(rng: random.Random) -> Draft:
    edge = rng.randint(3, 15)
    face, thing = edge * edge, rng.choice(("cube", "dice", "box with equal edges"))
    good = (
        f"A single face has {edge} x {edge} = {face} square cm",
        f"The {thing} has six of them, 6 x {face} = {6 * face} square cm",
    )
    return Draft(
        f"The edges of a {thing} are {edge} cm long. How many square cm are its 6 faces together?",
        (f"{edge} x {edge} = {face}", f"{face} x 6 = {6 * face}"),
        good,
        str(6 * face),
        str(4 * face),
        (1, f"The {thing} has six of them, 6 x {face} = {off(rng, 6 * face)} square cm"),
        (0, f"A single face has {edge + 2} x {edge + 2} = {(edge + 2) * (edge + 2)} square cm"),
        0,
        (0, 1),
    )


def crane(rng: random.Random) -> Draft:
    mass, height = 10 * rng.randint(2, 40), rng.randint(3, 12)
    force = 10 * mass
    good = (
        f"The load pulls down with {mass} x 10 = {force} newtons",
        f"Up {height} metres that takes {force} x {height} = {force * height} joules",
    )
    return Draft(
        f"A crane lifts {mass} kg by {height} metres. Each kg weighs 10 newtons. How many joules "
        "of work is that?",
        (f"{mass} x 10 = {force}", f"{force} x {height} = {force * height}"),
        good,
        str(force * height),
        str(force),
        (1, f"Up {height} metres that takes {force} x {height} = {far_off(rng, force * height)} "
         "joules"),
        (0, f"The load pulls down with {mass + 30} x 10 = {force + 300} newtons"),
        0,
        (0, 1),
    )  # fmt: skip


def sugar(rng: random.Random) -> Draft:
    parts, per = rng.randint(2, 9), rng.randint(3, 12)
    drink = rng.choice(("juice", "lemonade", "iced tea"))
    good = (
        f"The bottle holds {100 * parts} / 100 = {parts} times as much",
        f"In it are {parts} x {per} = {parts * per} g of sugar",
    )
    return Draft(
        f"In 100 ml of {drink} are {per} g of sugar. How many g of sugar are in a bottle of "
        f"{100 * parts} ml?",
        (f"{100 * parts} / 100 = {parts}", f"{parts} x {per} = {parts * per}"),
        good,
        f"{parts * per} g",
        f"{parts + per} g",
        (1, f"In it are {parts} x {per} = {off(rng, parts * per)} g of sugar"),
        (1, f"In it are {parts} x {per + 3} = {parts * (per + 3)} g of sugar"),
        0,
        (0, 1),
        "quantity",
    )


def parking(rng: random.Random) -> Draft:
    hours, first, more = rng.randint(3, 9), rng.randint(3, 6), rng.randint(1, 2)
    rest = (hours - 1) * more
    name = rng.choice(NAMES)
    good = (
        f"Behind the first hour come {hours} - 1 = {hours - 1} others",
        f"These cost {hours - 1} x {more} = {rest} euros",
        f"{name} pays {first} + {rest} = {first + rest} euros",
    )
    return Draft(
        f"Parking costs {first} euros for the first hour and {more} euros for every hour after it. "
        f"{name} parks for {hours} hours. How many euros does {name} pay?",
        (f"{hours} - 1 = {hours - 1}", f"{hours - 1} x {more} = {rest}",
         f"{rest} + {first} = {first + rest}"),
        good,
        f"{first + rest} euros",
        f"{first * hours} euros",
        (1, f"These cost {hours - 1} x {more} = {off(rng, rest)} euros"),
        (2, f"{name} pays {first + 5} + {rest} = {first + rest + 5} euros"),
        1,
        (1, 2),
        "quantity",
    )  # fmt: skip


def late_book(rng: random.Random) -> Draft:
    days, fine = rng.randint(3, 9), 10 * rng.randint(1, 3)
    owed = days * fine
    good = (
        f"Being {days} days late costs {days} x {fine} = {owed} cents",
        f"Out of 300 cents 300 - {owed} = {300 - owed} come back",
    )
    return Draft(
        f"For each day that a book comes late the library takes {fine} cents. A book comes {days} "
        "days late, and its reader pays with 300 cents. How many cents come back?",
        (f"{days} x {fine} = {owed}", f"300 - {owed} = {300 - owed}"),
        good,
        str(300 - owed),
        str(300 - fine),
        (0, f"Being {days} days late costs {days} x {fine} = {far_off(rng, owed)} cents"),
        (0, f"Being {days + 2} days late costs {days + 2} x {fine} = {owed} cents"),
        0,
        (0, 1),
    )


def knockout(rng: random.Random) -> Draft:
    players = rng.choice((8, 16, 32, 24, 12))
    game = rng.choice(("tennis", "chess", "judo"))
    good = (
        "Each match sends one player home, until a single one is left",
        f"So there are {players} - 1 = {players - 1} matches",
    )
    return Draft(
        f"In a {game} tournament with {players} players whoever loses a match is out. How many "
        "matches does it take until one winner is left?",
        ("Every match puts one player out, and one is left in the end.",
         f"{players} - 1 = {players - 1}"),
        good,
        str(players - 1),
        str(players // 2),
        (1, f"So there are {players} - 1 = {players - 3} matches"),
        (1, f"So there are {players + 4} - 1 = {players + 3} matches"),
        0,
        (0, 1),
    )  # fmt: skip
