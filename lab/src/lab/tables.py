"""The benches' figures as text: plain tables for a console and for a page."""

from collections.abc import Mapping, Sequence

from lab.rounds import Series, labels


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in [head, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def figures(all_series: Sequence[Series]) -> str:
    """Throughput, cost and times, one row per load and side."""
    head = [
        "load",
        "side",
        "tasks/s",
        "CPU us/task",
        "create p50",
        "p99 ms",
        "create->notify p50",
        "p99 ms",
        "tail s",
        "missing",
        "errors",
        "generator us/task",
    ]
    rows = []
    for series in all_series:
        times = [series.median(f"{step}_{share}_ms") for step in ("create", "notify") for share in ("p50", "p99")]
        rows.append(
            [
                str(series.shape),
                series.side,
                f"{series.median('tasks_per_second'):,.0f}",
                f"{series.median('cpu_us_total'):,.0f}",
                *(f"{each:.1f}" for each in times),
                f"{series.median('tail_seconds'):.1f}",
                str(sum(one.missing for one in series.rounds)),
                str(sum(sum(one.errors.values()) for one in series.rounds)),
                f"{series.median('generator_us_per_task'):.0f}",
            ]
        )
    return table(head, rows)


def split(all_series: Sequence[Series], side: str) -> str:
    """CPU per task by process, one column per load."""
    mine = [series for series in all_series if series.side == side]
    rows = [[label, *(f"{series.median_cpu(label):,.0f}" for series in mine)] for label in labels(mine)]
    rows.append(["together", *(f"{series.median('cpu_us_total'):,.0f}" for series in mine)])
    return table([f"{side}: CPU us/task", *(str(series.shape) for series in mine)], rows)


def ratios(pairs: Sequence[tuple[Series, Series]]) -> str:
    """Ours over the peer's, each the median over rounds that ran side by side."""
    head = ["load", "tasks/s", "CPU per task", "create p50", "create p99", "create->notify p50", "p99"]
    names = ["tasks_per_second", "cpu_us_total", "create_p50_ms", "create_p99_ms", "notify_p50_ms", "notify_p99_ms"]
    rows = [[str(ours.shape), *(f"{ours.ratio(peer, name):.2f}x" for name in names)] for ours, peer in pairs]
    return table(head, rows)


def memory_table(memory: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Memory after the load, by side and process."""
    rows = []
    for side, used in memory.items():
        rows += [[side, label, f"{rss:,.0f}", f"{pss:,.0f}"] for label, (rss, pss) in used.items()]
    return table(["side", "process", "RSS MiB", "PSS MiB"], rows)
