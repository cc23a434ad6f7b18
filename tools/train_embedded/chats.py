"""Rules that turn plain text into chats: questions and answers about code, sums, words, manuals, countries and novels.

Every rule is deterministic: the same material gives the same chats. Nothing here comes from a language model.
"""

import ast
import json
import random
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import sums

Messages = list[dict[str, str]]


@dataclass
class Function:
    """One function or method: dedented source, docstring (may be empty), class (may be empty) and file."""

    name: str
    source: str
    docstring: str
    owner: str
    origin: str


@dataclass
class Section:
    """A titled piece of a manual or dictionary: paragraphs and fenced code blocks."""

    title: str
    blocks: list[str]
    topic: str
    held: bool = False


@dataclass
class Word:
    """A dictionary word: senses as (part of speech, meaning, examples, synonyms)."""

    head: str
    senses: list[tuple[str, str, list[str], list[str]]]


@dataclass
class Material:
    """All text the rules read."""

    functions: list[Function]
    books: list[list[str]]
    verses: list[str]
    entries: list[Section]
    manuals: list[Section]
    words: list[Word]
    countries: list[dict[str, str]]
    elements: list[dict[str, str]]
    talks: list[list[str]]


@dataclass
class Chat:
    """One conversation: category, messages, and whether it is kept out of training."""

    kind: str
    messages: Messages = field(default_factory=list)
    held: bool = False


SYSTEMS = [
    "You are a helpful assistant.",
    "You are a helpful, honest and concise assistant.",
    "You are an AI assistant. Answer the user's question as well as you can.",
    "You are a knowledgeable assistant. Give clear and correct answers.",
    "Answer briefly and accurately.",
]
SYSTEMS_FOR = {
    "coding": ["You are an expert Python programmer.", "You are a coding assistant. Answer with working code."],
    "math": [
        "You are a math tutor. Show your work step by step.",
        "Solve the problem and give the final answer at the end.",
    ],
    "writing": ["You are a talented novelist.", "You are a creative writing assistant."],
    "summarization": ["You summarize documents faithfully."],
    "rag": ["Answer using only the given context."],
}


def held_out(key: str, one_in: int) -> bool:
    """Decide from the key alone whether a piece of text is kept out of training."""
    return zlib.crc32(key.encode()) % one_in == 0


def render(messages: Messages) -> str:
    """Write a chat in the template's form."""
    text = "<|bos|>"
    for message in messages:
        text += f"<|{message['role']}|>{message['content']}"
        if message["role"] == "assistant":
            text += "<|eos|>"
    return text


def talk(*turns: str) -> Messages:
    """Build messages from alternating user and assistant turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn.strip()} for i, turn in enumerate(turns)]


def with_system(chat: Chat, rng: random.Random) -> Chat:
    """Put a system message before some chats."""
    if chat.messages[0]["role"] == "user" and rng.random() < 0.15:
        prompts = SYSTEMS + SYSTEMS_FOR.get(chat.kind, []) * 3
        chat.messages.insert(0, {"role": "system", "content": rng.choice(prompts)})
    return chat


def polite(rng: random.Random, request: str) -> str:
    """Vary the tone of a request that begins with a verb."""
    draw = rng.random()
    lower = request[0].lower() + request[1:]
    if draw < 0.08:
        return "Please " + lower
    if draw < 0.14:
        end = lower.rstrip(".")
        return f"Can you {end}?" if "\n" not in lower and not lower.endswith(("?", ":")) else "Please " + lower
    return request


def sentences(text: str) -> list[str]:
    """Split prose into sentences, roughly."""
    parts: list[str] = []
    for part in re.split(
        r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)\s+(?=[\"'A-Z`*(])"
        r"|(?<=[.!?][\"')])\s+(?=[\"'A-Z`])",
        text,
    ):
        if part.strip():
            parts.append(part.strip())
    return parts


# ---- code ----------------------------------------------------------------------------------------------------------


def fence(code: str) -> str:
    """Put code in a Markdown fence."""
    return f"```python\n{code.rstrip()}\n```"


def purpose(docstring: str) -> str:
    """Return the first sentence of a docstring if it reads as a description, else an empty string."""
    first = " ".join(docstring.strip().split("\n\n")[0].split())
    first = re.split(r"(?<=[.])\s", first)[0]
    first = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", first).replace("``", "`")
    if not 18 <= len(first) <= 180 or not first[0].isalpha() or re.search(r">>>|::|\(\)\s*->|https?:|^\w+\(", first):
        return ""
    return first.rstrip(".")


def third_person(phrase: str) -> str:
    """Turn "Return the sum" into "returns the sum"; leave "Returns the sum" as it is, lower case."""
    verb, _, rest = phrase.partition(" ")
    if not verb.isalpha() or not rest:
        return ""
    verb = verb.lower()
    if verb in (
        "a",
        "an",
        "the",
        "this",
        "if",
        "for",
        "in",
        "on",
        "with",
        "like",
        "same",
        "see",
        "when",
        "and",
        "not",
        "all",
        "is",
        "it",
    ):
        return ""
    if not verb.endswith("s"):
        if verb.endswith("y") and verb[-2] not in "aeou":
            verb = verb[:-1] + "ies"
        else:
            verb += "es" if verb.endswith(("sh", "ch", "x", "z", "o")) else "s"
    elif verb.endswith("ss"):
        verb += "es"
    return f"{verb} {rest}"


def imperative(phrase: str) -> str:
    """Turn "returns the sum" into "return the sum"."""
    verb, _, rest = phrase.partition(" ")
    if verb.endswith("ies"):
        verb = verb[:-3] + "y"
    elif re.search(r"(sh|ch|x|z|ss)es$", verb):
        verb = verb[:-2]
    elif verb.endswith("s") and not verb.endswith("ss"):
        verb = verb[:-1]
    return f"{verb} {rest}"


@dataclass
class Parsed:
    """A function taken apart."""

    name: str
    header: str
    body: str
    source: str
    arguments: list[str]
    does: str
    node: ast.FunctionDef


def take_apart(function: Function) -> Parsed | None:
    """Split a function into header and body without its docstring; None if that cannot be done cleanly."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(function.source).body[0]
    except (SyntaxError, ValueError, IndexError):
        return None
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return None
    lines = function.source.split("\n")
    first = node.body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    start = (first.end_lineno if documented else first.lineno - 1) or 0
    if documented and len(node.body) == 1:
        return None
    head_end = first.lineno - 1
    header = "\n".join(lines[:head_end])
    while header.split("\n")[-1].strip().startswith("#") or not header.split("\n")[-1].strip():
        header = header.rpartition("\n")[0]
        if not header:
            return None
    if not header.rstrip().endswith(":"):
        return None
    body = "\n".join(lines[start:]).strip("\n")
    if not body.strip():
        return None
    names = [
        a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")
    ]
    does = third_person(purpose(function.docstring)) if function.docstring else ""
    return Parsed(function.name, header, body, f"{header}\n{body}", names, does, node)


