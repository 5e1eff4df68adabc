"""Tables (Markdown) and plots (PNG) of the results of run.py."""
import json
import pathlib
import sys

from . import timing
from .formats import FORMATS
from .layers import LAYERS, TITLES

ENOUGH, NEAR = 1.3, 0.9  # a cell is won with this ratio to the best peer, or with this share of the roofline


def _packaged(name):
    return not name.startswith("hand+")


class Cell:
    """A cell of the tables: our median and the best peer's, from the batch of processes that were timed in turns."""

    def __init__(self, results, group, cell):
        self.tokens, self.threads, self.early_reuse = cell["tokens"], cell["threads"], cell["early_reuse"]
        self.peers, self.ours, self.error = {}, None, None
        ratios = {}
        for measured in cell["measured"]:
            mine = measured.get("ours", {}).get("median_ms")
            if mine is None:
                continue
            self.error = measured["ours"]["error"]
            # Ratios compare what ran in turns; the time shown is the first batch's.
            self.ours = self.ours or mine
            for name, peer in measured.items():
                if name != "ours" and "median_ms" in peer:
                    self.peers[name] = peer["median_ms"]
                    ratios[name] = peer["median_ms"] / mine
        self.ratios = ratios
        roofs = [roof for roof in results["roofs"] if roof["threads"] == self.threads]
        seconds, self.bound_by = timing.bound_seconds(LAYERS[group["layer"]], FORMATS[group["format"]], self.tokens,
                                                      cell["experts_hit"], timing.best_roof(roofs))
        self.bound_ms = seconds * 1e3

    def best(self, packaged=False):
        """Name of the fastest peer, or None."""
        names = [name for name in self.ratios if not packaged or _packaged(name)]
        return min(names, key=self.ratios.get, default=None)

    def share(self):
        return self.bound_ms / self.ours if self.ours else None

    def won(self):
        """"ratio", "roofline", "" (neither), or None if there is nothing to compare."""
        best = self.best()
        if self.ours is None or best is None:
            return None
        if self.ratios[best] >= ENOUGH:
            return "ratio"
        return "roofline" if self.share() >= NEAR else ""


def cells_of(results):
    """[(group, [Cell])] of the groups that have been timed."""
    found = []
    for group in results["groups"]:
        cells = [Cell(results, group, cell) for cell in group["cells"]]
        cells = [cell for cell in cells if cell.ours is not None]
        if cells:
            found.append((group, sorted(cells, key=lambda cell: (cell.threads, cell.tokens))))
    return found


