"""Labelled questions that the rules are measured on: written before their last change, and not read
when it was made."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def tiles(rng: random.Random) -> Draft:
    long, wide, side = rng.randint(4, 9), rng.randint(2, 4), rng.choice((2, 5))
    area, per = long * wide, side * side
    good = (
        f"The floor measures {long} x {wide} = {area} square metres",
        f"Each square metre takes {side} x {side} = {per} tiles",
        f"That makes {area} x {per} = {area * per} tiles",
    )
    return Draft(
        f"A floor is {long} m long and {wide} m wide. Along each metre fit {side} square tiles. "
        "How many tiles cover the floor?",
        (f"{long} x {wide} = {area}", f"{side} x {side} = {per}", f"{area} x {per} = {area * per}"),
        good,
        str(area * per),
        str(area * side),
        (2, f"That makes {area} x {per} = {far_off(rng, area * per)} tiles"),
        (0, f"The floor measures {long + 1} x {wide} = {area} square metres"),
        1,
        (1, 2),
    )


def remainder(rng: random.Random) -> Draft:
    seats, buses, rest = rng.randint(20, 40), rng.randint(3, 6), rng.randint(1, 15)
    people = seats * buses + rest
    full = seats * buses
    good = (
        f"{buses} full buses carry {buses} x {seats} = {full} people",
        f"So {people} - {full} = {rest} people have to walk",
    )
    return Draft(
        f"{people} people want to ride in {buses} buses with {seats} seats each. "
        "How many people find no seat?",
        (f"{seats} x {buses} = {full}", f"{people} - {full} = {rest}"),
        good,
        f"{rest} people",
        f"{rest + 10} people",
        (0, f"{buses} full buses carry {buses} x {seats} = {off(rng, full)} people"),
        (1, f"So {people + 5} - {full} = {rest} people have to walk"),
        0,
        (0, 1),
        "number",
    )


def twice(rng: random.Random) -> Draft:
    a, b = rng.sample(NAMES, 2)
    small, times = rng.randint(6, 20), rng.randint(2, 5)
    large = small * times
    good = (
        f"{b} picks {times} x {small} = {large} apples",
        f"Both of them together pick {small} + {large} = {small + large}",
    )
    return Draft(
        f"{a} picks {small} apples, {b} picks {times} times as many. How many do they pick "
        "together?",
        (f"{small} x {times} = {large}", f"{small} + {large} = {small + large}"),
        good,
        str(small + large),
        str(large),
        (1, f"Both of them together pick {small} + {large} = {off(rng, small + large)}"),
        (0, f"{b} picks {times + 1} x {small} = {large} apples"),
        0,
        (0, 1),
    )


def heating(rng: random.Random) -> Draft:
    start, per, minutes = rng.randint(12, 22), rng.randint(2, 6), rng.randint(4, 11)
    more, end = per * minutes, start + per * minutes
    good = (
        f"The oil gets {minutes} x {per} = {more} degrees warmer",
        f"It began at {start}, so it ends at {start} + {more} = {end} degrees",
    )
    return Draft(
        f"Oil of {start} degrees warms by {per} degrees a minute. How warm is it after {minutes} "
        "minutes?",
        (f"{per} x {minutes} = {more}", f"{start} + {more} = {end}"),
        good,
        f"{end} degrees",
        f"{more} degrees",
        (0, f"The oil gets {minutes} x {per} = {off(rng, more)} degrees warmer"),
        (1, f"It began at {start + 4}, so it ends at {start + 4} + {more} = {end} degrees"),
        0,
        (0, 1),
        "number",
    )


def magnet(rng: random.Random) -> Draft:
    iron = rng.choice(("nail", "needle", "screw"))
    other = rng.choice(("cork", "button", "match"))
    good = (
        f"A {iron} is made of iron, a {other} is not",
        "Iron is drawn to a magnet",
        f"Thus the magnet picks the {iron} up",
    )
    return Draft(
        f"A magnet is held over a {other} and a {iron}. Which of them does it lift?",
        (
            f"The {iron} consists of iron and the {other} does not.",
            "A magnet attracts iron.",
            f"So the magnet lifts the {iron}.",
        ),
        good,
        iron,
        other,
        (1, "Iron is pushed away by a magnet"),
        (0, f"A {other} is made of iron, a {iron} is not"),
        0,
        (0, 2),
        "choice",
    )


def drying(rng: random.Random) -> Draft:
    thing = rng.choice(("shirt", "towel", "blanket"))
    fast, slow = rng.choice((("sun", "shade"), ("wind", "cellar"), ("sun", "cellar")))
    good = (
        "Moving or warm air takes water away quickly",
        f"The {fast} offers such air, the {slow} does not",
        f"For that reason the {thing} in the {fast} is dry sooner",
    )
    return Draft(
        f"Two wet pieces of cloth hang outdoors, one {thing} in the {fast} and one in the {slow}. "
        f"Where does the {thing} dry first?",
        (
            "Water dries faster in warm or moving air.",
            f"There is such air in the {fast}, but not in the {slow}.",
            f"So the {thing} in the {fast} dries first.",
        ),
        good,
        fast,
        slow,
        (0, "Moving or warm air takes water away slowly"),
        (1, f"The {slow} offers such air, the {fast} does not"),
        1,
        (1, 2),
        "choice",
    )


def weights(rng: random.Random) -> Draft:
    a, b, c = rng.sample(("Rex", "Bella", "Milo", "Luna", "Oskar"), 3)
    good = (
        f"{a} weighs more than {b}, who is lighter",
        f"{b} in turn is heavier than {c}",
        f"So {a} must be the heaviest of all",
    )
    return Draft(
        f"The dog {b} is lighter than {a} and heavier than {c}. Which dog is the heaviest?",
        (
            f"{a} is heavier than {b}.",
            f"{b} is heavier than {c}.",
            f"From heavy to light they are {a}, {b}, {c}, so the heaviest is {a}.",
        ),
        good,
        a,
        c,
        (1, f"{b} in turn is lighter than {c}"),
        (2, f"So {b} must be the heaviest of all"),
        1,
        (0, 2),
        "choice",
    )


def keys(rng: random.Random) -> Draft:
    colours = rng.sample(("silver", "brass", "black", "white"), 2)
    right, wrong = colours
    door = rng.choice(("cellar", "garden", "attic"))
    good = (
        f"One of the two keys must fit the {door} door",
        f"The {wrong} key did not turn in its lock",
        f"Therefore it is the {right} one that opens it",
    )
    return Draft(
        f"The {door} door opens with either the {right} or the {wrong} key. The {wrong} key does "
        "not open it. Which key opens the door?",
        (
            f"Either the {right} or the {wrong} key opens the door.",
            f"The {wrong} key does not open it.",
            f"So the {right} key does.",
        ),
        good,
        right,
        wrong,
        (1, f"The {wrong} key did turn in its lock"),
        (2, f"Therefore it is the {wrong} one that opens it"),
        1,
        (1, 2),
        "choice",
    )


def steps(rng: random.Random) -> Draft:
    up, down, days = rng.randint(4, 9), rng.randint(1, 3), rng.randint(3, 7)
    gain = up - down
    good = (
        f"In a day and a night the snail gains {up} - {down} = {gain} m",
        f"Over {days} of them it gets {days} x {gain} = {days * gain} m up",
    )
    return Draft(
        f"A snail climbs {up} m each day and slips back {down} m each night. How many m up is it "
        f"after {days} days and nights?",
        (f"{up} - {down} = {gain}", f"{gain} x {days} = {gain * days}"),
        good,
        f"{gain * days} m",
        f"{up * days} m",
        (1, f"Over {days} of them it gets {days} x {gain} = {off(rng, days * gain)} m up"),
        (0, f"In a day and a night the snail gains {up + 2} - {down} = {gain} m"),
        0,
        (0, 1),
        "quantity",
    )


def postage(rng: random.Random) -> Draft:
    letters, parcels = rng.randint(3, 9), rng.randint(2, 5)
    letter, parcel = rng.randint(1, 3), rng.randint(5, 9)
    a, b = letters * letter, parcels * parcel
    good = (
        f"{letters} letters cost {letters} x {letter} = {a} euros",
        f"{parcels} parcels cost {parcels} x {parcel} = {b} euros",
        f"The whole post costs {a} + {b} = {a + b} euros",
    )
    return Draft(
        f"A letter costs {letter} euros and a parcel {parcel} euros to send. What do {letters} "
        f"letters and {parcels} parcels cost?",
        (f"{letters} x {letter} = {a}", f"{parcels} x {parcel} = {b}", f"{a} + {b} = {a + b}"),
        good,
        f"{a + b} euros",
        f"{b} euros",
        (0, f"{letters} letters cost {letters} x {letter} = {off(rng, a)} euros"),
        (1, f"{parcels + 1} parcels cost {parcels + 1} x {parcel} = {b} euros"),
        0,
        (0, 2),
        "number",
    )


def season(rng: random.Random) -> Draft:
    north, south = rng.choice((("Canada", "Chile"), ("Sweden", "Argentina"), ("Japan", "Peru")))
    good = (
        f"{south} lies in the southern half of the world, {north} in the northern one",
        "In July the southern half has winter",
        f"Skiing needs winter, so the trip goes to {south}",
    )
    return Draft(
        f"A club wants to ski in July, in {north} or in {south}. Which country should it choose?",
        (
            f"{north} is in the northern hemisphere and {south} in the southern.",
            "In July it is winter in the southern hemisphere.",
            f"For skiing it must be winter, so the club goes to {south}.",
        ),
        good,
        south,
        north,
        (1, "In July the southern half has summer"),
        (0, f"{north} lies in the southern half of the world, {south} in the northern one"),
        1,
        (1, 2),
        "choice",
    )


def plural(rng: random.Random) -> Draft:
    mouse, child = ("mouse", "mice", "mouses"), ("child", "children", "childs")
    foot, goose = ("foot", "feet", "foots"), ("goose", "geese", "gooses")
    word, right, wrong = rng.choice((mouse, child, foot, goose))
    good = (
        f"For most words an s is put at the end, which would give {wrong}",
        f"But {word} is irregular and changes inside",
        f"Hence more than one {word} are {right}",
    )
    return Draft(
        f"Which is the plural of {word}: {right} or {wrong}?",
        (
            f"A regular plural would be {wrong}.",
            f"{word} has an irregular plural.",
            f"So the plural of {word} is {right}.",
        ),
        good,
        right,
        wrong,
        (1, f"But {word} is regular and does not change"),
        (2, f"Hence more than one {word} are {wrong}"),
        1,
        (1, 2),
        "choice",
    )