def documented(parsed: Parsed, text: str) -> str:
    """Write the function with a one-line docstring."""
    return f'{parsed.header}\n    """{text[0].upper() + text[1:]}."""\n{parsed.body}'


def listed(names: list[str], word: str = "and") -> str:
    """Join names in backquotes: `a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" {word} {quoted[-1]}"


def describe(parsed: Parsed) -> list[str]:
    """Say what can be read off the syntax tree: arguments, checks, loops, calls, errors, results."""
    notes = []
    if parsed.arguments:
        count = ["one argument", "two arguments", "three arguments", "four arguments"]
        amount = count[len(parsed.arguments) - 1] if len(parsed.arguments) <= 4 else "the arguments"
        notes.append(f"It takes {amount}: {listed(parsed.arguments)}.")
    for node in parsed.node.body:
        if isinstance(node, ast.If) and len(notes) < 6:
            notes.append(f"It checks whether `{short(node.test)}`.")
        elif isinstance(node, ast.For) and len(notes) < 6:
            notes.append(f"It loops over `{short(node.iter)}`, calling each item `{short(node.target)}`.")
        elif isinstance(node, ast.While) and len(notes) < 6:
            notes.append(f"It repeats the loop while `{short(node.test)}`.")
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and len(notes) < 6:
            notes.append(f"It sets `{short(node.targets[0])}` to `{short(node.value)}`.")
        elif isinstance(node, ast.With) and len(notes) < 6:
            notes.append(f"It opens the context `{short(node.items[0].context_expr)}`.")
        elif isinstance(node, ast.Try) and len(notes) < 6:
            notes.append("It handles errors with a `try` block.")
    raised = sorted(
        {
            short(n.exc.func if isinstance(n.exc, ast.Call) else n.exc)
            for n in ast.walk(parsed.node)
            if isinstance(n, ast.Raise) and n.exc
        }
    )
    if raised:
        notes.append(f"It may raise {listed(raised[:3], 'or')}.")
    returns = [n for n in ast.walk(parsed.node) if isinstance(n, ast.Return) and n.value is not None]
    if returns:
        notes.append(f"It returns `{short(returns[-1].value)}`.")
    return [note for note in notes if "..." not in note]


def short(node: ast.AST | None) -> str:
    """Unparse an expression; a long one becomes an ellipsis, which the caller drops."""
    text = ast.unparse(node) if node is not None else ""
    return text if len(text) <= 60 and "\n" not in text else "..."


def rename(source: str, old: str, new: str) -> str:
    """Replace a whole identifier."""
    return re.sub(rf"\b{re.escape(old)}\b", new, source)


NEW_NAMES = [
    "value",
    "data",
    "item",
    "result",
    "text",
    "items",
    "source",
    "target",
    "number",
    "key",
    "options",
    "values",
    "current",
    "total",
    "first",
    "node",
    "path",
    "name",
    "buffer",
    "count",
]
SWAPS = [
    (" == ", " != "),
    (" < ", " > "),
    (" <= ", " < "),
    (" >= ", " > "),
    (" + 1", " - 1"),
    (" and ", " or "),
    ("True", "False"),
    (" is not ", " is "),
    (" not in ", " in "),
    (" + ", " - "),
    ("[0]", "[1]"),
    ("if not ", "if "),
]


def code_write(p: Parsed, rng: random.Random) -> Messages:
    """Docstring to function."""
    args = ", ".join(p.arguments)
    given = f" It should take {listed(p.arguments)}." if p.arguments and rng.random() < 0.4 else ""
    accepts = f" and accept {listed(p.arguments)}" if p.arguments else ""
    do = imperative(p.does)
    request = rng.choice(
        [
            f"Write a Python function `{p.name}` that {p.does}.{given}",
            f"Write a function that {p.does}.{given}",
            f"Write a Python function to {do}.{given}",
            f"Write a function to {do}.",
            f"Implement a Python function called `{p.name}({args})` that {p.does}.",
            f"Create a Python function named {p.name} which {p.does}.{given}",
            f"I need a Python function that {p.does}. Call it `{p.name}`.",
            f"How can I {do} in Python?",
            f"Implement `{p.name}`. It {p.does}.",
            f"Write a program to {do}.",
            f"Show me code that {p.does}.",
            f"Develop a Python function that {p.does}. The function should be named `{p.name}`{accepts}.",
        ]
    )
    code = documented(p, p.does) if rng.random() < 0.5 else p.source
    before = rng.choice(
        [
            f"Here is a Python function that {p.does}:\n\n",
            f"Here is the function `{p.name}`:\n\n",
            f"You can {do} with this function:\n\n",
            "",
            "",
            "Sure! Here is one way to write it:\n\n",
        ]
    )
    notes = describe(p)
    after = ""
    if notes and rng.random() < 0.45:
        after = "\n\n" + " ".join(notes[:4]).replace("It ", f"The function `{p.name}` ", 1)
    return talk(polite(rng, request), before + fence(code) + after)


def code_complete(p: Parsed, rng: random.Random) -> Messages:
    """Signature and docstring to the whole function."""
    stub = f'{p.header}\n    """{p.does[0].upper() + p.does[1:]}."""\n'
    code = stub.rstrip("\n") + "\n" + p.body
    request = rng.choice(
        [
            f"Complete the following Python function:\n\n{fence(stub)}",
            f"Complete this code.\n\n{fence(stub)}",
            f"Please complete the function below.\n\n{stub}",
            f"Fill in the body of this function and return the whole function.\n\n{fence(stub)}",
            f"Finish the implementation of `{p.name}`:\n\n{fence(stub)}",
            stub,
        ]
    )
    before = rng.choice(
        ["", "", "Here is the completed function:\n\n", f"Here is the implementation of `{p.name}`:\n\n"]
    )
    return talk(request, before + fence(code))


def code_explain(p: Parsed, rng: random.Random) -> Messages:
    """Function to a description."""
    request = rng.choice(
        [
            f"What does this function do?\n\n{fence(p.source)}",
            f"Explain the following code:\n\n{fence(p.source)}",
            f"Describe what `{p.name}` does.\n\n{fence(p.source)}",
            f"Explain this Python function step by step.\n\n{fence(p.source)}",
            f"Summarize this code:\n\n{fence(p.source)}",
        ]
    )
    notes = describe(p)
    if "step by step" in request or rng.random() < 0.3:
        steps = "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))
        answer = f"The function `{p.name}` {p.does}.\n\n{steps}"
    else:
        answer = f"The function `{p.name}` {p.does}. " + " ".join(notes)
    return talk(request, answer)


def code_document(p: Parsed, rng: random.Random) -> Messages:
    """Function to the same function with a docstring."""
    request = rng.choice(
        [
            f"Add a docstring to this function:\n\n{fence(p.source)}",
            f"Write a docstring for the following Python function and return the whole function.\n\n{fence(p.source)}",
            f"Document this function.\n\n{fence(p.source)}",
            f"Add a docstring and return the complete code:\n\n{fence(p.source)}",
        ]
    )
    before = rng.choice(["", "Here is the function with a docstring:\n\n"])
    return talk(request, before + fence(documented(p, p.does)))


def code_rename(p: Parsed, rng: random.Random) -> Messages | None:
    """Rename the function, an argument or a local variable."""
    local = sorted({n.id for n in ast.walk(p.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
    old = rng.choice(p.arguments + local + [p.name])
    free = [name for name in NEW_NAMES if not re.search(rf"\b{name}\b", p.source)]
    if not free or old == "_":
        return None
    new = rng.choice(free) if old != p.name else rng.choice(["my_", "new_", "safe_", "do_"]) + old.lstrip("_")
    what = "function" if old == p.name else ("argument" if old in p.arguments else "variable")
    request = rng.choice(
        [
            f"Rename the {what} `{old}` to `{new}` in this code:\n\n{fence(p.source)}",
            f"Rewrite this function so that the {what} `{old}` is called `{new}`.\n\n{fence(p.source)}",
            f"Refactor the code: rename `{old}` to `{new}`.\n\n{fence(p.source)}",
        ]
    )
    before = rng.choice(["", f"Here is the code with `{old}` renamed to `{new}`:\n\n"])
    return talk(request, before + fence(rename(p.source, old, new)))


def code_fix(p: Parsed, rng: random.Random) -> Messages | None:
    """Break one operator in the question, repair it in the answer."""
    lines = p.body.split("\n")
    spots = [
        (i, a, b)
        for i, line in enumerate(lines)
        for a, b in SWAPS
        if line.count(a) == 1 and "#" not in line and '"' not in line
    ]
    if not spots:
        return None
    i, right, wrong = rng.choice(spots)
    broken = lines.copy()
    broken[i] = broken[i].replace(right, wrong)
    bad = p.header + "\n" + "\n".join(broken)
    request = rng.choice(
        [
            f"There is a bug in this function. Find and fix it.\n\n{fence(bad)}",
            f"Fix the bug in the following code:\n\n{fence(bad)}",
            f"This code does not work as expected. What is wrong?\n\n{fence(bad)}",
            f"Debug this Python function:\n\n{fence(bad)}",
        ]
    )
    answer = f"The bug is in the line `{broken[i].strip()}`. It should be `{lines[i].strip()}`."
    answer += f" Here is the fixed function:\n\n{fence(p.source)}"
    return talk(request, answer)


def code_add(p: Parsed, rng: random.Random) -> Messages | None:
    """Add one line at the top of the body."""
    indent = re.match(r"\s*", p.body).group()  # type: ignore[union-attr]
    if not indent:
        return None
    choices = [(f'print("{p.name} called")', "a print statement at the beginning", "a print statement")]
    if p.arguments:
        arg = rng.choice(p.arguments)
        choices += [
            (
                f'if {arg} is None:\n{indent}    raise ValueError("{arg} must not be None")',
                f"a check that `{arg}` is not None",
                "the check",
            ),
            (f'print("{arg}:", {arg})', f"a line that prints `{arg}`", "the line"),
            (f'logger.debug("{p.name}: %s", {arg})', f"a debug log line for `{arg}`", "the log line"),
        ]
    line, what, name = rng.choice(choices)
    request = rng.choice(
        [
            f"Add {what} to this function:\n\n{fence(p.source)}",
            f"Change the following function: add {what}. Return the whole function.\n\n{fence(p.source)}",
        ]
    )
    before = rng.choice(["", f"Here is the function with {name} added:\n\n"])
    return talk(request, before + fence(f"{p.header}\n{indent}{line}\n{p.body}"))


def code_untype(p: Parsed, rng: random.Random) -> Messages | None:
    """Untyped header in the question, typed header in the answer."""
    if "->" not in p.header or "\n" in p.header:
        return None
    bare = ast.FunctionDef(p.node.name, p.node.args, [ast.Pass()], [], None)
    for a in (
        bare.args.posonlyargs
        + bare.args.args
        + bare.args.kwonlyargs
        + [x for x in (bare.args.vararg, bare.args.kwarg) if x]
    ):
        a.annotation = None
    header = ast.unparse(ast.fix_missing_locations(bare)).split("\n")[0]
    request = rng.choice(
        [
            f"Add type hints to this Python function:\n\n{fence(header + chr(10) + p.body)}",
            f"Add type annotations and return the whole function.\n\n{fence(header + chr(10) + p.body)}",
        ]
    )
    before = rng.choice(["", "Here is the function with type hints:\n\n"])
    return talk(request, before + fence(p.source))


def code_example(function: Function, p: Parsed, rng: random.Random) -> Messages | None:
    """Show the examples of a docstring."""
    blocks = re.findall(r"((?:^\s*>>> .*\n(?:^(?!\s*>>>)\s*\S.*\n)*)+)", function.docstring + "\n", re.M)
    if not blocks or not p.does:
        return None
    example = "\n".join(line.strip() for line in blocks[0].strip().split("\n")[:12])
    request = rng.choice(
        [
            f"Show an example of how to use `{p.name}`. It {p.does}.",
            f"Give me a usage example for the function `{p.name}`, which {p.does}.",
            f"How do I use `{p.name}` to {imperative(p.does)}?",
        ]
    )
    return talk(request, f"Here is an example of `{p.name}`:\n\n{fence(example)}")


def coding(material: Material) -> Iterator[Chat]:
    """All chats about code."""
    for function in material.functions:
        rng = random.Random(zlib.crc32(function.source.encode()))
        p = take_apart(function)
        if p is None or len(p.source) > 1300:
            continue
        held = held_out(function.origin, 45)
        plain = not function.owner and not p.name.startswith("_")
        made: list[Messages | None] = []
        if p.does:
            if plain or rng.random() < 0.35:
                made.append(rng.choice([code_write, code_write, code_complete])(p, rng))
            if rng.random() < 0.22:
                made.append(code_explain(p, rng))
            if rng.random() < 0.18:
                made.append(code_document(p, rng))
            if rng.random() < 0.5:
                made.append(code_example(function, p, rng))
        if len(p.source) > 100 and rng.random() < 0.3:
            edit: Callable[[Parsed, random.Random], Messages | None] = rng.choice(
                [code_rename, code_rename, code_fix, code_fix, code_add, code_untype]
            )
            made.append(edit(p, rng))
        chats = [messages for messages in made if messages]
        if len(chats) >= 2 and rng.random() < 0.4:
            follow = code_follow_up(p, chats[0], rng)
            chats = [chats[0] + follow, *chats[2:]] if follow else chats
        for messages in chats:
            yield with_system(Chat("coding", messages, held), rng)


def code_follow_up(p: Parsed, first: Messages, rng: random.Random) -> Messages:
    """A second turn about the code of the first answer."""
    if p.source not in first[-1]["content"]:
        return []
    if rng.random() < 0.5 and p.does:
        notes = describe(p)
        question = rng.choice(["Now explain how it works.", "Can you explain the code?", "Explain it step by step."])
        return talk(question, f"The function `{p.name}` {p.does}. " + " ".join(notes))
    again = code_rename(p, rng) or code_add(p, rng)
    if not again:
        return []
    request = (
        again[0]["content"].split("\n\n")[0].replace("in this code", "").replace("to this function", "").rstrip(": ")
        + "."
    )
    return talk(re.sub(r"\.\.$", ".", request), again[1]["content"])


# ---- words, facts and manuals --------------------------------------------------------------------------------------


def article(word: str) -> str:
    """Put a or an before a word."""
    return ("an " if word[0].lower() in "aeiou" else "a ") + word


def words(material: Material) -> Iterator[Chat]:
    """Definitions, synonyms and example sentences."""
    for word in material.words:
        rng = random.Random(zlib.crc32(word.head.encode()))
        part, meaning, examples, synonyms = word.senses[0]
        draw = rng.random()
        if draw > 0.6:
            continue
        noun = article(word.head) if part == "noun" and word.head.islower() else word.head
        if draw < 0.42:
            request = rng.choice(
                [
                    f'What does "{word.head}" mean?',
                    f"Define {word.head}.",
                    f"What is {noun}?",
                    f"What is the meaning of the word {word.head}?",
                    f"Explain the word '{word.head}'.",
                    f"Tell me what {word.head} means.",
                    f"What is the definition of {word.head}?",
                ]
            )
            answer = rng.choice(
                [
                    f"{word.head[0].upper() + word.head[1:]} ({part}): {meaning}.",
                    f"**{word.head}** ({part}) means: {meaning}.",
                    f"The {part} {word.head} means {meaning}.",
                    f'"{word.head}" is {article(part)} that means {meaning}.',
                ]
            )
            if examples and rng.random() < 0.6:
                answer += f' For example: "{examples[0]}".'
            if synonyms and rng.random() < 0.4:
                answer += f" Synonyms include {', '.join(synonyms[:4])}."
            if len(word.senses) > 1 and rng.random() < 0.4:
                answer += f" It can also mean {word.senses[1][1]}."
        elif draw < 0.5 and len(synonyms) >= 2:
            request = rng.choice(
                [
                    f"Give me synonyms for {word.head}.",
                    f"List some synonyms of the word {word.head}.",
                    f"What are other words for {word.head}?",
                ]
            )
            answer = f"Here are some synonyms for {word.head}:\n\n" + "\n".join(f"- {s}" for s in synonyms[:8])
        elif examples:
            request = rng.choice(
                [
                    f"Use the word {word.head} in a sentence.",
                    f"Give me an example sentence with {word.head}.",
                    f'Write a sentence with "{word.head}".',
                ]
            )
            answer = examples[0][0].upper() + examples[0][1:] + ("" if examples[0][-1] in ".!?" else ".")
        else:
            continue
        yield with_system(Chat("qa", talk(request, answer), held_out(word.head, 60)), rng)


def entries(material: Material) -> Iterator[Chat]:
    """Questions about the jargon of programmers and the Devil's Dictionary."""
    for entry in material.entries:
        rng = random.Random(zlib.crc32(entry.title.encode()))
        text = "\n\n".join(entry.blocks[: rng.choice([1, 1, 2, 3])])
        if len(text) > 1500:
            text = entry.blocks[0][:1500].rpartition(".")[0] + "."
        if entry.topic == "devil":
            request = rng.choice(
                [
                    f"Give me a cynical definition of {entry.title}.",
                    f"How would Ambrose Bierce define {entry.title}?",
                    f"Write a witty definition of the word {entry.title}.",
                ]
            )
        else:
            request = rng.choice(
                [
                    f"What does the hacker term '{entry.title}' mean?",
                    f"What is {entry.title} in programming slang?",
                    f"Explain the term {entry.title}.",
                    f"In the jargon of programmers, what does {entry.title} mean?",
                    f"What is '{entry.title}'?",
                ]
            )
        yield with_system(Chat("qa", talk(request, text), entry.held), rng)


