"""The progress line: what it counts, on a clock of the test's own."""

from jaxreid.training import metrics


def test_rate_wait_and_time_left_count_from_the_first_line(monkeypatch):
    now = 100.0
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now)
    progress = metrics.Progress("translator", 10)

    def loaded():
        nonlocal now
        for step in range(4):
            now += 50.0 if step == 0 else 1.0  # what the first batch takes is not the rate's
            yield step

    lines = []
    for step in progress.watched(loaded()):
        now += 30.0 if step == 0 else 3.0  # compilation, then steps
        lines.append(progress.line(step + 1, {"g": 0.5}))
    assert lines[0].split() == ["translator", "1/10", "compiled", "g", "0.500"]
    expected = "translator 4/10 0.25 steps/s data 25% 24 s left g 0.500"
    assert lines[3].split() == expected.split()
    assert lines[0].index("g 0.5") == lines[3].index("g 0.5")
