#!/usr/bin/env python3
"""The pages of the guide on doxygen's site.

    pages.py PAGE             what doxygen reads of a page: links and headings as it wants them
    pages.py --index HTML     adds the words of all pages to the search of the site in that directory

Headings get names as in GitHub's view of the page, with the page's before them. Links to pages and headings
become references, which doxygen reports if they lead nowhere; links to headers and examples lead to these on the
site; of links to other files of the repository the text is left. A link to what does not exist becomes a
reference that is reported.

doxygen's search knows names and titles. What is added to it are words that stand in few sections, so that they tell
something.
"""

import collections
import glob
import json
import os
import re
import sys


def page_name(path):
    """Of README.md `page`, of docs/guide/tasks.md `page_guide_tasks`."""
    name = os.path.normpath(path).removeprefix("docs/").removesuffix(".md")
    return "page" if name == "README" and not path.startswith("docs") else "page_" + name.replace("/", "_")


def slug(heading):
    return re.sub(r"[^\w\- ]", "", re.sub(r"`", "", heading).lower()).replace(" ", "-")


def link(match, path):
    bang, text, target = match.groups()
    if "://" in target:
        return match.group(0)
    file, _, heading = target.partition("#")
    file = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
    if bang:
        return f"![{text}]({os.path.basename(file)})" if os.path.exists(file) else f"[{text}](@ref {file})"
    if not os.path.exists(file):
        return f"[{text}](@ref {file})"
    if file.endswith(".md") and (file == "README.md" or file.startswith("docs/")):
        kind = "subpage" if path == "docs/README.md" and file != "README.md" else "ref"
        name = f"{page_name(file)}-{heading}" if heading else "index" if file == "README.md" else page_name(file)
        return f'@{kind} {name} "{text}"'
    if file.startswith(("include/", "examples/")) and os.path.isfile(file) and "/platform/" not in file:
        return f"[{text}](@ref {file.removeprefix('include/')})"
    return text


def filtered(path, lines):
    fenced = titled = False
    for line in lines:
        if line.lstrip().startswith("```"):
            fenced = not fenced
            yield line
            continue
        heading = re.match(r"(#+) (.+)$", line)
        if fenced or line.startswith("    "):
            yield line
        elif heading and not titled:
            titled = True
            yield f"# {heading[2]} {{#{'mainpage' if path == 'README.md' else page_name(path)}}}"
        elif heading:
            yield f"{line} {{#{page_name(path)}-{slug(heading[2])}}}"
        else:
            if line.startswith("|"):  # where GitHub takes \| for |, also in code
                line = re.sub(r"`([^`]*\\\|[^`]*)`", lambda code: f"<code>{code[1]}</code>".replace("\\|", "&#124;"), line)
            yield re.sub(r"(!?)\[([^\]]+)\]\(([^()\s]+)\)", lambda match: link(match, path), line)


def sections(path, lines):
    """Pairs of where a section is on the site, with its title, and a line of it."""
    file = "index" if path == "README.md" else page_name(path)
    place, title = f"../{file}.html", ""
    fenced = False
    for line in lines:
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else re.match(r"#+ (.+)$", line)
        if heading and not title:
            page = title = heading[1]
        elif heading:
            place, title = f"../{file}.html#{page_name(path)}-{slug(heading[1])}", f"{page}: {heading[1]}"
        yield (place, title.replace("`", "")), line


def words_of_all_pages():
    """Of each word of three letters and more the sections it stands in."""
    found = collections.defaultdict(dict)
    for path in ["README.md", *sorted(glob.glob("docs/**/*.md", recursive=True))]:
        with open(path, encoding="utf-8") as page:
            for section, line in sections(path, page.read().split("\n")):
                for word in re.findall(r"[a-z_][a-z0-9_]{2,}", line.lower()):
                    found[word.strip("_")][section] = True
    return {word: list(where) for word, where in found.items() if len(word) > 2 and len(where) <= 12}


def add_to_search(html):
    with open(f"{html}/search/searchdata.js", encoding="utf-8") as data:
        initials = re.search(r'0: "([^"]*)"', data.read())[1]
    of_initial = collections.defaultdict(list)
    for word, where in sorted(words_of_all_pages().items()):
        key = f"{word.replace('_', '_5f')}_w"
        of_initial[word[0]].append([key, [word, *([place, 1, title] for place, title in where)]])
    for number, initial in enumerate(initials):
        file = f"{html}/search/all_{number:x}.js"
        with open(file, encoding="utf-8") as old:
            data = old.read().rstrip().removesuffix("];").rstrip()
        with open(file, "w", encoding="utf-8") as new:
            new.write(",\n".join([data, *(json.dumps(entry) for entry in of_initial[initial])]) + "\n];\n")


if sys.argv[1] == "--index":
    add_to_search(sys.argv[2])
else:
    path = os.path.relpath(sys.argv[1])
    with open(path, encoding="utf-8") as page:
        for line in filtered(path, page.read().split("\n")):
            print(line)