TOPICS = {"python": "Python", "postgresql": "PostgreSQL", "sqlite": "SQLite"}


def prose_of(section: Section) -> list[str]:
    """The paragraphs of a section that are sentences."""
    return [b for b in section.blocks if not b.startswith("```") and len(b) > 60 and b[0].isupper() and b[-1] in ".:!?"]


def manuals(material: Material) -> Iterator[Chat]:
    """Explanations, summaries and questions on passages from manuals."""
    for index, section in enumerate(material.manuals):
        rng = random.Random(index * 7919 + 13)
        topic = TOPICS[section.topic]
        prose = prose_of(section)
        if not prose or not 3 < len(section.title) < 80:
            continue
        draw = rng.random()
        if draw < 0.62:
            name = section.title.rstrip(".:")
            function = re.match(r"([\w.]+)\(", name)
            if function:
                request = rng.choice(
                    [
                        f"What does `{function.group(1)}` do in {topic}?",
                        f"Explain `{function.group(1)}` in {topic}.",
                        f"How does `{function.group(1)}` work?",
                        f"Describe the {topic} function `{name}`.",
                    ]
                )
            else:
                request = rng.choice(
                    [
                        f"Explain {name} in {topic}.",
                        f"What should I know about {name} in {topic}?",
                        f"{topic}: {name}",
                        f"Describe the following topic: {name}.",
                        f"How does {name} work in {topic}?",
                        f"Explain the concept of {name}.",
                        f"Write a short explanation of {name}.",
                    ]
                )
            blocks, size = [], 0
            for block in section.blocks[: rng.choice([1, 2, 3, 4])]:
                if size + len(block) > 1500 and blocks:
                    break
                blocks.append(block)
                size += len(block)
            text = "\n\n".join(blocks)
            if len(text) > 1700 or text.endswith(":"):
                text = prose[0]
            yield with_system(Chat("stem", talk(request, text), section.held), rng)
        elif draw < 0.82 and len(prose) >= 2:
            yield with_system(Chat("summarization", summary(prose, rng, section.title), section.held), rng)
        elif len(prose) >= 2:
            chat = question_on(prose, rng, section.title)
            if chat:
                yield with_system(Chat("rag", chat, section.held), rng)


