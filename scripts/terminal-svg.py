#!/usr/bin/env python3
"""Draws what a command printed as a picture of a terminal, for the README.

    badger demo 2>&1 | scripts/terminal-svg.py 'badger demo' > docs/images/demo.svg
"""
import html
import sys

CHAR_WIDTH, LINE_HEIGHT, MARGIN, BAR = 8.4, 20, 20, 36


def colour(line: str) -> str:
    if line.startswith("$"):
        return "#e6edf3"
    if "✔" in line:
        return "#7ee787"
    if line.rstrip().endswith("…"):
        return "#6e7681"
    return "#c9d1d9" if line.startswith(" ") else "#79c0ff"


def main() -> None:
    lines = [f"$ {sys.argv[1]}"] + [line.rstrip("\n") for line in sys.stdin]
    width = int(max(map(len, lines)) * CHAR_WIDTH) + 2 * MARGIN
    height = len(lines) * LINE_HEIGHT + BAR + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">')
    print(f"<title>{html.escape(sys.argv[1])}</title>")
    print(f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>')
    for i, fill in enumerate(("#ff5f56", "#ffbd2e", "#27c93f")):
        print(f'<circle cx="{MARGIN + 20 * i}" cy="{BAR // 2}" r="6" fill="{fill}"/>')
    print('<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14" xml:space="preserve">')
    for i, line in enumerate(lines):
        y = BAR + MARGIN + i * LINE_HEIGHT
        print(f'<text x="{MARGIN}" y="{y}" fill="{colour(line)}">{html.escape(line)}</text>')
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
