"""Labelled questions of all domains, two for each."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def fence(rng: random.Random) -> Draft:
    gaps, width = rng.randint(5, 14), rng.randint(2, 6)
    posts, length = gaps + 1, gaps * width
    good = (
        f"{posts} posts leave {posts} - 1 = {gaps} gaps",
        f"Each gap is {width} m wide, so the fence is {gaps} x {width} = {length} m long",
    )
    return Draft(
        f"A fence has {posts} posts in a row, {width} m apart. How many m long is it?",
        (f"{posts} - 1 = {gaps}", f"{gaps} x {width} = {length}"),
        good,
        str(length),
        str(posts * width),
        (0, f"{posts} posts leave {posts} - 1 = {posts} gaps"),
        (1, f"Each gap is {width + 1} m wide, so the fence is {gaps} x {width + 1} = {length} m"),
        0,
        (0, 1),
    )


def sharing(rng: random.Random) -> Draft:
    children, each, rest = rng.randint(3, 8), rng.randint(4, 12), rng.randint(1, 9)
    sweets = children * each + rest
    shared = children * each
    good = (
        f"Without the {rest} that are kept, {sweets} - {rest} = {shared} sweets are shared",
        f"Every child gets {shared} / {children} = {each} sweets",
    )
    return Draft(
        f"There are {sweets} sweets. {rest} of them are kept, and {children} children share the "
        "others evenly. How many sweets does each child get?",
        (f"{sweets} - {rest} = {shared}", f"{shared} / {children} = {each}"),
        good,
        str(each),
        str(each + rest),
        (1, f"Every child gets {shared} / {children} = {off(rng, each)} sweets"),
        (
            0,
            f"Without the {rest + 3} that are kept, {sweets} - {rest + 3} = {shared} sweets are "
            "shared",
        ),
        0,
        (0, 1),
    )


def echo(rng: random.Random) -> Draft:
    speed, seconds = 340, 2 * rng.randint(2, 9)
    there, way = seconds // 2, 340 * seconds // 2
    good = (
        f"The sound goes there and back, so one way takes {seconds} / 2 = {there} seconds",
        f"In {there} seconds it travels {there} x {speed} = {way} m",
    )
    return Draft(
        f"A shout comes back from a cliff after {seconds} seconds. Sound travels {speed} m in a "
        "second. How many m away is the cliff?",
        (f"{seconds} / 2 = {there}", f"{there} x {speed} = {way}"),
        good,
        str(way),
        str(way * 2),
        (0, f"The sound goes there and back, so one way takes {seconds} / 2 = {seconds} seconds"),
        (1, f"In {there} seconds it travels {there} x {speed - 20} = {way} m"),
        0,
        (0, 1),
    )


def rusting(rng: random.Random) -> Draft:
    wet, dry = rng.choice((("bucket of water", "dry jar"), ("damp shed", "heated room")))
    thing = rng.choice(("nail", "key", "chain"))
    good = (
        "For iron to rust there has to be water around it",
        f"There is water in the {wet} and none in the {dry}",
        f"That is why the iron {thing} in the {wet} rusts",
    )
    return Draft(
        f"One iron {thing} lies in a {wet}, another one in a {dry}. Where does the {thing} rust?",
        (
            "Iron rusts where there is water.",
            f"The {wet} has water, the {dry} has none.",
            f"So the {thing} in the {wet} rusts.",
        ),
        good,
        wet,
        dry,
        (0, "For iron to rust there must be no water around it"),
        (1, f"There is water in the {dry} and none in the {wet}"),
        1,
        (1, 2),
        "choice",
    )


def seats(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    good = (
        f"{b} has {a} on the left side",
        f"{c} comes to the right of {b}",
        f"The row is {a}, {b}, {c}, with {b} in the middle",
    )
    return Draft(
        f"Three people sit in a row. {a} sits directly left of {b}, and {c} directly right of {b}. "
        "Who sits in the middle?",
        (
            f"{a} is left of {b}.",
            f"{c} is right of {b}.",
            f"The order is {a}, {b}, {c}, so {b} is in the middle.",
        ),
        good,
        b,
        a,
        (1, f"{c} comes to the left of {a}"),
        (2, f"The row is {b}, {a}, {c}, with {b} in the middle"),
        1,
        (1, 2),
        "choice",
    )


def clock(rng: random.Random) -> Draft:
    hour, minute = rng.randint(1, 7), rng.choice((10, 15, 20, 25))
    hours, minutes = rng.randint(1, 4), rng.choice((10, 20, 30))
    later, past = hour + hours, minute + minutes
    good = (
        f"{hour} o'clock and {hours} hours make {hour} + {hours} = {later} o'clock",
        f"The minutes add up to {minute} + {minutes} = {past}",
        f"So it ends at {later}:{past}",
    )
    return Draft(
        f"A film starts at {hour}:{minute} and lasts {hours} hours and {minutes} minutes. "
        "When does it end?",
        (
            f"{hour} + {hours} = {later}",
            f"{minute} + {minutes} = {past}",
            f"It ends at {later}:{past}",
        ),
        good,
        f"{later}:{past}",
        f"{later + 1}:{past}",
        (1, f"The minutes add up to {minute} + {minutes} = {far_off(rng, past)}"),
        (
            0,
            f"{hour + 1} o'clock and {hours} hours make {hour + 1} + {hours} = {later} o'clock",
        ),
        1,
        (1, 2),
        "exact",
    )


def fuel(rng: random.Random) -> Draft:
    hundreds, litres, price = rng.randint(2, 8), rng.randint(4, 9), rng.choice((2, 3))
    used = hundreds * litres
    good = (
        f"{hundreds}00 km need {hundreds} x {litres} = {used} litres",
        f"They cost {used} x {price} = {used * price} dollars",
    )
    return Draft(
        f"A car needs {litres} litres for every 100 km. A litre costs {price} dollars. How many "
        f"dollars does a trip of {hundreds}00 km cost?",
        (f"{hundreds} x {litres} = {used}", f"{used} x {price} = {used * price}"),
        good,
        str(used * price),
        str(used),
        (0, f"{hundreds}00 km need {hundreds} x {litres} = {off(rng, used)} litres"),
        (1, f"They cost {used} x {price + 1} = {used * price} dollars"),
        0,
        (0, 1),
    )


def borders(rng: random.Random) -> Draft:
    city, country, continent, wrong = rng.choice(
        (
            ("Lima", "Peru", "South America", "Africa"),
            ("Nairobi", "Kenya", "Africa", "Asia"),
            ("Hanoi", "Vietnam", "Asia", "Europe"),
            ("Oslo", "Norway", "Europe", "South America"),
        )
    )
    good = (
        f"The country that has {city} as its capital is {country}",
        f"{country} belongs to {continent}",
        f"Hence {city} can be found in {continent}",
    )
    return Draft(
        f"On which continent is the city of {city}?",
        (
            f"{city} is the capital of {country}.",
            f"{country} is a country of {continent}.",
            f"So {city} is in {continent}.",
        ),
        good,
        continent,
        wrong,
        (1, f"{country} belongs to {wrong}"),
        (0, f"The country that has {city} as its capital is Iceland"),
        1,
        (1, 2),
        "choice",
    )