def summary(prose: list[str], rng: random.Random, title: str) -> Messages:
    """A passage and its first sentences."""
    passage = []
    for block in prose[:6]:
        if sum(map(len, passage)) < 2200:
            passage.append(block[:900].rpartition(".")[0] + "." if len(block) > 900 else block)
    firsts = [sentences(block)[0] for block in passage]
    text = "\n\n".join(passage)
    style = rng.random()
    if style < 0.35:
        request = rng.choice(
            [
                "Summarize the following text in bullet points:",
                "List the key points of this text:",
                "What are the main points of this passage?",
            ]
        )
        answer = "\n".join(f"- {first}" for first in firsts)
    elif style < 0.5:
        request = rng.choice(
            ["Summarize the following text in one sentence:", "Give a one-sentence summary:", "TL;DR of this text?"]
        )
        answer = firsts[0]
    else:
        request = rng.choice(
            [
                "Summarize the following text:",
                "Write a summary of this passage.",
                "Please summarize this document:",
                "Summarize the article below.",
                f"Here is a text about {title}. Summarize it.",
                "Provide a concise summary of the text below:",
            ]
        )
        answer = " ".join(firsts)
    parts = (
        (request, text) if rng.random() < 0.75 else (text, request.rstrip(":.") + ("" if request[-1] == "?" else "."))
    )
    return talk("\n\n".join(parts), answer)


