"""The report: Markdown for people, JSON for programs, and plots."""

import json
import re


class Report:
    """Goes to the terminal while it grows, and in the end into files."""

    def __init__(self):
        self.text = []
        self.data = {}

    def add(self, text=""):
        print(text, flush=True)
        self.text.append(text)

    def table(self, title, header, rows, data=None):
        """`rows` are for people; `data`, by default the same, is what report.json gets."""
        self.data[title] = data if data is not None else [
            dict(zip(("name", *header[1:]), row)) for row in rows]
        rows = [[str(cell) for cell in row] for row in [header, *rows]]
        widths = [max(map(len, column)) for column in zip(*rows)]
        numeric = [all(re.fullmatch(r"-|-?[\d.,]+", cell) for cell in column[1:])
                   for column in zip(*rows)]

        def line(row):
            return "| " + " | ".join(cell.rjust(width) if right else cell.ljust(width)
                                     for cell, width, right in zip(row, widths, numeric)) + " |"

        rule = "|".join("-" * (width + 1) + (":" if right else "-")
                        for width, right in zip(widths, numeric))
        self.add(f"## {title}\n")
        self.add(line(rows[0]))
        self.add(f"|{rule}|")
        for row in rows[1:]:
            self.add(line(row))
        self.add()

    def write(self, directory):
        (directory / "report.md").write_text("\n".join(self.text))
        (directory / "report.json").write_text(json.dumps(self.data, indent=1) + "\n")


# --- Plots ---

COLOURS = {"curfew": "#0b6e4f", "Asio": "#c1440e", "libuv": "#3a6ea5", "libevent": "#a8861d",
           "plain": "#777777"}


def colour(label):
    return next((value for name, value in COLOURS.items() if name in label), "#8e6c8a")


def figure(width, height):
    import matplotlib
    matplotlib.use("svg")
    # Text stays text, so that the plots are small; and the same run gives the same file.
    matplotlib.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "curfew", "font.family": "sans-serif",
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
        "figure.facecolor": "white"})
    from matplotlib import pyplot
    return pyplot.subplots(figsize=(width, height), layout="constrained")


def save(plot, file):
    plot.savefig(file, metadata={"Date": None})


def plot_limits(series, file):
    """Nanoseconds of a limit against how many others are armed: {label: {count: ns}}."""
    plot, axes = figure(7.2, 3.9)
    for label, points in series.items():
        counts = sorted(points)
        values = [max(points[count], 0.5) for count in counts]  # a log scale has no zero
        axes.plot(counts, values, marker="o", markersize=4, color=colour(label),
                  linestyle="--" if "as_tuple" in label else "-")
        axes.annotate(label, (counts[-1], values[-1]), xytext=(6, 0), textcoords="offset points",
                      color=colour(label), va="center", annotation_clip=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.8, 2e6)
    axes.set_ylim(bottom=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xticks([10**power for power in range(7)],
                    ["1", "10", "100", "1,000", "10,000", "100,000", "1 million"])
    axes.set_xlabel("limits armed at the same time")
    axes.set_ylabel("ns for a limit (log scale)")
    axes.set_title("What a limit on a read costs that does not expire", loc="left", fontsize=11)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines["right"].set_visible(False)
    plot.get_layout_engine().set(rect=(0, 0, 0.82, 1))
    save(plot, file)


def plot_bars(title, unit, values, file):
    """Horizontal bars: {label: value}."""
    labels = list(values)
    plot, axes = figure(7.2, 0.7 + 0.34 * len(labels))
    bars = axes.barh(labels, list(values.values()), color=[colour(label) for label in labels])
    axes.bar_label(bars, [f" {value:,.0f}" if value >= 100 else f" {value:.2f}"
                          for value in values.values()])
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=11)
    save(plot, file)
