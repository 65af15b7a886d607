"""More labelled questions of all domains."""

import random

from actors.data.labelled.draft import NAMES, Draft, far_off, off


def tank(rng: random.Random) -> Draft:
    start, rate, minutes = rng.randint(20, 90), rng.randint(4, 15), rng.randint(6, 20)
    added, full = rate * minutes, start + rate * minutes
    good = (
        f"In {minutes} minutes {minutes} x {rate} = {added} litres flow in",
        f"Together with the first {start} litres that is {start} + {added} = {full} litres",
    )
    return Draft(
        f"A tank holds {start} litres. A pump adds {rate} litres a minute. How many litres does it "
        f"hold after {minutes} minutes?",
        (f"{rate} x {minutes} = {added}", f"{added} + {start} = {full}"),
        good,
        f"{full} litres",
        f"{added} litres",
        (0, f"In {minutes} minutes {minutes} x {rate} = {far_off(rng, added)} litres flow in"),
        (
            1,
            f"Together with the first {start + 6} litres that is {start + 6} + {added} = {full} "
            "litres",
        ),
        0,
        (0, 1),
        "number",
    )


def triangle(rng: random.Random) -> Draft:
    base, height = 2 * rng.randint(3, 15), rng.randint(5, 20)
    whole, area = base * height, base * height // 2
    good = (
        f"A rectangle of these sides would have {base} x {height} = {whole} square cm",
        f"The triangle is half of it, {whole} / 2 = {area} square cm",
    )
    return Draft(
        f"The base of a triangle is {base} cm long, its height is {height} cm. "
        "How many square cm is its area?",
        (f"{base} x {height} = {whole}", f"{whole} / 2 = {area}"),
        good,
        str(area),
        str(whole),
        (1, f"The triangle is half of it, {whole} / 2 = {off(rng, area)} square cm"),
        (0, f"A rectangle of these sides would have {base + 4} x {height} = {whole} square cm"),
        0,
        (0, 1),
    )


def circuit(rng: random.Random) -> Draft:
    volts, amps, hours = rng.choice((6, 12, 24)), rng.randint(2, 9), rng.randint(2, 8)
    watts, energy = volts * amps, volts * amps * hours
    good = (
        f"The motor has a power of {volts} V x {amps} A = {watts} W",
        f"Running for {hours} hours it needs {watts} x {hours} = {energy} watt hours",
    )
    return Draft(
        f"A motor on {volts} V draws {amps} A. How many watt hours does it need in {hours} hours?",
        (f"{volts} x {amps} = {watts}", f"{watts} x {hours} = {energy}"),
        good,
        str(energy),
        str(watts),
        (0, f"The motor has a power of {volts} V x {amps} A = {off(rng, watts)} W"),
        (1, f"Running for {hours + 2} hours it needs {watts} x {hours + 2} = {energy} watt hours"),
        0,
        (0, 1),
    )


def plants(rng: random.Random) -> Draft:
    plant = rng.choice(("bean", "sunflower", "tomato"))
    light, dark = rng.choice((("window", "cellar"), ("garden", "cupboard"), ("balcony", "closet")))
    good = (
        f"A {plant} makes its food from light",
        f"The {light} is bright, but in the {dark} there is hardly any light",
        f"So the {plant} in the {dark} cannot feed itself and turns pale",
    )
    return Draft(
        f"One {plant} plant stands in the {light} and one in a dark {dark}. "
        "Where does the plant turn pale?",
        (
            f"A {plant} plant needs light to make its food.",
            f"In the {dark} there is no light, in the {light} there is.",
            f"Therefore the plant in the {dark} starves and turns pale.",
        ),
        good,
        dark,
        light,
        (0, f"A {plant} loses its food through light"),
        (2, f"So the {plant} in the {light} cannot feed itself and turns pale"),
        1,
        (1, 2),
        "choice",
    )


def race(rng: random.Random) -> Draft:
    a, b, c = rng.sample(NAMES, 3)
    good = (
        f"{a} reached the finish ahead of {b}",
        f"{c} was slower than {b}, which puts {b} ahead of {c}",
        f"The finish was {a} first, {b} second and {c} third",
    )
    return Draft(
        f"{a} beat {b} in a race. {c} came in after {b}. Who was second?",
        (
            f"{a} was faster than {b}.",
            f"{b} was faster than {c}.",
            f"So {a} was first, {b} second and {c} third.",
        ),
        good,
        b,
        c,
        (1, f"{c} was faster than {b}, which puts {c} ahead of {b}"),
        (2, f"The finish was {b} first, {a} second and {c} third"),
        1,
        (1, 2),
        "choice",
    )


def sequence(rng: random.Random) -> Draft:
    first, gap = rng.randint(2, 20), rng.randint(3, 12)
    terms = [first + n * gap for n in range(5)]
    good = (
        f"Neighbours differ by {terms[1]} - {terms[0]} = {gap}",
        f"After {terms[3]} comes {terms[3]} + {gap} = {terms[4]}",
    )
    return Draft(
        f"Which number continues {terms[0]}, {terms[1]}, {terms[2]}, {terms[3]}?",
        (f"{terms[1]} - {terms[0]} = {gap}", f"{terms[3]} + {gap} = {terms[4]}"),
        good,
        str(terms[4]),
        str(off(rng, terms[4])),
        (0, f"Neighbours differ by {terms[1]} - {terms[0]} = {gap + 1}"),
        (1, f"After {terms[3] + 3} comes {terms[3] + 3} + {gap} = {terms[4]}"),
        0,
        (0, 1),
    )


def change(rng: random.Random) -> Draft:
    name, count, price = rng.choice(NAMES), rng.randint(2, 7), rng.randint(2, 6)
    cost, note = count * price, 50
    back = note - cost
    good = (
        f"The tickets cost {count} x {price} = {cost} dollars",
        f"From {note} dollars {note} - {cost} = {back} dollars come back",
    )
    return Draft(
        f"{name} buys {count} tickets at {price} dollars each and pays with a {note} dollar note. "
        "How many dollars come back?",
        (f"{count} x {price} = {cost}", f"{note} - {cost} = {back}"),
        good,
        str(back),
        str(note - price),
        (0, f"The tickets cost {count} x {price} = {off(rng, cost)} dollars"),
        (0, f"The tickets cost {count + 1} x {price} = {cost} dollars"),
        0,
        (0, 1),
    )


def opposite(rng: random.Random) -> Draft:
    word, sense, contrary, answer, wrong = rng.choice(
        (
            ("ancient", "very old", "new", "modern", "early"),
            ("tiny", "very small", "big", "huge", "little"),
            ("silent", "without sound", "loud", "noisy", "calm"),
            ("rapid", "very fast", "slow", "sluggish", "quick"),
        )
    )
    shown = [answer, wrong]
    rng.shuffle(shown)
    good = (
        f"{word.capitalize()} is another word for {sense}",
        f"The contrary of {sense} is {contrary}",
        f"{answer.capitalize()} is another word for {contrary}, so it is {answer}",
    )
    return Draft(
        f"Which word is the opposite of {word}: {shown[0]} or {shown[1]}?",
        (
            f"{word} means {sense}.",
            f"The opposite of {sense} is {contrary}.",
            f"The word that means {contrary} is {answer}.",
        ),
        good,
        answer,
        wrong,
        (0, f"{word.capitalize()} is another word for {contrary}"),
        (2, f"{wrong.capitalize()} is another word for {contrary}, so it is {answer}"),
        1,
        (1, 2),
        "choice",
    )