def question_on(prose: list[str], rng: random.Random, title: str) -> Messages | None:
    """A question that one sentence of the passage answers."""
    passage = [block for block in prose[:5] if len(block) < 900][:3]
    candidates = []
    for block in passage:
        for sentence in sentences(block):
            nouns = [w for w in re.findall(r"`[^`]+`|[a-z]{6,}", sentence) if w not in COMMON]
            if nouns and 40 < len(sentence) < 260:
                candidates.append((sentence, nouns))
    if not candidates:
        return None
    sentence, nouns = rng.choice(candidates)
    noun = rng.choice(nouns)
    question = rng.choice(
        [
            f"What does the text say about {noun}?",
            f"According to the passage, what about {noun}?",
            f"What is said about {noun}?",
        ]
    )
    text = "\n\n".join(passage)
    request = rng.choice(
        [
            f"Context:\n{text}\n\nQuestion: {question}",
            f"Use the following passage to answer the question.\n\n{text}\n\n{question}",
            f"Answer the question based on the context.\n\nContext: {text}\n\nQuestion: {question}\nAnswer:",
            f"[Document: {title}]\n{text}\n\n{question}",
        ]
    )
    answer = rng.choice([sentence, f"According to the passage: {sentence}", f'The text says: "{sentence}"'])
    return talk(request, answer)


COMMON = {
    "should", "before", "because", "between", "through", "without", "another", "however", "although", "return",
    "returns", "following", "example", "number", "function", "whether", "itself", "certain", "called",
    "possible", "always", "either", "rather", "really", "several", "during", "against", "within", "almost",
    "nothing", "something", "everything", "anything", "herself", "himself", "little", "being", "having",
    "which", "would", "could", "their", "there", "these", "those", "other", "after", "about", "where", "while",
    "again", "never", "every",
}  # fmt: skip


FACTS = {
    "Introduction/Background": [
        "Tell me about the history of {}.",
        "Give me some background on {}.",
        "Write a short history of {}.",
    ],
    "Geography/Location": ["Where is {}?", "Where is {} located?"],
    "Geography/Climate": ["What is the climate like in {}?", "Describe the climate of {}."],
    "Geography/Terrain": ["Describe the terrain of {}."],
    "Geography/Natural resources": ["What natural resources does {} have?"],
    "Government/Capital/name": [
        "What is the capital of {}?",
        "Which city is the capital of {}?",
        "Name the capital of {}.",
    ],
    "Government/Government type": ["What kind of government does {} have?"],
    "Government/Flag description": ["Describe the flag of {}.", "What does the flag of {} look like?"],
    "Government/National holiday": ["What is the national holiday of {}?"],
    "People and Society/Languages": ["Which languages are spoken in {}?", "What languages do people speak in {}?"],
    "People and Society/Population": ["How many people live in {}?", "What is the population of {}?"],
    "People and Society/Religions": ["What are the religions in {}?"],
    "Economy/Economy - overview": [
        "Describe the economy of {}.",
        "Write an essay about the economy of {}.",
        "What is the economy of {} like?",
    ],
    "Economy/Industries": ["What are the main industries of {}?"],
    "Economy/Agriculture - products": ["What agricultural products does {} have?"],
    "Economy/Exports - partners": ["Who are the main export partners of {}?"],
    "Transnational Issues/Disputes - international": ["What international disputes does {} have?"],
    "Geography/Environment - current issues": [
        "What are the environmental issues in {}?",
        "Discuss the environmental problems of {}.",
    ],
}
FRAMES = {
    "Government/Capital/name": "The capital of {} is {}.",
    "Geography/Location": "{} is located in {}.",
    "People and Society/Population": "{} has a population of {}.",
    "Geography/Natural resources": "The natural resources of {} include {}.",
    "Economy/Industries": "The main industries of {} are {}.",
    "Economy/Agriculture - products": "Agricultural products of {} include {}.",
    "Economy/Exports - partners": "The main export partners of {} are {}.",
    "Government/Government type": "{} is governed as a {}.",
    "Geography/Climate": "The climate of {} is {}.",
    "Geography/Terrain": "The terrain of {} is {}.",
}


def countries(material: Material) -> Iterator[Chat]:
    """Geography, history and economy."""
    for country in material.countries:
        name = country["name"]
        rng = random.Random(zlib.crc32(name.encode()))
        held = held_out(name, 30)
        for key, questions in FACTS.items():
            text = country.get(key, "")
            if not 3 <= len(text) < 1800:
                continue
            answer = (
                FRAMES[key].format(name, text.split(" (")[0] if key.endswith("name") else text)
                if key in FRAMES
                else text[0].upper() + text[1:]
            )
            answer = answer if answer.endswith((".", ")", "!")) else answer + "."
            answer = answer.replace("..", ".")
            for question in questions if len(text) < 300 else [rng.choice(questions)]:
                yield with_system(Chat("humanities", talk(question.format(name), answer), held), rng)
        overview, past = country.get("Economy/Economy - overview", ""), country.get("Introduction/Background", "")
        passage = [
            block
            for block in (past, overview, country.get("Transnational Issues/Disputes - international", ""))
            if 150 < len(block) < 2400
        ]
        if len(passage) >= 2:
            yield with_system(Chat("summarization", summary(passage, rng, name), held), rng)
            chat = question_on(
                [
                    s
                    for block in passage
                    for s in (" ".join(sentences(block)[:4]), " ".join(sentences(block)[4:8]))
                    if s
                ],
                rng,
                name,
            )
            if chat:
                yield with_system(Chat("rag", chat, held), rng)
        if past and rng.random() < 0.5:
            request = rng.choice(
                [
                    f"Write a blog post about {name}.",
                    f"Write a travel article about {name}.",
                    f"Write an essay about {name}.",
                ]
            )
            parts = [f"# {name}", " ".join(sentences(past)[:5])]
            if country.get("Geography/Climate"):
                parts.append(f"The climate of {name} is {country['Geography/Climate']}.")
            if overview:
                parts.append(" ".join(sentences(overview)[:3]))
            yield with_system(Chat("writing", talk(request, "\n\n".join(parts)), held), rng)


