"""readme.py FILE SOURCE BUILD FOLDER: runs the commands of a Markdown file as a reader would.

Each ```console block holds lines `$ command`, each with the output it shows below it. All commands run in FOLDER, which
looks like the repository after scripts/demo (examples/ and build/ are links), one after the other. Shown output has to be
what the command prints on standard output; `...` stands for any text within a line, or, alone, for any lines;
a number with a decimal point may differ by 0.1 % or by one in its last digit (another order of sums). A block
behind `<!-- from PATH -->` has to be found in that file, word for word.
"""
import os
import re
import subprocess
import sys

NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")


def line_pattern(line):
    """A shown line as a regular expression, with a group for each number."""
    words = re.split(f"(\\.\\.\\.|{NUMBER.pattern})", line)
    return "".join(".*" if word == "..." else r"(\d+\.\d+)" if NUMBER.fullmatch(word) else re.escape(word) for word in words)


def close(printed, shown):
    digit = 10.0 ** -len(shown.partition(".")[2])
    return abs(float(printed) - float(shown)) <= max(1e-3 * float(shown), 1.01 * digit)


path, source, build, folder = sys.argv[1:]
os.makedirs(folder)
os.symlink(os.path.join(source, "examples"), os.path.join(folder, "examples"))
os.symlink(build, os.path.join(folder, "build"))
with open(path) as file:
    text = file.read()
blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
for name, quote in re.findall(r"^<!-- from (.*) -->\n```\w*\n(.*?)^```", text, re.M | re.S):
    with open(os.path.join(source, name)) as file:
        if quote not in file.read():
            sys.exit(f"not in {name}:\n{quote}")

count = 0
for block in blocks:
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{command}\nended with status {done.returncode}: {done.stderr}")
        pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else line_pattern(line) + r"\n" for line in shown.splitlines())
        printed = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
        match = re.fullmatch(pattern, printed)
        if not match or not all(map(close, match.groups(), NUMBER.findall(shown))):
            sys.exit(f"{command}\nprinted\n{printed}but the file shows\n{shown}")
        count += 1
print(f"{count} commands did what {os.path.basename(path)} says")