def _number(value):
    return "–" if value is None else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def markdown(results):
    """The whole report."""
    machine, versions = results["machine"], results["versions"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    text = [
        "# One MoE layer on this CPU", "",
        f"{results['date']}; {machine.get('model name', 'unknown CPU')} (family {machine.get('cpu family')}, model "
        f"{machine.get('model')}, stepping {machine.get('stepping')}), {len(machine['cpus'])} CPUs, {caches}, memory "
        f"{machine.get('memory')}, Linux {machine['kernel']}. Features: {' '.join(machine.get('features', []))}.", "",
        "Times are medians, in ms, of single calls of the whole layer (router, choice, experts, weighted sum); another batch "
        "of tokens each call. All programs of a cell take turns of a few calls each in one run, on the same weights and "
        "tokens, after their outputs were compared with a reference in f64. A ratio is the peer's median divided by ours, "
        "from the same turns: above 1 ours is faster. Roofline: the least time that the measured rates allow (weights of the "
        "experts hit and the router / bandwidth, or operations / rate of the instruction), divided by our median.", ""]
    if results.get("cut_short"):
        text += ["**The run was ended before all cells were measured.**", ""]
    text += ["Measured rates of this machine (the best of all measurements in the run):", ""]
    rows = []
    for threads in sorted({roof["threads"] for roof in results["roofs"]}):
        roof = timing.best_roof([r for r in results["roofs"] if r["threads"] == threads])
        peaks = [f"{roof['peak'][kind]['gops']:.0f} ({roof['peak'][kind]['instruction']})" for kind in ("f32", "bf16", "int8")]
        rows.append([str(threads), f"{roof['bandwidth']['huge_pages']:.1f}", f"{roof['bandwidth']['small_pages']:.1f}", *peaks])
    text += _table(["threads", "read GB/s, huge pages", "4 KiB pages", "f32 Gop/s", "bf16 Gop/s", "int8 Gop/s"], rows)
    timed = cells_of(results)
    text += _verdict(timed)
    for group, cells in timed:
        text += _group(group, cells)
    text += ["", "## Versions", ""] + [f"* {name}: {version}" for name, version in sorted(versions.items())]
    if results["missing"]:
        text += ["", "## Missing", ""] + [f"* {name}: {reason}" for name, reason in sorted(results["missing"].items())]
    unsupported = [f"* {g['layer']} {g['format']}: {g['ours_missing']}" for g in results["groups"] if "ours_missing" in g]
    if unsupported:
        text += ["", "## Not timed", ""] + unsupported
    return "\n".join(text) + "\n"


def _verdict(timed):
    """How many cells are won, and which are not."""
    counts, lost = {"ratio": 0, "roofline": 0, "": 0}, []
    for group, cells in timed:
        for cell in cells:
            won = cell.won()
            if won is not None:
                counts[won] += 1
            if won == "":
                best = cell.best()
                lost.append(f"{group['layer']} {group['format']} T={cell.tokens} threads={cell.threads} "
                            f"({cell.ratios[best]:.2f} of {best}, {100 * cell.share():.0f} %)")
    total = sum(counts.values())
    text = ["", f"Of {total} cells, {counts['ratio']} are at least {ENOUGH} times as fast as the best peer, {counts['roofline']} "
                f"others are at {100 * NEAR:.0f} % of the roofline or more, {counts['']} are neither."]
    if lost:
        text += ["", "Neither: " + "; ".join(lost) + "."]
    return text


def _group(group, cells):
    text = ["", f"## {TITLES[group['layer']]}, {group['format']}", "",
            f"Compiled in {group['compile_seconds']:.1f} s (with packing). Error of ours: "
            f"{max(cell.error for cell in cells):.1e} of the largest value.", ""]
    rows = []
    for cell in cells:
        row = [str(cell.threads), str(cell.tokens), f"**{_number(cell.ours)}**"]
        for packaged in (False, True):
            best = cell.best(packaged)
            row += [f"{best} {_number(cell.peers[best])}", f"{cell.ratios[best]:.2f}"] if best else ["–", "–"]
        rows.append(row + [f"{100 * cell.share():.0f} % ({cell.bound_by})"])
    text += _table(["threads", "T", "ours", "best peer", "ratio", "best packaged peer", "ratio", "ours of roofline"], rows)
    names = sorted({name for cell in cells for name in cell.peers})
    text += ["", "All medians:", ""]
    text += _table(["threads", "T", "ours", *names],
                   [[str(cell.threads), str(cell.tokens), _number(cell.ours), *(_number(cell.peers.get(name)) for name in names)]
                    for cell in cells])
    errors, reasons = {}, dict(group.get("failed", {}))
    for cell in group["cells"]:
        for measured in cell["measured"]:
            for name, peer in measured.items():
                if "error" in peer:
                    errors[name] = max(errors.get(name, 0), peer["error"])
                if "failed" in peer:
                    reasons.setdefault(name, f"T={cell['tokens']}, {cell['threads']} threads: {peer['failed']}")
    text += ["", "Largest errors against f64: " + ", ".join(f"{name} {error:.1e}" for name, error in sorted(errors.items())) + "."]
    early = max(cell.early_reuse for cell in cells)
    if early > 0.05:
        text += ["", f"Up to {100 * early:.0f} % of the reads of an expert came before a last-level cache full of others was read."]
    return text + [f"\n* {name}: {reason}" for name, reason in sorted(reasons.items())]


def plot(results, output):
    """One PNG per layer: time per token and share of the roofline over the number of tokens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed, written = cells_of(results), []
    for layer in dict.fromkeys(group["layer"] for group, _ in timed):
        groups = [(group, cells) for group, cells in timed if group["layer"] == layer]
        threads = sorted({cell.threads for _, cells in groups for cell in cells})
        figure, axes = pyplot.subplots(len(groups), len(threads) + 1, squeeze=False,
                                       figsize=(5 * (len(threads) + 1), 3.6 * len(groups)))
        for row, (group, cells) in zip(axes, groups):
            for axis, count in zip(row, threads):
                mine = [cell for cell in cells if cell.threads == count]
                for name in sorted({name for cell in mine for name in cell.peers}):
                    points = [(cell.tokens, cell.peers[name] / cell.tokens) for cell in mine if name in cell.peers]
                    axis.plot(*zip(*points), marker=".", linewidth=1, label=name)
                axis.plot([c.tokens for c in mine], [c.ours / c.tokens for c in mine], "k-o", linewidth=2, label="moe-mlir")
                axis.plot([c.tokens for c in mine], [c.bound_ms / c.tokens for c in mine], "k:", label="roofline")
                axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms per token",
                         title=f"{layer} {group['format']}, {count} thread{'s' * (count > 1)}")
                axis.legend(fontsize=7)
            for count in threads:
                mine = [cell for cell in cells if cell.threads == count]
                row[-1].plot([c.tokens for c in mine], [100 * c.share() for c in mine], "-o", label=f"ours, {count} thread{'s' * (count > 1)}")
                best = [(c.tokens, 100 * c.bound_ms / min(c.peers.values())) for c in mine if c.peers]
                if best:
                    row[-1].plot(*zip(*best), "--.", label=f"best peer, {count} thread{'s' * (count > 1)}")
            row[-1].set(xscale="log", ylim=(0, 110), xlabel="tokens", ylabel="% of roofline", title="share of roofline")
            row[-1].legend(fontsize=7)
            counts = sorted({cell.tokens for cell in cells})
            for axis in row:
                axis.set_xticks(counts, [str(count) for count in counts])
                axis.minorticks_off()
        figure.tight_layout()
        path = pathlib.Path(output) / f"{layer}.png"
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        written.append(path)
    return written


def write(results, output):
    """report.md and the plots."""
    text = markdown(results)
    try:
        pictures = plot(results, output)
        text += "\n" + "\n".join(f"![{path.stem}]({path.name})" for path in pictures) + "\n"
    except ImportError as reason:
        text += f"\nNo plots: {reason}.\n"
    (pathlib.Path(output) / "report.md").write_text(text)


if __name__ == "__main__":  # python -m moebench.report RESULTS.json: writes the report again
    source = pathlib.Path(sys.argv[1])
    write(json.loads(source.read_text()), source.parent)