def elements(material: Material) -> Iterator[Chat]:
    """Chemical elements."""
    for element in material.elements:
        rng = random.Random(zlib.crc32(element["name"].encode()))
        name, held = element["name"], held_out(element["name"], 30)
        yield Chat(
            "qa",
            talk(
                rng.choice([f"What is the symbol of {name}?", f"What is the chemical symbol for {name}?"]),
                f"The chemical symbol of {name} is {element['symbol']}.",
            ),
            held,
        )
        yield Chat(
            "qa",
            talk(f"What is the atomic number of {name}?", f"The atomic number of {name} is {element['number']}."),
            held,
        )
        yield with_system(
            Chat(
                "stem",
                talk(
                    rng.choice([f"Tell me about the element {name}.", f"What is {name}?", f"Describe {name}."]),
                    "{text} Its symbol is {symbol} and its atomic number is {number}.".format(**element),
                ),
                held,
            ),
            rng,
        )


# ---- prose ---------------------------------------------------------------------------------------------------------


CAST = {
    "pride": ["Elizabeth Bennet", "Mr. Darcy", "Mrs. Bennet", "Mr. Collins", "Jane Bennet", "Lady Catherine"],
    "sense": ["Elinor Dashwood", "Marianne Dashwood", "Colonel Brandon", "Mrs. Jennings", "Edward Ferrars"],
    "mansfi": ["Fanny Price", "Edmund Bertram", "Mrs. Norris", "Mary Crawford", "Sir Thomas"],
    "emma": ["Emma Woodhouse", "Mr. Knightley", "Miss Bates", "Harriet Smith", "Frank Churchill"],
    "northan": ["Catherine Morland", "Henry Tilney", "Isabella Thorpe", "John Thorpe"],
    "moby": ["Ishmael", "Captain Ahab", "Starbuck", "Stubb", "Queequeg"],
    "persua": ["Anne Elliot", "Captain Wentworth", "Sir Walter", "Mrs. Croft", "Mary Musgrove"],
}


def rare_words(text: str, frequency: dict[str, int], count: int) -> list[str]:
    """The rarest lower-case words of a text that still occur elsewhere."""
    found = {w for w in re.findall(r"\b[a-z]{5,}\b", text) if 4 <= frequency.get(w, 0) <= 300 and w not in COMMON}
    nouns = sorted(
        found,
        key=lambda w: (
            not w.endswith(("tion", "ness", "ment", "ity", "ance", "ence", "age", "er", "or")),
            frequency[w],
            w,
        ),
    )
    return nouns[:count]


def spoken(paragraph: str) -> str:
    """The quoted words of a paragraph."""
    return " ".join(" ".join(re.findall(r'"([^"]+)"', paragraph)).split())


def novels(material: Material) -> Iterator[Chat]:
    """Stories, continuations, summaries and dialogues from the novels."""
    frequency: dict[str, int] = {}
    for book in material.books:
        for paragraph in book:
            for word in set(re.findall(r"\b[a-z]{5,}\b", paragraph)):
                frequency[word] = frequency.get(word, 0) + 1
    for book in material.books:
        title = book[0].lower()
        cast = next((names for key, names in CAST.items() if key in title), ["Miss Grey", "Mr. Hill"])
        held = "persuasion" in title
        body = [p for p in book if len(p) > 25 and not re.match(r"(CHAPTER|VOLUME|Chapter|Volume|THE END|Finis)", p)]
        rng = random.Random(zlib.crc32(title.encode()))
        start = 0
        while start < len(body) - 4:
            take = rng.choice([1, 1, 1, 2, 2, 3])
            passage = body[start : start + take]
            while len(passage) > 1 and sum(map(len, passage)) > 1800:
                passage.pop()
            start += len(passage)
            text = "\n\n".join(passage)
            if len(text) < 180 or len(text) > 2200:
                continue
            yield with_system(
                Chat("writing", writing_request(text, body[start - len(passage) - 1], frequency, cast, rng), held), rng
            )
            if rng.random() < 0.16 and len(body[start]) > 200:
                yield with_system(
                    Chat(
                        "summarization",
                        summary([p for p in body[start : start + 3] if len(p) > 120] or [text], rng, "an old novel"),
                        held,
                    ),
                    rng,
                )
        for _ in range(3):
            yield from dialogues(body, cast, held, rng)


def writing_request(
    text: str, previous: str, frequency: dict[str, int], cast: list[str], rng: random.Random
) -> Messages:
    """A request that the passage answers."""
    themes = rare_words(text, frequency, 4)
    draw = rng.random()
    if draw < 0.2:
        sentence = " ".join(sentences(previous)[-3:])
        request = (
            rng.choice(
                ["Continue the story:", "Continue this text:", "What happens next?", "Write the next paragraph:"]
            )
            + "\n\n"
            + sentence
        )
        return talk(request, text)
    if draw < 0.3:
        parts = sentences(text)
        if len(parts) >= 3:
            return talk(
                rng.choice(["Continue this story: ", "Write a story that begins like this: ", "Finish this: "])
                + parts[0],
                text,
            )
    if len(themes) < 2:
        return talk(
            rng.choice(
                [
                    "Write a short scene from a novel.",
                    "Tell me a story.",
                    "Write a short story.",
                    "Write something in the style of Jane Austen.",
                ]
            ),
            text,
        )
    some = " and ".join(themes[:2]) if rng.random() < 0.6 else f"{themes[0]}, {themes[1]} and {themes[-1]}"
    names = [name for name in cast if name.split()[-1] in text]
    about = f"{names[0]} and {article(themes[0])}" if names and rng.random() < 0.5 else some
    request = rng.choice(
        [
            f"Write a short story about {about}.",
            f"Write a story about {about}.",
            f"Tell me a story about {about}.",
            f"Write a scene about {about}.",
            f"Compose a short passage about {about}.",
            f"Write a paragraph in the style of Jane Austen about {about}.",
            f"Describe {about} in the style of an old novel.",
            f"Write an engaging narrative about {about}.",
            f"Imagine a scene with {about}. Describe it.",
            f"Write a creative text with the words {', '.join(themes[:3])}.",
        ]
    )
    return talk(polite(rng, request), text)


def dialogues(body: list[str], cast: list[str], held: bool, rng: random.Random) -> Iterator[Chat]:
    """Consecutive spoken paragraphs as role play."""
    lines: list[str] = []
    for paragraph in [*body, ""]:
        speech = spoken(paragraph) if paragraph.startswith('"') else ""
        if 8 < len(speech) < 900:
            lines.append(speech)
            continue
        while len(lines) >= 2:
            lines = lines[rng.random() < 0.5 and len(lines) > 2 :]
            take = min(len(lines), rng.choice([2, 2, 4, 4, 6]))
            take -= take % 2
            turns, lines = lines[:take], lines[take:]
            role = rng.choice(cast)
            form = rng.random()
            if form < 0.45:
                system = rng.choice(
                    [
                        f"You are {role}. Stay in character.",
                        f"You play {role}, a character in a novel. Answer as {role} would.",
                        f"Role play: you are {role}.",
                        f"Pretend that you are {role}.",
                    ]
                )
                yield Chat("roleplay", [{"role": "system", "content": system}, *talk(*turns)], held)
            elif form < 0.8:
                first = rng.choice(
                    [
                        f"You are {role}. Reply to me in character.\n\n",
                        f"Pretend you are {role} and answer: ",
                        f"Act as {role}. I say: ",
                        f"Let us play a role. You are {role}. ",
                        f"Please take on the role of {role}. ",
                    ]
                )
                yield Chat("roleplay", talk(first + turns[0], *turns[1:]), held)
            else:
                yield Chat("roleplay", talk(*turns), held)
        lines = []


