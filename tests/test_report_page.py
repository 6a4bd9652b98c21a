"""The page of a study, made from a synthetic one: what it holds, what it must not, and how large it is."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import lehr
from lehr.report import page
from lehr.report.contents import LR, TRAINING, VALIDATION, read
from lehr.study.policies import NamedPolicy, built_in
from lehr.study.rows import Row
from lehr.study.stats import rank
from lehr.trace import TraceWriter

PEAKS = (1 / 3, 1.0, 3.0)
SEEDS, TUNING_SEEDS = (1, 2, 3), (1001,)
NASTY = NamedPolicy("<b>bold</b> & 'co'", "constant()")


def write_study(folder: Path, workloads: dict[str, int], extra: tuple[NamedPolicy, ...] = ()) -> Path:
    """A study's folder as `lehr compare` leaves it, with invented losses; workloads are name → steps."""
    (folder / "traces").mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries, rows = [], []
    for name, steps in workloads.items():
        policies = (*built_in("accuracy", "max", 0.9), *extra)
        mine = [row for policy in policies for row in run_policy(folder, name, steps, policy, rng)]
        rows += mine
        entries.append(entry(name, steps, policies, mine))
    (folder / "rows.jsonl").write_text("".join(row.line() + "\n" for row in rows), encoding="utf-8")
    facts = {
        "lehr": "0.1.0",
        "python": "3.11.2",
        "torch": "2.13.0",
        "command": "lehr compare",
        "peaks": PEAKS,
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "workloads": entries,
    }
    (folder / "study.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def entry(name: str, steps: int, policies: tuple[NamedPolicy, ...], rows: list[Row]) -> dict[str, object]:
    return {
        "name": name,
        "about": "Handwritten digits; share of digits read right.",
        "steps": steps,
        "lr": 0.05,
        "metric": "accuracy",
        "best": "max",
        "threshold": 0.9,
        "steps_per_epoch": 112,
        "evaluate_every": steps // 20,
        "data_hash": "0123456789abcdef",
        "policies": [{"label": policy.label, "text": policy.text} for policy in policies],
        "ranking": [ranking.to_dict() for ranking in rank(rows, [policy.label for policy in policies], PEAKS)],
        "notes": ["A note on <this> workload."],
        "failures": [{"policy": "mine", "peak": 3.0, "seed": 1, "message": "KeyError: <x>"}],
        "keys": [row.key for row in rows],
    }


def run_policy(folder: Path, name: str, steps: int, policy: NamedPolicy, rng: np.random.Generator) -> list[Row]:
    """The rows of a policy that does best at ×1, diverges at ×3 if it is the control, and leaves traces at ×1."""
    quality = rng.uniform(0.1, 0.2) + 0.2 * (policy.label == "constant")
    rows = []
    for role, seeds, peaks in (("tune", TUNING_SEEDS, PEAKS), ("rank", SEEDS, (1.0,))):
        for peak in peaks:
            for seed in seeds:
                key = f"{name}-{len(policy.label)}-{policy.label[:3].strip('<')}-{peak:.2f}-{seed}-{role}"
                diverged = peak == 3 and policy.label == "constant"
                loss = None if diverged else float(quality + 0.05 * abs(np.log(peak)) + 0.01 * rng.normal())
                fired = (
                    write_trace(folder / f"traces/{key}.jsonl", policy, steps, quality, rng) if role == "rank" else {}
                )
                rows.append(
                    Row(
                        key=key,
                        workload=name,
                        policy=policy.label,
                        text=policy.text,
                        peak=peak,
                        lr=0.05 * peak,
                        seed=seed,
                        role=role,  # type: ignore[arg-type]
                        status="diverged" if diverged else "ok",
                        steps=steps,
                        metric="accuracy",
                        best="max",
                        test_loss=loss,
                        test_metric=None if loss is None else 1 - loss / 4,
                        validation_loss=loss,
                        fired=fired,
                        steps_to=None if policy.label == "constant" else steps // 2,
                        trace=f"traces/{key}.jsonl",
                    )
                )
    return rows


def write_trace(
    path: Path, policy: NamedPolicy, steps: int, quality: float, rng: np.random.Generator
) -> dict[str, int]:
    """A trace with the policy's true LR and events on invented losses; how often each rule fired."""
    t = np.arange(steps)
    loss = quality + 2 * np.exp(-6 * t / steps)
    every = np.where((t + 1) % (steps // 20) == 0, 1.0, np.nan)
    numbers = {
        "loss": loss * np.exp(0.4 * rng.normal(size=steps)),
        "val_loss": 1.1 * loss * every,
        "val_accuracy": (1 - loss / 4) * every,
        "accuracy": 1 - loss / 4,
    }
    trace = lehr.simulate(
        policy.text, lr=0.05, steps=steps, observations={name: values.tolist() for name, values in numbers.items()}
    )
    writer = TraceWriter(path, {"policy": policy.text})
    for i, lr in enumerate(trace.columns["lr"]):
        row = {name: float(values[i]) for name, values in numbers.items() if np.isfinite(values[i])}
        writer.row(i, [float(lr)], {name: value for name, value in row.items() if name != "accuracy"})
    for event in trace.events:
        writer.event(event)
    writer.close()
    rules = lehr.as_policy(policy.text)
    texts = [repr(rule) for rule in rules.rules] if isinstance(rules, lehr.Policy) else []
    return {text: sum(event.times for event in trace.events if event.rule == text) for text in texts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study") / "report", {"digits": 400, "train.py:make": 600}, (NASTY,))


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return page.write(folder).read_text(encoding="utf-8")


def own_part(text: str) -> str:
    """The page without the charting library."""
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def test_it_is_written_beside_the_rows_and_small(folder: Path) -> None:
    path = page.write(folder)
    assert path == folder / "report.html"
    assert 500_000 < path.stat().st_size < 3_000_000
    assert not (folder / "report.html.new").exists()


def test_it_names_every_policy_text_and_number(folder: Path, text: str) -> None:
    plain = html.unescape(own_part(text))
    for section in read(folder).sections:
        assert f"<h2>{section.name}</h2>" in plain
        for line in section.lines:
            assert line.policy in plain
            assert line.text in plain
    assert "reached 0.9" in plain
    assert "diverged at another peak" in plain
    assert "lehr compare" in plain
    assert "0123456789abcdef" in plain


def test_it_needs_no_network(text: str) -> None:
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012  # one parser, one page

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    Links().feed(text)
    assert Links.found
    assert all(link.startswith(("#", "data:")) for link in Links.found)
    assert not re.search(r"@import|url\(", own_part(text))


def test_what_comes_from_rows_is_escaped(text: str) -> None:
    assert "<b>bold</b>" not in own_part(text)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#x27;co&#x27;" in own_part(text)
    assert "A note on &lt;this&gt; workload." in own_part(text)
    assert "mine, peak ×3, seed 1: KeyError: &lt;x&gt;" in own_part(text)


def test_tags_are_balanced(text: str) -> None:
    class Balance(HTMLParser):
        open: list[str] = []  # noqa: RUF012  # one parser, one page

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "link", "input", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    Balance().feed(text)
    assert Balance.open == []


def test_the_data_of_the_charts_can_be_read_back(folder: Path, text: str) -> None:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    digits, _ = json.loads(found[1])
    section = read(folder).sections[0]
    assert [line["policy"] for line in digits["lines"]] == [line.policy for line in section.lines]
    assert [view["label"] for views in digits["views"] for view in views] == [
        *("linear", "log"),
        *(TRAINING, VALIDATION, "accuracy"),
    ]
    for line in digits["lines"]:
        assert set(line["curves"]) == {LR, TRAINING, VALIDATION, "accuracy"}
        assert all(len(x) == len(y) <= 500 for x, y in line["curves"].values())
    cosine = next(line for line in digits["lines"] if line["policy"] == "cosine decay")
    assert cosine["curves"][LR][0][0] == 0
    assert cosine["curves"][LR][0][-1] == 399
    metric = next(line for line in digits["lines"] if line["policy"] == "metric-based")
    assert len(metric["events"]) == 1
    assert "reached 0.9" in metric["events"][0]["text"]


def test_all_runs_shown_share_a_seed_whose_control_is_the_median(folder: Path) -> None:
    section = read(folder).sections[0]
    control = list(map(Row.from_line, (folder / "rows.jsonl").read_text().splitlines()))
    control = [row for row in control if (row.workload, row.policy, row.role) == ("digits", "constant", "rank")]
    losses = sorted((row.test_loss or 0.0, row.seed) for row in control)
    assert {line.row.seed for line in section.lines if line.row} == {losses[1][1]} == {section.seed}


def test_the_library_is_there_once(text: str) -> None:
    assert text.count("window.vegaEmbed=") == 1


def test_traces_may_be_missing(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "report", {"digits": 200})
    for trace in (folder / "traces").iterdir():
        trace.unlink()
    plain = page.write(folder).read_text(encoding="utf-8")
    assert "No run left a trace" in plain


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lehr.LehrError, match=r"study\.json is missing"):
        page.write(tmp_path)
