"""Reads sections, code blocks and commands from the pages under docs."""

import re


def section(path, title):
    """Returns the text below a heading of the second level."""
    with open(path, encoding="utf-8") as file:
        sections = re.split(r"^## (.*)\n", file.read(), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2]))[title]


def code_blocks(text, language):
    """Yields the code blocks of a language, without the indentation of the surrounding list."""
    for indent, block in re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
        yield "".join(line.removeprefix(indent) for line in block.splitlines(keepends=True))


def commands(text, prompt="$"):
    """Yields the commands after a prompt: $ for a user, # for root."""
    for block in code_blocks(text, "console"):
        for line in re.split(r"^(?=[$#] )", block, flags=re.MULTILINE):
            if line.startswith(prompt):
                yield line.removeprefix(prompt).strip()