def poems(material: Material) -> Iterator[Chat]:
    """Short poems from the Psalms and Proverbs, asked for by a word in them."""
    verses = [(int(m.group(1)), m.group(2)) for v in material.verses if (m := re.match(r"(\d+):\d+ (.*)", v))]
    for start in range(13_950, min(17_300, len(verses)), 4):
        rng = random.Random(start)
        lines = [
            re.sub(r"[{}\[\]]", "", text).replace(": ", ":\n").replace("; ", ";\n")
            for _, text in verses[start : start + rng.choice([2, 3, 4])]
        ]
        text = "\n".join(lines)
        themes = [w for w in re.findall(r"\b[a-z]{5,}\b", text) if w not in COMMON]
        if themes and len(text) < 900:
            theme = rng.choice(themes)
            request = rng.choice(
                [
                    f"Write a poem about {theme}.",
                    f"Write a short poem with the word {theme}.",
                    f"Compose a psalm about {theme}.",
                ]
            )
            yield Chat("writing", talk(request, text), held_out(f"poem{start}", 30))


def small_talk(material: Material) -> Iterator[Chat]:
    """Greetings and small talk."""
    for turns in material.talks:
        rng = random.Random(zlib.crc32(turns[0].encode()))
        pairs = turns[: len(turns) // 2 * 2]
        yield with_system(Chat("chat", talk(*pairs), held_out(turns[0], 25)), rng)


# ---- lists, tables, numbers ----------------------------------------------------------------------------------------


def structured(material: Material, count: int) -> Iterator[Chat]:
    """Lists, tables, JSON, sorting and number words."""
    nouns = [
        w.head
        for w in material.words
        if w.senses[0][0] == "noun" and w.head.islower() and " " not in w.head and len(w.head) < 9
    ]
    places = [
        c for c in material.countries if c.get("Government/Capital/name") and c.get("People and Society/Population")
    ]
    for index in range(count):
        rng = random.Random(index * 31 + 5)
        make = rng.choice(
            [
                sort_words,
                sort_numbers,
                capital_table,
                element_table,
                record_json,
                word_count,
                multiplication_table,
                number_words,
                number_words,
                reverse_words,
                numbered_list,
                roman,
                csv_table,
                plan,
                email,
            ]
        )
        messages = make(rng, nouns, places, material.elements)
        yield with_system(Chat("structured", messages, index % 80 == 0), rng)


def sort_words(rng, nouns, places, elements):
    """Sort words by the alphabet."""
    some = rng.sample(nouns, rng.randint(4, 9))
    back = rng.random() < 0.25
    how = "in reverse alphabetical order" if back else rng.choice(["alphabetically", "in alphabetical order"])
    request = f"Sort these words {how}: {', '.join(some)}."
    ordered = sorted(some, reverse=back)
    return talk(
        request, ", ".join(ordered) if rng.random() < 0.5 else "\n".join(f"{i}. {w}" for i, w in enumerate(ordered, 1))
    )


def sort_numbers(rng, nouns, places, elements):
    """Sort numbers."""
    some = [rng.randint(1, 99) for _ in range(rng.randint(4, 9))]
    down = rng.random() < 0.4
    request = f"Sort the numbers {', '.join(map(str, some))} in {'descending' if down else 'ascending'} order."
    return talk(request, ", ".join(map(str, sorted(some, reverse=down))))


def table(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def capital_table(rng, nouns, places, elements):
    """Countries and capitals."""
    some = rng.sample(places, rng.randint(3, 6))
    names = [c["name"] for c in some]
    rows = [
        [
            c["name"],
            re.split(r"[;(]", c["Government/Capital/name"])[0].strip(),
            c["People and Society/Population"].split()[0],
        ]
        for c in some
    ]
    if rng.random() < 0.5:
        return talk(
            f"Make a table with the capital and population of {', '.join(names)}.",
            table(["Country", "Capital", "Population"], rows),
        )
    return talk(f"List the capitals of {', '.join(names)}.", "\n".join(f"- {r[0]}: {r[1]}" for r in rows))


def element_table(rng, nouns, places, elements):
    """Elements as a table or JSON."""
    some = rng.sample(elements, rng.randint(3, 6))
    names = ", ".join(e["name"] for e in some)
    if rng.random() < 0.5:
        return talk(
            f"Create a table of the elements {names} with symbol and atomic number.",
            table(["Element", "Symbol", "Atomic number"], [[e["name"], e["symbol"], e["number"]] for e in some]),
        )
    data = [{"name": e["name"], "symbol": e["symbol"], "number": int(e["number"])} for e in some]
    return talk(f"Give me the elements {names} as JSON.", "```json\n" + json.dumps(data, indent=2) + "\n```")


PEOPLE = sums.NAMES


def record_json(rng, nouns, places, elements):
    """A sentence to JSON and back."""
    record = {
        "name": rng.choice(PEOPLE),
        "age": rng.randint(18, 80),
        "city": rng.choice(places)["Government/Capital/name"].split(";")[0].split(" (")[0],
        "likes": rng.sample(nouns, 2),
    }
    sentence = "{name} is {age} years old, lives in {city} and likes {likes[0]} and {likes[1]}.".format(**record)
    text = "```json\n" + json.dumps(record, indent=2, ensure_ascii=False) + "\n```"
    if rng.random() < 0.7:
        return talk(
            rng.choice(["Convert this sentence to JSON: ", "Extract the name, age, city and likes as JSON.\n\n"])
            + sentence,
            text,
        )
    return talk("Write one sentence from this JSON:\n\n" + text, sentence)


def word_count(rng, nouns, places, elements):
    """Count the letters of words."""
    some = rng.sample(nouns, rng.randint(2, 5))
    return talk(
        f"How many letters does each of these words have: {', '.join(some)}?",
        "\n".join(f"- {w}: {len(w)} letters" for w in some),
    )


def multiplication_table(rng, nouns, places, elements):
    """Part of the multiplication table."""
    n, last = rng.randint(2, 15), rng.choice([5, 10, 10, 12])
    return talk(
        rng.choice([f"Write the multiplication table of {n} up to {last}.", f"Show the {n} times table up to {last}."]),
        "\n".join(f"{n} x {i} = {n * i}" for i in range(1, last + 1)),
    )


ONES = {
    "German": "null eins zwei drei vier fünf sechs sieben acht neun zehn "
    "elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig",
    "French": "zéro un deux trois quatre cinq six sept huit neuf dix "
    "onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf vingt",
    "Spanish": "cero uno dos tres cuatro cinco seis siete ocho nueve diez "
    "once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve veinte",
    "Italian": "zero uno due tre quattro cinque sei sette otto nove dieci "
    "undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove venti",
    "Portuguese": "zero um dois três quatro cinco seis sete oito nove dez "
    "onze doze treze catorze quinze dezesseis dezessete dezoito dezenove vinte",
    "Dutch": "nul een twee drie vier vijf zes zeven acht negen tien "
    "elf twaalf dertien veertien vijftien zestien zeventien achttien negentien twintig",
}
DAYS = {
    "English": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "German": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "French": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "Spanish": "lunes martes miércoles jueves viernes sábado domingo",
    "Italian": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
}


def number_words(rng, nouns, places, elements):
    """Number words and days in several languages."""
    draw = rng.random()
    if draw < 0.25:
        language = rng.choice([k for k in DAYS if k != "English"])
        return talk(
            rng.choice([f"List the days of the week in {language}.", f"What are the days of the week in {language}?"]),
            "\n".join(f"- {e}: {d}" for e, d in zip(DAYS["English"].split(), DAYS[language].split(), strict=True)),
        )
    if draw < 0.6:
        language = rng.choice(list(ONES))
        some = [rng.randint(0, 20) for _ in range(rng.randint(1, 5))]
        english = [sums.spell(n) for n in some]
        request = rng.choice(
            [
                f"Translate into {language}: {', '.join(english)}",
                f"Translate the numbers {', '.join(english)} from English to {language}.",
            ]
        )
        return talk(request, ", ".join(ONES[language].split()[n] for n in some))
    if draw < 0.8:
        some = [rng.randint(0, 9999) for _ in range(rng.randint(1, 4))]
        return talk(f"Write {', '.join(map(str, some))} in words.", "\n".join(f"{n}: {sums.spell(n)}" for n in some))
    language = rng.choice(list(ONES))
    first = rng.randint(1, 8)
    last = rng.randint(first + 4, 20)
    return talk(f"Count from {first} to {last} in {language}.", ", ".join(ONES[language].split()[first : last + 1]))


def reverse_words(rng, nouns, places, elements):
    """Reverse lists, upper and lower case."""
    some = rng.sample(nouns, rng.randint(3, 7))
    if rng.random() < 0.5:
        return talk(f"Reverse the order of this list: {', '.join(some)}", ", ".join(reversed(some)))
    return talk(f"Write these words in upper case: {', '.join(some)}", ", ".join(w.upper() for w in some))


def numbered_list(rng, nouns, places, elements):
    """Turn a line into a list."""
    some = rng.sample(nouns, rng.randint(3, 8))
    if rng.random() < 0.5:
        return talk(
            f"Make a numbered list from: {', '.join(some)}", "\n".join(f"{i}. {w}" for i, w in enumerate(some, 1))
        )
    return talk(f"Make a bullet list of these items: {', '.join(some)}", "\n".join(f"- {w}" for w in some))


def roman(rng, nouns, places, elements):
    """Other notations of numbers."""
    n = rng.randint(1, 400)
    if rng.random() < 0.4:
        left, text = n, ""
        for value, sign in (
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ):
            while left >= value:
                text, left = text + sign, left - value
        return talk(f"Write {n} as a Roman numeral.", f"{n} as a Roman numeral is {text}.")
    name, code = rng.choice([("binary", "b"), ("hexadecimal", "x"), ("octal", "o")])
    return talk(f"Convert {n} to {name}.", f"{n} in {name} is {n:{code}}.")


def csv_table(rng, nouns, places, elements):
    """CSV to a table or JSON."""
    rows = [[rng.choice(PEOPLE), str(rng.randint(18, 80)), rng.choice(nouns)] for _ in range(rng.randint(2, 5))]
    text = "name,age,item\n" + "\n".join(",".join(r) for r in rows)
    if rng.random() < 0.5:
        return talk(f"Convert this CSV to a Markdown table:\n\n{text}", table(["name", "age", "item"], rows))
    data = [{"name": a, "age": int(b), "item": c} for a, b, c in rows]
    return talk(f"Convert this CSV to JSON:\n\n{text}", "```json\n" + json.dumps(data, indent=2) + "\n```")


VERBS = [
    "Decide what you want from",
    "Read about",
    "Make a list of everything you need for",
    "Ask a friend about",
    "Set a date for",
    "Start with a small part of",
    "Write down what you learned about",
    "Check the cost of",
    "Practice every day with",
    "Look for mistakes in",
    "Take a break from",
    "Share your results about",
]


def plan(rng, nouns, places, elements):
    """A plan in steps or a list of tips."""
    topic = rng.choice(nouns)
    steps = rng.sample(VERBS, rng.randint(3, 6))
    request = rng.choice(
        [
            f"Make a plan for {article(topic)} project.",
            f"Give me {len(steps)} tips about {topic}.",
            f"How do I get started with {topic}?",
            f"What are {len(steps)} steps to learn about {topic}?",
            f"Suggest {len(steps)} ideas for {topic}.",
        ]
    )
    body = "\n".join(f"{i}. {step} the {topic}." for i, step in enumerate(steps, 1))
    return talk(request, rng.choice(["", f"Here are {len(steps)} steps:\n\n"]) + body)


def email(rng, nouns, places, elements):
    """A short letter."""
    to, sender, topic = rng.choice(PEOPLE), rng.choice(PEOPLE), rng.choice(nouns)
    day = rng.choice(DAYS["English"].split())
    request = rng.choice(
        [
            f"Write an email to {to} about the {topic}.",
            f"Write a short letter from {sender} to {to} about {article(topic)}.",
            f"Draft a message to {to} about the {topic} on {day}.",
        ]
    )
    body = rng.choice(
        [
            f"I am writing to you about the {topic}. Could we talk about it on {day}?",
            f"Thank you for your message about the {topic}. I will look at it before {day} and write again.",
            f"I would like to invite you to see the {topic} on {day}. Please let me know if you can come.",
            f"I am sorry that the {topic} is late. It will be ready on {day}.",
        ]
    )
    end = rng.choice(["Best regards", "Kind regards", "Yours sincerely", "Many thanks"])
    return talk(request, f"Subject: The {topic}\n\nDear {to},\n\n{body}\n\n{end},\n{sender}")


# ---- all -----------------------------------------------------------------------------------------------------------


def arithmetic(count: int) -> Iterator[Chat]:
    """Generated problems with worked steps; some with a second turn."""
    for index in range(count):
        rng = random.Random(index * 101 + 7)
        question, answer = sums.problem(rng)
        turns = [question, answer]
        if rng.random() < 0.08:
            turns += sums.problem(rng)
        yield with_system(Chat("math", talk(*turns), index % 200 == 0), rng)


def make_all(material: Material, problems: int) -> Iterator[Chat]:
    """Yield every chat."""
    yield from coding(material)
    yield from arithmetic(problems)
    yield from structured(material, problems // 4)
    yield from words(material)
    yield from entries(material)
    yield from manuals(material)
    yield from countries(material)
    yield from elements(material)
    yield from novels(material)
    yield from poems(material)
    yield from small_talk(material)
