"""Generated arithmetic and word problems with worked steps. ``problem(rng)`` returns a question and its answer."""

import math
import random
from collections.abc import Callable
from fractions import Fraction

NAMES = [
    "Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo", "Maria",
    "Nina", "Oscar", "Paula", "Quinn", "Rosa", "Sam", "Tom", "Uma", "Victor", "Wendy", "Yusuf", "Zoe", "Alice",
    "Bob", "Clara", "Daniel", "Elena", "Frank", "Hannah", "Ivan", "Julia", "Kevin", "Laura", "Mark", "Nora",
    "Omar", "Peter", "Rachel", "Simon", "Tina", "Walter", "James", "Mary", "John", "Linda",
]  # fmt: skip
ITEMS = [
    "apples", "oranges", "books", "pencils", "marbles", "stickers", "coins", "cards", "cookies", "eggs",
    "stamps", "shells", "balloons", "flowers", "bottles", "toys", "tickets", "candles", "cups", "buttons",
    "stones", "peaches", "pens", "notebooks", "muffins", "bananas", "boxes", "keys", "chairs", "lemons",
]  # fmt: skip
PLACES = [
    "school",
    "the market",
    "the library",
    "the bakery",
    "the farm",
    "the office",
    "the museum",
    "the station",
    "the park",
    "a shop",
]
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = [
    "_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
]  # fmt: skip


