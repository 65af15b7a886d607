"""Labelled questions of mathematics: sums of two steps, a mean, an equation, a percentage."""

import random

from actors.data.labelled.draft import NAMES, Draft, off


def eggs(rng: random.Random) -> Draft:
    name, a, b = rng.choice(NAMES), rng.randint(3, 9), rng.randint(6, 12)
    c = rng.randint(2, 15)
    packed, left = a * b, a * b - c
    good = (
        f"{a} boxes hold {a} x {b} = {packed} eggs",
        f"After {c} are given away, {packed} - {c} = {left} eggs remain",
    )
    return Draft(
        f"{name} packs {a} boxes with {b} eggs each and gives away {c} eggs. "
        "How many eggs are left?",
        (f"{a} x {b} = {packed}", f"{packed} - {c} = {left}"),
        good,
        str(left),
        str(off(rng, left)),
        (0, f"{a} boxes hold {a} x {b} = {off(rng, packed)} eggs"),
        (1, f"After {c + 3} are given away, {packed} - {c + 3} = {left} eggs remain"),
        0,
        (0, 1),
    )


def books(rng: random.Random) -> Draft:
    pen, more, count = rng.randint(2, 6), rng.randint(3, 9), rng.randint(3, 8)
    book, total = pen + more, (pen + more) * count
    good = (
        f"One book costs {pen} + {more} = {book} dollars",
        f"So {count} books cost {count} x {book} = {total} dollars",
    )
    return Draft(
        f"A pen costs {pen} dollars and a book costs {more} dollars more. "
        f"What do {count} books cost?",
        (f"price of a book: {pen} + {more} = {book}", f"{book} x {count} = {total}"),
        good,
        f"{total} dollars",
        f"{pen * count} dollars",
        (0, f"One book costs {pen} + {more} = {off(rng, book)} dollars"),
        (1, f"So {count + 2} books cost {count + 2} x {book} = {total} dollars"),
        0,
        (0, 1),
        "number",
    )


def mean(rng: random.Random) -> Draft:
    a, b = rng.randint(4, 30), rng.randint(4, 30)
    c = 3 * rng.randint(10, 25) - (a + b) % 3
    total, result = a + b + c, (a + b + c) // 3
    good = (
        f"The sum is {a} + {b} + {c} = {total}",
        f"There are 3 numbers, so the mean is {total} / 3 = {result}",
    )
    return Draft(
        f"What is the mean of {a}, {b} and {c}?",
        (f"{a} + {b} + {c} = {total}", f"{total} / 3 = {result}"),
        good,
        str(result),
        str(off(rng, result)),
        (1, f"There are 3 numbers, so the mean is {total} / 3 = {off(rng, result)}"),
        (0, f"The sum is {a} + {b + 4} + {c} = {total}"),
        0,
        (0, 1),
    )


def perimeter(rng: random.Random) -> Draft:
    width, length = rng.randint(3, 20), rng.randint(21, 50)
    half, whole = width + length, 2 * (width + length)
    good = (
        f"One long and one short side are {length} + {width} = {half} cm",
        f"All four sides are 2 x {half} = {whole} cm",
    )
    return Draft(
        f"A rectangle is {width} cm wide and {length} cm long. What is its perimeter?",
        (f"{width} + {length} = {half}", f"{half} x 2 = {whole}"),
        good,
        f"{whole} cm",
        f"{half} cm",
        (0, f"One long and one short side are {length} + {width} = {off(rng, half)} cm"),
        (0, f"One long and one short side are {length + 7} + {width} = {half} cm"),
        0,
        (0, 1),
        "number",
    )


def unknown(rng: random.Random) -> Draft:
    factor, x, shift = rng.randint(3, 9), rng.randint(4, 19), rng.randint(2, 30)
    product, total = factor * x, factor * x + shift
    good = (
        f"Taking {shift} from both sides leaves {total} - {shift} = {product}",
        f"Dividing by {factor} gives {product} / {factor} = {x}",
    )
    return Draft(
        f"Solve {factor}y + {shift} = {total} for y.",
        (f"{total} - {shift} = {product}", f"{product} / {factor} = {x}"),
        good,
        str(x),
        str(off(rng, x)),
        (1, f"Dividing by {factor} gives {product} / {factor} = {off(rng, x)}"),
        (1, f"Dividing by {factor + 1} gives {product} / {factor + 1} = {x}"),
        0,
        (0, 1),
        "math",
    )


def discount(rng: random.Random) -> Draft:
    price, percent = 20 * rng.randint(2, 12), rng.choice((5, 10, 15, 25, 30))
    whole = price * percent
    cut, left = whole // 100, price - whole // 100
    good = (
        f"The discount is {price} x {percent} / 100 = {cut} dollars",
        f"The coat then costs {price} - {cut} = {left} dollars",
    )
    return Draft(
        f"A coat of {price} dollars is reduced by {percent} percent. What does it cost now?",
        (f"{price} x {percent} / 100 = {cut}", f"{price} - {cut} = {left}"),
        good,
        str(left),
        str(cut),
        (0, f"The discount is {price} x {percent} / 100 = {off(rng, cut)} dollars"),
        (1, f"The coat then costs {price + 10} - {cut} = {left} dollars"),
        0,
        (0, 1),
    )
