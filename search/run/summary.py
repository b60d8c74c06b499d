"""What a person sees of a sweep afterwards."""

from search.home import Home
from search.run.sweep import SweepResult
from search.space.label import label
from search.tracking.tracker import Tracker


def summary(result: SweepResult, name: str, home: Home, tracker: Tracker) -> str:
    """The winner, its figures, where everything lies and what to type next."""
    test, selection = result.metrics["test"], result.metrics["selection"]
    confirmed = ""
    if "confirmed_val_uar" in selection:
        confirmed = f", confirmed on fresh seeds {selection['confirmed_val_uar']:.3f}"
    trained, reused = result.trained_seconds, result.reused_seconds
    server = tracker.uri if tracker.uri.startswith("http") else None
    if (comparison := tracker.comparison(result.key)) is None:
        compare = [f"compare: first python jobs/sync_tracking.py --sweep {name} --home {home.root}"]
    elif server:
        compare = [f"compare: {server}/{comparison}"]
    else:
        compare = [f"compare: mlflow ui --backend-store-uri {tracker.uri}"]
        compare += [f"         then open http://127.0.0.1:5000/{comparison}"]
    place = f"--tracking-uri {tracker.uri}" if server else f"--home {home.root}"
    return "\n".join([
        f"sweep {name} finished in {result.seconds / 60:.1f} minutes",
        f"training: {trained:.0f} s; finished stages that trials shared saved {reused:.0f} s more",
        f"winner: {label(result.params)}",
        f"  validation UAR {selection['val_uar']:.3f}{confirmed}",
        f"  test UAR {test['uar']:.3f}, WA {test['wa']:.3f} (chance UAR {test['chance']:.3f}, "
        f"{test['rows']} clips of speakers {', '.join(test['speakers'])}, protocol {test['protocol']})",
        f"state:   {home.root}",
        f"report:  {home.report(name)}",
        *compare,
        f"export:  python jobs/export_best.py --sweep {name} --out best {place}",
    ])  # fmt: skip