def spell(n: int) -> str:
    """Write a number from 0 to 9999 in English words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" {spell(n % 100)}" if n % 100 else "")
    return f"{ONES[n // 1000]} thousand" + (f" {spell(n % 1000)}" if n % 1000 else "")


def one(item: str) -> str:
    """Singular of an item."""
    return {"boxes": "box", "peaches": "peach", "cookies": "cookie", "candles": "candle"}.get(item, item[:-1])


def finish(rng: random.Random, steps: list[str], value: object, unit: str = "") -> str:
    """Join worked steps and the final answer in one of several habits."""
    shown = f"{value} {unit}".strip()
    style = rng.random()
    if style < 0.3:
        return " ".join(steps) + f" The answer is {shown}."
    if style < 0.55:
        return "\n".join(f"Step {i}: {s}" for i, s in enumerate(steps, 1)) + f"\n\nThe answer is {shown}."
    if style < 0.7:
        return (
            "Let's solve this step by step.\n\n"
            + "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1))
            + f"\n\n**Answer:** {shown}"
        )
    if style < 0.85:
        return "\n".join(steps) + f"\n#### {value}"
    return "\n\n".join(steps) + f"\n\nThe final answer is \\boxed{{{value}}}."


def story(rng: random.Random) -> tuple[str, str]:
    """Things are gained and lost."""
    who, item, other = rng.choice(NAMES), rng.choice(ITEMS), rng.choice(NAMES)
    have = rng.randint(5, 90)
    text = [
        rng.choice(
            [
                f"{who} has {have} {item}.",
                f"{who} starts with {have} {item}.",
                f"There are {have} {item} on {who}'s table.",
            ]
        )
    ]
    steps = [rng.choice([f"{who} starts with {have} {item}.", f"At first there are {have} {item}."])]
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(["gain", "gain", "lose", "lose", "double", "groups", "half"])
        n = rng.randint(2, 40)
        if kind == "gain":
            text.append(
                rng.choice(
                    [
                        f"{who} buys {n} more {item} at {rng.choice(PLACES)}.",
                        f"{other} gives {who} {n} {item}.",
                        f"Then {who} finds {n} {item}.",
                    ]
                )
            )
            steps.append(
                rng.choice(
                    [f"Adding {n} gives {have} + {n} = {have + n}.", f"Now {who} has {have} + {n} = {have + n} {item}."]
                )
            )
            have += n
        elif kind == "lose" and have > 3:
            n = rng.randint(1, have - 1)
            text.append(
                rng.choice(
                    [
                        f"{who} gives {n} {item} to {other}.",
                        f"{who} loses {n} of them.",
                        f"{n} {item} are sold.",
                        f"{who} uses {n} {item}.",
                    ]
                )
            )
            steps.append(
                rng.choice(
                    [
                        f"Taking away {n} leaves {have} - {n} = {have - n}.",
                        f"After that there are {have} - {n} = {have - n} {item} left.",
                    ]
                )
            )
            have -= n
        elif kind == "double" and have < 200:
            factor = rng.choice([2, 2, 3])
            text.append(f"The number of {item} {'doubles' if factor == 2 else 'triples'}.")
            steps.append(f"{'Doubling' if factor == 2 else 'Tripling'} gives {factor} * {have} = {factor * have}.")
            have *= factor
        elif kind == "groups":
            boxes, each = rng.randint(2, 9), rng.randint(2, 12)
            text.append(f"{who} gets {boxes} bags with {each} {item} in each bag.")
            steps.append(
                f"The bags hold {boxes} * {each} = {boxes * each} {item}, "
                f"so there are {have} + {boxes * each} = {have + boxes * each}."
            )
            have += boxes * each
        elif kind == "half" and have % 2 == 0 and have > 4:
            text.append(rng.choice([f"{who} gives half of the {item} to {other}.", f"Half of the {item} are sold."]))
            steps.append(f"Half of {have} is {have} / 2 = {have // 2}.")
            have //= 2
    text.append(
        rng.choice(
            [
                f"How many {item} does {who} have now?",
                f"How many {item} are left?",
                f"How many {item} are there in the end?",
            ]
        )
    )
    return " ".join(text), finish(rng, steps, have, item)


def shopping(rng: random.Random) -> tuple[str, str]:
    """Prices, totals and change."""
    who, (a, b) = rng.choice(NAMES), rng.sample(ITEMS, 2)
    n, p, m, q = rng.randint(2, 12), rng.randint(1, 15), rng.randint(2, 9), rng.randint(1, 20)
    total = n * p + m * q
    question = f"{who} buys {n} {a} for ${p} each and {m} {b} for ${q} each."
    steps = [
        f"The {a} cost {n} * {p} = {n * p} dollars.",
        f"The {b} cost {m} * {q} = {m * q} dollars.",
        f"Together that is {n * p} + {m * q} = {total} dollars.",
    ]
    if rng.random() < 0.5:
        paid = (total // 50 + 1) * 50
        question += f" {who} pays with ${paid}. How much change does {who} get?"
        steps.append(f"The change is {paid} - {total} = {paid - total} dollars.")
        total = paid - total
    else:
        question += rng.choice(
            [" How much does that cost in total?", f" How much does {who} pay?", " What is the total price in dollars?"]
        )
    return question, finish(rng, steps, total, "dollars")


def weekly(rng: random.Random) -> tuple[str, str]:
    """So many per day, for so many days, at a price."""
    who, item = rng.choice(NAMES), rng.choice(ITEMS)
    per, days, price, keep = rng.randint(6, 40), rng.choice([5, 6, 7, 10, 14, 30]), rng.randint(2, 9), rng.randint(1, 5)
    left = per - keep
    question = (
        f"{who} makes {per} {item} every day and keeps {keep} of them. The rest are sold for ${price} each. "
        f"How many dollars does {who} earn in {days} days?"
    )
    steps = [
        f"Each day {who} sells {per} - {keep} = {left} {item}.",
        f"That earns {left} * {price} = {left * price} dollars a day.",
        f"In {days} days it is {left * price} * {days} = {left * price * days} dollars.",
    ]
    return question, finish(rng, steps, left * price * days, "dollars")


def travel(rng: random.Random) -> tuple[str, str]:
    """Speed, time and distance."""
    who, speed, hours = (
        rng.choice(["A train", "A car", "A bus", rng.choice(NAMES)]),
        rng.randint(3, 24) * 5,
        rng.randint(2, 9),
    )
    distance = speed * hours
    form = rng.randrange(3)
    if form == 0:
        return (
            f"{who} travels at {speed} km per hour for {hours} hours. How far does it go?"
            if who[0:2] == "A "
            else f"{who} drives {hours} hours at {speed} km per hour. How many kilometers is that?",
            finish(rng, ["Distance is speed times time.", f"{speed} * {hours} = {distance}."], distance, "km"),
        )
    if form == 1:
        return (
            f"{who} needs {hours} hours for {distance} km. What is the average speed?",
            finish(
                rng, ["Speed is distance divided by time.", f"{distance} / {hours} = {speed}."], speed, "km per hour"
            ),
        )
    more, second = rng.randint(1, 5), rng.randint(3, 24) * 5
    total = distance + more * second
    return (
        f"{who} travels {hours} hours at {speed} km/h and then {more} hours at {second} km/h. "
        "What is the total distance?",
        finish(
            rng,
            [
                f"The first part is {speed} * {hours} = {distance} km.",
                f"The second part is {second} * {more} = {second * more} km.",
                f"The total is {distance} + {second * more} = {total} km.",
            ],
            total,
            "km",
        ),
    )


def percent(rng: random.Random) -> tuple[str, str]:
    """Percentages and discounts."""
    rate, base = rng.choice([5, 10, 15, 20, 25, 30, 40, 50, 60, 75]), rng.randint(1, 40) * 20
    part = rate * base // 100
    form = rng.randrange(3)
    if form == 0:
        return rng.choice([f"What is {rate}% of {base}?", f"Calculate {rate} percent of {base}."]), finish(
            rng, [f"{rate}% of {base} is {rate} / 100 * {base} = {part}."], part
        )
    if form == 1:
        item = one(rng.choice(ITEMS))
        return (
            f"The price of a {item} is ${base}. It is reduced by {rate}%. What is the new price?",
            finish(
                rng,
                [
                    f"The discount is {rate}% of {base}, which is {part}.",
                    f"The new price is {base} - {part} = {base - part}.",
                ],
                base - part,
                "dollars",
            ),
        )
    return (
        f"A town has {base} houses. {rate}% of them are new. How many houses are not new?",
        finish(
            rng,
            [f"New houses: {rate}% of {base} = {part}.", f"The others are {base} - {part} = {base - part}."],
            base - part,
            "houses",
        ),
    )


def equation(rng: random.Random) -> tuple[str, str]:
    """Linear equations in one unknown."""
    a, x, b = rng.randint(2, 12), rng.randint(-9, 15), rng.randint(-20, 30)
    v = rng.choice("xxxyzn")
    right, sign = a * x + b, "+" if b >= 0 else "-"
    if b == 0:
        return f"Solve for {v}: {a}{v} = {right}", finish(
            rng, [f"Divide both sides by {a}: {v} = {right} / {a} = {x}."], x
        )
    steps = [
        f"{'Subtract' if b > 0 else 'Add'} {abs(b)} {'from' if b > 0 else 'to'} both sides: {a}{v} = {right - b}.",
        f"Divide both sides by {a}: {v} = {x}.",
    ]
    question = rng.choice(
        ["Solve for {v}: ", "Solve the equation ", "Find {v} if ", "What is {v} in the equation "]
    ).format(v=v)
    return question + f"{a}{v} {sign} {abs(b)} = {right}", finish(rng, steps, x)


def pair(rng: random.Random) -> tuple[str, str]:
    """Two equations with two unknowns."""
    x, y = rng.randint(1, 30), rng.randint(1, 30)
    x, y = max(x, y), min(x, y)
    total, gap = x + y, x - y
    steps = [
        f"Let the numbers be x and y. Then x + y = {total} and x - y = {gap}.",
        f"Adding the equations gives 2x = {total + gap}, so x = {x}.",
        f"Then y = {total} - {x} = {y}.",
    ]
    return f"The sum of two numbers is {total} and their difference is {gap}. What are the numbers?", finish(
        rng, steps, f"{x} and {y}"
    )


def expression(rng: random.Random) -> tuple[str, str]:
    """Order of operations."""
    a, b, c, d = (rng.randint(2, 20) for _ in range(4))
    form = rng.randrange(4)
    if form == 0:
        text, steps, value = (
            f"{a} + {b} * {c}",
            [f"Multiply first: {b} * {c} = {b * c}.", f"Then add: {a} + {b * c} = {a + b * c}."],
            a + b * c,
        )
    elif form == 1:
        text, steps, value = (
            f"({a} + {b}) * {c}",
            [f"Parentheses first: {a} + {b} = {a + b}.", f"Then multiply: {a + b} * {c} = {(a + b) * c}."],
            (a + b) * c,
        )
    elif form == 2:
        text = f"{a} * {b} - {c} * {d}"
        steps, value = (
            [f"{a} * {b} = {a * b}.", f"{c} * {d} = {c * d}.", f"{a * b} - {c * d} = {a * b - c * d}."],
            a * b - c * d,
        )
    else:
        text, value = f"{a * b} / {b} + {c}", a + c
        steps = [f"Divide first: {a * b} / {b} = {a}.", f"Then add: {a} + {c} = {a + c}."]
    return rng.choice(
        ["Calculate {}.", "What is {}?", "Evaluate {}.", "Compute the value of {}.", "Simplify: {}"]
    ).format(text), finish(rng, steps, value)


def long_sum(rng: random.Random) -> tuple[str, str]:
    """Sums, differences and products of larger numbers."""
    a, b = rng.randint(100, 9999), rng.randint(100, 9999)
    form = rng.randrange(3)
    if form == 0:
        return f"What is {a} + {b}?", f"{a} + {b} = {a + b}"
    if form == 1:
        a, b = max(a, b), min(a, b)
        return f"What is {a} - {b}?", f"{a} - {b} = {a - b}"
    a, b = rng.randint(11, 99), rng.randint(11, 99)
    tens, ones = b // 10 * 10, b % 10
    steps = [
        f"Split {b} into {tens} + {ones}.",
        f"{a} * {tens} = {a * tens}.",
        f"{a} * {ones} = {a * ones}.",
        f"{a * tens} + {a * ones} = {a * b}.",
    ]
    return rng.choice([f"What is {a} * {b}?", f"Multiply {a} by {b}.", f"What is {a} times {b}?"]), finish(
        rng, steps, a * b
    )


def divisors(rng: random.Random) -> tuple[str, str]:
    """Greatest common divisor, least common multiple, factorisation."""
    form = rng.randrange(3)
    if form == 2:
        n = left = rng.randint(12, 400)
        steps, factors, f = [], [], 2
        while left > 1:
            if left % f == 0:
                steps.append(f"{left} / {f} = {left // f}.")
                factors.append(f)
                left //= f
            else:
                f += 1
        return f"Find the prime factorization of {n}.", finish(rng, steps, " * ".join(map(str, factors)))
    g = rng.randint(2, 15)
    a, b = g * rng.randint(2, 12), g * rng.randint(2, 12)
    big, small, steps = max(a, b), min(a, b), []
    while small:
        steps.append(f"{big} = {big // small} * {small} + {big % small}.")
        big, small = small, big % small
    if form == 0:
        return rng.choice([f"What is the greatest common divisor of {a} and {b}?", f"Find gcd({a}, {b})."]), finish(
            rng, steps, big
        )
    steps += [
        f"The greatest common divisor is {big}.",
        f"The least common multiple is {a} * {b} / {big} = {a * b // big}.",
    ]
    return f"What is the least common multiple of {a} and {b}?", finish(rng, steps, a * b // big)


def geometry(rng: random.Random) -> tuple[str, str]:
    """Areas, perimeters, volumes, Pythagoras."""
    a, b, c = rng.randint(2, 30), rng.randint(2, 30), rng.randint(2, 12)
    form = rng.randrange(6)
    if form == 0:
        return (
            f"A rectangle is {a} cm long and {b} cm wide. What is its area?",
            finish(rng, ["The area is length times width.", f"{a} * {b} = {a * b}."], a * b, "square cm"),
        )
    if form == 1:
        return (
            f"Find the perimeter of a rectangle with sides {a} and {b}.",
            finish(rng, [f"The perimeter is 2 * ({a} + {b}) = 2 * {a + b} = {2 * (a + b)}."], 2 * (a + b)),
        )
    if form == 2:
        return (
            f"A triangle has base {2 * a} and height {b}. What is its area?",
            finish(rng, [f"The area is base times height divided by 2: {2 * a} * {b} / 2 = {a * b}."], a * b),
        )
    if form == 3:
        return (
            f"What is the volume of a box of {a} by {b} by {c}?",
            finish(rng, [f"{a} * {b} = {a * b}.", f"{a * b} * {c} = {a * b * c}."], a * b * c),
        )
    if form == 4:
        x, y, z = rng.choice([(3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25)])
        k = rng.randint(1, 6)
        x, y, z = x * k, y * k, z * k
        return (
            f"The legs of a right triangle are {x} and {y}. How long is the hypotenuse?",
            finish(
                rng,
                [f"By the theorem of Pythagoras, c^2 = {x}^2 + {y}^2 = {x * x} + {y * y} = {z * z}.", f"So c = {z}."],
                z,
            ),
        )
    return (
        f"What is the area of a circle with radius {a}?",
        finish(rng, ["The area of a circle is pi * r^2.", f"{a}^2 = {a * a}."], f"{a * a} * pi"),
    )


def sequence(rng: random.Random) -> tuple[str, str]:
    """Next terms and sums of sequences."""
    start, step = rng.randint(1, 30), rng.randint(2, 12)
    terms = [start + step * i for i in range(5)]
    if rng.random() < 0.5:
        return (
            f"What is the next number in the sequence {', '.join(map(str, terms))}?",
            finish(
                rng,
                [f"Each term is {step} more than the one before.", f"{terms[-1]} + {step} = {terms[-1] + step}."],
                terms[-1] + step,
            ),
        )
    n = rng.randint(5, 40)
    last = start + step * (n - 1)
    return (
        f"Find the sum of the first {n} terms of the arithmetic sequence {terms[0]}, {terms[1]}, {terms[2]}, ...",
        finish(
            rng,
            [
                f"The last term is {start} + {n - 1} * {step} = {last}.",
                f"The sum is {n} * ({start} + {last}) / 2 = {n * (start + last) // 2}.",
            ],
            n * (start + last) // 2,
        ),
    )


def quadratic(rng: random.Random) -> tuple[str, str]:
    """Quadratic equations with whole roots."""
    r, s = sorted((rng.randint(-9, 9), rng.randint(-9, 9)))
    b, c = -(r + s), r * s

    def term(n: int, name: str) -> str:
        return "" if n == 0 else f" {'+' if n > 0 else '-'} {'' if abs(n) == 1 and name else abs(n)}{name}"

    def factor(root: int) -> str:
        return "x" if root == 0 else f"(x {'-' if root > 0 else '+'} {abs(root)})"

    steps = [
        f"We need two numbers with sum {r + s} and product {c}: {r} and {s}.",
        f"So the equation is {factor(r)}{factor(s)} = 0.",
    ]
    return rng.choice(
        ["Solve ", "Find the roots of ", "Solve for x: "]
    ) + f"x^2{term(b, 'x')}{term(c, '')} = 0", finish(rng, steps, f"x = {r} or x = {s}" if r != s else f"x = {r}")


def fractions(rng: random.Random) -> tuple[str, str]:
    """Sums of fractions."""
    b, d = rng.randint(2, 9), rng.randint(2, 9)
    a, c = rng.randint(1, b), rng.randint(1, d)
    common = math.lcm(b, d)
    x, y = a * common // b, c * common // d
    total = Fraction(x + y, common)
    steps = [
        f"The common denominator is {common}.",
        f"{a}/{b} = {x}/{common} and {c}/{d} = {y}/{common}.",
        f"{x}/{common} + {y}/{common} = {x + y}/{common}.",
    ]
    if total.denominator != common:
        steps.append(f"This simplifies to {total}.")
    return rng.choice([f"What is {a}/{b} + {c}/{d}?", f"Add the fractions {a}/{b} and {c}/{d}."]), finish(
        rng, steps, total
    )


def choose(rng: random.Random) -> tuple[str, str]:
    """Counting and probability."""
    form = rng.randrange(3)
    if form == 0:
        n, k = rng.randint(4, 12), rng.randint(2, 3)
        top = " * ".join(str(n - i) for i in range(k))
        value = math.comb(n, k)
        return (
            f"In how many ways can {k} people be chosen from a group of {n}?",
            finish(
                rng,
                [
                    f"This is {n} choose {k}.",
                    f"{top} = {math.perm(n, k)}, divided by {k}! = {math.factorial(k)}.",
                    f"{math.perm(n, k)} / {math.factorial(k)} = {value}.",
                ],
                value,
            ),
        )
    if form == 1:
        red, blue = rng.randint(1, 12), rng.randint(1, 12)
        value = Fraction(red, red + blue)
        return (
            f"A bag has {red} red and {blue} blue balls. What is the probability of drawing a red ball?",
            finish(
                rng,
                [
                    f"There are {red} + {blue} = {red + blue} balls.",
                    f"{red} of them are red, so the probability is {red}/{red + blue}.",
                ],
                value,
            ),
        )
    n = rng.randint(3, 7)
    return (
        f"In how many orders can {n} books stand on a shelf?",
        finish(
            rng,
            [f"There are {n}! orders.", f"{' * '.join(str(i) for i in range(n, 0, -1))} = {math.factorial(n)}."],
            math.factorial(n),
        ),
    )


def average(rng: random.Random) -> tuple[str, str]:
    """Means and medians."""
    values = [rng.randint(1, 60) for _ in range(rng.choice([3, 5, 5, 7]))]
    if rng.random() < 0.5:
        ordered = sorted(values)
        return (
            f"What is the median of {', '.join(map(str, values))}?",
            finish(
                rng,
                [f"In order: {', '.join(map(str, ordered))}.", f"The middle value is {ordered[len(ordered) // 2]}."],
                ordered[len(ordered) // 2],
            ),
        )
    values[-1] += -sum(values) % len(values)
    total = sum(values)
    return (
        f"Find the average of {', '.join(map(str, values))}.",
        finish(
            rng,
            [
                f"The sum is {' + '.join(map(str, values))} = {total}.",
                f"There are {len(values)} numbers: {total} / {len(values)} = {total // len(values)}.",
            ],
            total // len(values),
        ),
    )


def derivative(rng: random.Random) -> tuple[str, str]:
    """Derivatives of polynomials."""
    a, n, b, c = rng.randint(2, 9), rng.randint(2, 6), rng.randint(2, 9), rng.randint(1, 20)
    power = "x" if n == 2 else f"x^{n - 1}"
    steps = [
        f"The derivative of {a}x^{n} is {a * n}{power}.",
        f"The derivative of {b}x is {b}.",
        f"The derivative of {c} is 0.",
    ]
    return rng.choice(
        ["Find the derivative of ", "Differentiate ", "What is the derivative of "]
    ) + f"f(x) = {a}x^{n} + {b}x + {c}", finish(rng, steps, f"{a * n}{power} + {b}")


def clock(rng: random.Random) -> tuple[str, str]:
    """Times and remainders."""
    if rng.random() < 0.5:
        h, m, add = rng.randint(1, 22), rng.choice([0, 10, 15, 20, 30, 40, 45]), rng.randint(2, 15) * 10
        end = h * 60 + m + add
        return (
            f"A film starts at {h}:{m:02} and lasts {add} minutes. When does it end?",
            finish(
                rng,
                [
                    f"{add} minutes are {add // 60} hours and {add % 60} minutes.",
                    f"{h}:{m:02} plus {add} minutes is {end // 60 % 24}:{end % 60:02}.",
                ],
                f"{end // 60 % 24}:{end % 60:02}",
            ),
        )
    a, b = rng.randint(20, 500), rng.randint(3, 12)
    return (
        f"What is the remainder when {a} is divided by {b}?",
        finish(rng, [f"{b} * {a // b} = {a // b * b}.", f"{a} - {a // b * b} = {a % b}."], a % b),
    )


def ages(rng: random.Random) -> tuple[str, str]:
    """Ages and multiples."""
    who, other = rng.sample(NAMES, 2)
    young, factor, years = rng.randint(4, 20), rng.randint(2, 4), rng.randint(2, 15)
    question = f"{who} is {factor} times as old as {other}. {other} is {young} years old. "
    question += f"How old will {who} be in {years} years?"
    steps = [
        f"{who} is {factor} * {young} = {factor * young} years old now.",
        f"In {years} years {who} will be {factor * young} + {years} = {factor * young + years}.",
    ]
    return question, finish(rng, steps, factor * young + years, "years")


def sharing(rng: random.Random) -> tuple[str, str]:
    """Division with and without remainder."""
    who, item = rng.choice(NAMES), rng.choice(ITEMS)
    people, each, left = rng.randint(2, 12), rng.randint(2, 15), rng.choice([0, 0, 1, 2])
    left = min(left, people - 1)
    total = people * each + left
    question = (
        f"{who} shares {total} {item} equally among {people} {rng.choice(['friends', 'children', 'boxes', 'bags'])}."
    )
    if left:
        return question + f" How many {item} are left over?", finish(
            rng,
            [
                f"{total} / {people} is {each} with remainder {left}.",
                f"{people} * {each} = {people * each} and {total} - {people * each} = {left}.",
            ],
            left,
            item,
        )
    return question + " How many does each get?", finish(rng, [f"{total} / {people} = {each}."], each, item)


KINDS: list[Callable[[random.Random], tuple[str, str]]] = [
    story,
    story,
    story,
    story,
    shopping,
    shopping,
    weekly,
    travel,
    percent,
    equation,
    equation,
    pair,
    expression,
    long_sum,
    divisors,
    geometry,
    geometry,
    sequence,
    quadratic,
    fractions,
    choose,
    average,
    derivative,
    clock,
    ages,
    sharing,
]


def problem(rng: random.Random) -> tuple[str, str]:
    """Return one random problem and its worked answer."""
    question, answer = rng.choice(KINDS)(rng)
    if rng.random() < 0.12:
        question += rng.choice(
            [
                " Think step by step.",
                " Show your work.",
                " Explain your reasoning.",
                "\nPut your final answer in \\boxed{}.",
            ]
        )
    return question, answer
