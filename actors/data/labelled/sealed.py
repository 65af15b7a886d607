"""Labelled questions that are computed, more of them."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def interest(rng: random.Random) -> Draft:
    name, money = rng.choice(NAMES), 100 * rng.randint(2, 9)
    rate, years = rng.randint(2, 8), rng.randint(2, 6)
    year = money * rate // 100
    good = (
        f"Each year brings {money} x {rate} / 100 = {year} euros of interest",
        f"Over {years} years that makes {years} x {year} = {years * year} euros",
        f"With what was paid in it makes {money} + {years * year} = {money + years * year} euros",
    )
    return Draft(
        f"{name} puts {money} euros into an account. Every year it earns {rate} percent of that "
        f"sum, and the interest is not reinvested. How many euros are there after {years} years?",
        (
            f"{money} x {rate} / 100 = {year}",
            f"{year} x {years} = {years * year}",
            f"{money} + {years * year} = {money + years * year}",
        ),
        good,
        f"{money + years * year} euros",
        f"{years * year} euros",
        (
            1,
            f"Over {years} years that makes {years} x {year} = {off(rng, years * year)} euros",
        ),
        (0, f"Each year brings {money} x {rate + 1} / 100 = {year} euros of interest"),
        1,
        (0, 1),
        "quantity",
    )


def consecutive(rng: random.Random) -> Draft:
    middle = rng.randint(9, 60)
    total = 3 * middle
    good = (
        f"The one in the middle is their mean, {total} / 3 = {middle}",
        f"One more than that is {middle} + 1 = {middle + 1}, the largest",
    )
    return Draft(
        f"Three whole numbers that follow each other add up to {total}. Which is the largest?",
        (f"{total} / 3 = {middle}", f"{middle} + 1 = {middle + 1}"),
        good,
        str(middle + 1),
        str(middle),
        (0, f"The one in the middle is their mean, {total} / 3 = {off(rng, middle)}"),
        (0, f"The one in the middle is their mean, {total + 6} / 3 = {middle}"),
        0,
        (0, 1),
    )


def angles(rng: random.Random) -> Draft:
    a, b = rng.randint(30, 75), rng.randint(30, 75)
    good = (
        f"The two that are known make {a} + {b} = {a + b} degrees",
        f"All three make 180, so 180 - {a + b} = {180 - a - b} degrees are left",
    )
    return Draft(
        f"In a triangle one angle has {a} degrees and another one {b} degrees. How many degrees "
        "has the third?",
        (f"{a} + {b} = {a + b}", f"180 - {a + b} = {180 - a - b}"),
        good,
        f"{180 - a - b} degrees",
        f"{a + b} degrees",
        (1, f"All three make 180, so 180 - {a + b} = {far_off(rng, 180 - a - b)} degrees are left"),
        (0, f"The two that are known make {a + 7} + {b} = {a + b + 7} degrees"),
        0,
        (0, 1),
        "number",
    )


def quarters(rng: random.Random) -> Draft:
    part = rng.randint(4, 20)
    whole, way = 4 * part, rng.choice(("by bus", "on foot", "by bicycle"))
    good = (
        f"A quarter of the class is {whole} / 4 = {part} pupils",
        f"Those who come {way} are 3 x {part} = {3 * part}",
    )
    return Draft(
        f"Of {whole} pupils three quarters come to school {way}. How many pupils are they?",
        (f"{whole} / 4 = {part}", f"{part} x 3 = {3 * part}"),
        good,
        str(3 * part),
        str(part),
        (1, f"Those who come {way} are 3 x {part} = {off(rng, 3 * part)}"),
        (0, f"A quarter of the class is {whole + 8} / 4 = {part + 2} pupils"),
        0,
        (0, 1),
    )


def new_mean(rng: random.Random) -> Draft:
    count, mean, more = rng.choice((3, 4, 5)), rng.randint(5, 15), rng.randint(1, 4)
    added = mean + more * (count + 1)
    total = count * mean
    good = (
        f"So far the numbers add up to {count} x {mean} = {total}",
        f"The new one makes it {total} + {added} = {total + added}",
        f"Among {count + 1} numbers that is {total + added} / {count + 1} = {mean + more} each",
    )
    return Draft(
        f"The mean of {count} numbers is {mean}. Then the number {added} joins them, so that "
        f"there are {count + 1}. What is the mean now?",
        (
            f"{count} x {mean} = {total}",
            f"{total} + {added} = {total + added}",
            f"{total + added} / {count + 1} = {mean + more}",
        ),
        good,
        str(mean + more),
        str(added),
        (1, f"The new one makes it {total} + {added} = {off(rng, total + added)}"),
        (1, f"The new one makes it {total} + {added + 3} = {total + added}"),
        1,
        (0, 1),
    )


def lever(rng: random.Random) -> Draft:
    light, times, near = 5 * rng.randint(3, 8), rng.randint(2, 3), rng.randint(1, 3)
    heavy = light * times
    good = (
        f"On one side the board is turned by {heavy} x {near} = {heavy * near} kg times metres",
        f"The other side needs as much, so {heavy * near} / {light} = {times * near} metres",
    )
    return Draft(
        f"On a seesaw a load of {heavy} kg lies {near} m from the middle. How many metres from "
        f"the middle must a load of {light} kg lie on the other side to balance it?",
        (f"{heavy} x {near} = {heavy * near}", f"{heavy * near} / {light} = {times * near}"),
        good,
        f"{times * near} m",
        f"{near} m",
        (1, f"The other side needs as much, so {heavy * near} / {light} = "
         f"{off(rng, times * near + 3)} metres"),
        (0, f"On one side the board is turned by {heavy + 5} x {near} = {(heavy + 5) * near} kg "
         "times metres"),
        0,
        (0, 1),
        "quantity",
    )  # fmt: skip


def half_life(rng: random.Random) -> Draft:
    quarter, hours = rng.randint(5, 40), rng.randint(2, 9)
    whole = 4 * quarter
    good = (
        f"{2 * hours} hours hold {2 * hours} / {hours} = 2 half-lives",
        f"The first of them leaves {whole} / 2 = {2 * quarter} mg",
        f"The second leaves {2 * quarter} / 2 = {quarter} mg",
    )
    return Draft(
        f"Of a drug in the blood half is gone after {hours} hours, and again half of the rest "
        f"after as many more. How many mg of {whole} mg are left after {2 * hours} hours?",
        (f"{2 * hours} / {hours} = 2", f"{whole} / 2 = {2 * quarter}",
         f"{2 * quarter} / 2 = {quarter}"),
        good,
        f"{quarter} mg",
        f"{2 * quarter} mg",
        (2, f"The second leaves {2 * quarter} / 2 = {off(rng, quarter)} mg"),
        (1, f"The first of them leaves {whole + 6} / 2 = {2 * quarter + 3} mg"),
        1,
        (1, 2),
        "quantity",
    )  # fmt: skip


def handshakes(rng: random.Random) -> Draft:
    people = rng.randint(4, 12)
    both = people * (people - 1)
    good = (
        f"Every guest meets {people} - 1 = {people - 1} others",
        f"Counted from each side there are {people} x {people - 1} = {both} handshakes",
        f"Two guests share one, so {both} / 2 = {both // 2} remain",
    )
    return Draft(
        f"{people} guests shake hands, each of them once with every other guest. How many "
        "handshakes are there?",
        (f"{people} - 1 = {people - 1}", f"{people} x {people - 1} = {both}",
         f"{both} / 2 = {both // 2}"),
        good,
        str(both // 2),
        str(both),
        (1, f"Counted from each side there are {people} x {people - 1} = {far_off(rng, both)} "
         "handshakes"),
        (0, f"Every guest meets {people + 2} - 1 = {people + 1} others"),
        1,
        (1, 2),
    )  # fmt: skip


def marbles(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    few, more = rng.randint(3, 15), rng.randint(2, 9)
    good = (
        f"{b} owns 2 x {few} = {2 * few} marbles",
        f"{a} has {more} on top of that, {2 * few} + {more} = {2 * few + more}",
    )
    return Draft(
        f"{c} has {few} marbles. {b} has twice as many as {c}, and {a} has {more} more than {b}. "
        f"How many marbles does {a} have?",
        (f"{few} x 2 = {2 * few}", f"{2 * few} + {more} = {2 * few + more}"),
        good,
        str(2 * few + more),
        str(few + more),
        (0, f"{b} owns 2 x {few} = {off(rng, 2 * few)} marbles"),
        (1, f"{a} has {more + 4} on top of that, {2 * few} + {more + 4} = {2 * few + more + 4}"),
        0,
        (0, 1),
    )


def opening(rng: random.Random) -> Draft:
    opens, closes, days = rng.randint(7, 10), rng.randint(15, 20), rng.randint(3, 6)
    hours = closes - opens
    place = rng.choice(("shop", "library", "museum"))
    good = (
        f"On one day the doors are open for {closes} - {opens} = {hours} hours",
        f"In a week with {days} such days it is {days} x {hours} = {days * hours} hours",
    )
    return Draft(
        f"A {place} is open from {opens} to {closes} o'clock on {days} days of the week. How many "
        "hours a week is it open?",
        (f"{closes} - {opens} = {hours}", f"{hours} x {days} = {days * hours}"),
        good,
        f"{days * hours} hours",
        f"{hours} hours",
        (0, f"On one day the doors are open for {closes} - {opens} = {off(rng, hours)} hours"),
        (1, f"In a week with {days + 1} such days it is {days + 1} x {hours} = {days * hours} "
         "hours"),
        0,
        (0, 1),
        "number",
    )  # fmt: skip


def tip(rng: random.Random) -> Draft:
    people, each = rng.randint(2, 5), rng.choice((11, 22, 33))
    meal = people * each * 10 // 11
    extra = meal // 10
    good = (
        f"The tip is {meal} x 10 / 100 = {extra} euros",
        f"Altogether they pay {meal} + {extra} = {meal + extra} euros",
        f"Split among {people} friends it is {meal + extra} / {people} = {each} euros each",
    )
    return Draft(
        f"{people} friends eat for {meal} euros and add a tip of 10 percent. They share the cost "
        "equally. How many euros does each of them pay?",
        (f"{meal} x 10 / 100 = {extra}", f"{meal} + {extra} = {meal + extra}",
         f"{meal + extra} / {people} = {each}"),
        good,
        str(each),
        str(meal + extra),
        (1, f"Altogether they pay {meal} + {extra} = {far_off(rng, meal + extra)} euros"),
        (2, f"Split among {people + 1} friends it is {meal + extra} / {people + 1} = {each} euros "
         "each"),
        1,
        (1, 2),
    )  # fmt: skip


def longer(rng: random.Random) -> Draft:
    km = rng.randint(2, 9)
    metres = 1000 * km + rng.choice((-500, -400, -200, 300, 600))
    way = rng.choice(("path", "river", "tunnel"))
    more = metres > 1000 * km
    sign = "<" if more else ">"
    wins, loses = ("second", "first") if more else ("first", "second")
    good = (
        f"In metres the first has {km} x 1000 = {1000 * km}",
        f"Compared with the second, {1000 * km} {sign} {metres}",
        f"Hence the {wins} one is the longer {way}",
    )
    return Draft(
        f"The first {way} is {km} km long, the second one {metres} m. Which {way} is longer, the "
        "first or the second?",
        (f"{km} x 1000 = {1000 * km}", f"{1000 * km} {sign} {metres}",
         f"So the {wins} {way} is longer."),
        good,
        wins,
        loses,
        (1, f"Compared with the second, {1000 * km} {'>' if more else '<'} {metres}"),
        (0, f"In metres the first has {km + 1} x 1000 = {1000 * km}"),
        0,
        (0, 1),
        "choice",
    )  # fmt: skip
