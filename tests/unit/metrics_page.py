"""The table of docs/metrics.md, made from the catalogue: `python -m tests.unit.metrics_page` prints it."""

from ascend_serve.metrics import CATALOGUE, LE, MODEL_LABELS, OF_THE_REPLICA, Kind, Metric


def exported(metric: Metric) -> dict[str, set[str]]:
    """Names under which Ray exports a metric, each with the labels that are the metric's own."""
    own = {*metric.labels, *(() if metric in OF_THE_REPLICA else MODEL_LABELS)}
    if metric.kind is not Kind.HISTOGRAM:
        return {f"ray_{metric.name}": own}
    return {f"ray_{metric.bucket_counter.name}": own | {LE}, f"ray_{metric.sum_counter.name}": own}


def table() -> list[str]:
    """A line for each metric, below a head of two."""
    lines = ["| name | kind | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in CATALOGUE:
        model = () if metric in OF_THE_REPLICA else MODEL_LABELS
        labels = ", ".join(f"`{label}`" for label in (*model, *metric.labels)) or "none"
        lines.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
