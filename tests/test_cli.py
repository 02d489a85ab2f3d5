"""The command line as a user meets it: from a search to a prediction, and every mistake as one clear line."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from inspect import signature
from pathlib import Path
from re import findall
from shlex import split
from typing import Any

import pytest
from rich.console import Console
from typer import Exit
from typer.main import get_command
from typer.testing import CliRunner

from autodelta.cli import app
from autodelta.cli.options import console, print_json, say
from autodelta.cli.search import _handed_over as handed_over
from autodelta.search.records import INTERRUPTED, Outcome
from autodelta.search.request import ON_CPU, ON_CUDA, Request, search
from autodelta.search.run import create
from autodelta.search.samplers import sampler
from autodelta.search.study import Study
from tests.search import fakes
from tests.small import save_backbone, save_task

SPACE = """
methods:
  lora: {roles: "*_attn.q, *_attn.v", sizes: {rank: [2, 4]}, learning_rate: {low: 3e-3, high: 3e-2, log: true}}
  bitfit: {roles: "*_attn.*, ffn.*", learning_rate: {low: 3e-3, high: 3e-2, log: true}}
  prompt: {stacks: encoder, sizes: {length: 2}, learning_rate: 0.1}
training: {steps: 12, batch_size: 8}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    save_backbone(folder / "backbone", v1_1=True)
    save_task(folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def command(place: Path, **changed: str | None) -> list[str]:
    """A search that works, but for what is changed; None leaves an option out."""
    options: dict[str, str | None] = {
        "task": "small",
        "data": str(place / "data"),
        "backbone": str(place / "backbone"),
        "space": str(place / "space.yaml"),
        "budget": "4trials",
        "executor": "local",
        "workers": "1",
        "runs": str(place / "runs"),
        "dtype": "fp32",
        **changed,
    }
    return ["search", *(word for key, value in options.items() if value is not None for word in (f"--{key}", value))]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def searched(place: Path) -> dict[str, Any]:
    result = call(*command(place, name="first"))
    assert result.exit_code == 0, result.output
    return json.loads(call("show", "first", "--runs", str(place / "runs"), "--json").stdout)


def test_a_search_shows_its_trials_front_best_test_and_budget(searched: dict[str, Any]) -> None:
    assert set(searched) == {"trials", "front", "best", "answer", "lines", "ended_early", "test", "budget"}
    assert len(searched["trials"]) == 4
    expected = {"number", "state", "methods", "parameters", "score", "step", "device_seconds", "seed", "reason"}
    assert all(expected <= set(trial) for trial in searched["trials"])
    ended = [trial["score"] for trial in searched["trials"] if trial["state"] == "complete"]
    assert searched["best"]["score"] == max(ended)
    assert {"metric", "score", "seeds"} <= set(searched["test"])
    assert searched["budget"]["spent"]["trials"] == 4


def test_the_page_about_runs_names_what_a_run_holds(place: Path, searched: dict[str, Any]) -> None:
    page = (Path(__file__).parents[1] / "runs" / "README.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name.partition("<")[0] for cell in cells for name in findall(r"`([^`]+)`", cell)}
    assert {"run.json", "result.json", "recipe/"} <= named
    assert [name for name in sorted(named) if not (place / "runs" / "first" / name).exists()] == []


def test_a_reason_with_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    create(folder, fakes.settings())
    with closing(Study(folder, fakes.space(tmp_path), sampler=sampler("random"), seed=1)) as study:
        asked = study.ask()
        assert asked is not None
        study.tell(asked.number, Outcome(state="failed", reason="no label in [old] :x: [/INST]"))
    result = call("show", "first", "--runs", str(tmp_path / "runs"))
    assert result.exit_code == 0
    assert "failed: no label in [old] :x: [/INST]" in result.output


def test_paths_with_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("run:    /home/me/[old]/runs/x")
    assert "/home/me/[old]/runs/x" in capsys.readouterr().out


def test_a_sentence_goes_on_further_in_than_it_began(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Console(width=20, markup=False)
    say(screen, ["answer:", "  lora [1], 0.3 to 0.4: better than others", "spent: 10 s of a whole minute"])
    assert capsys.readouterr().out.splitlines() == [
        "answer:",
        "  lora [1], 0.3 to",
        "    0.4: better than",
        "    others",
        "spent: 10 s of a",
        "  whole minute",
    ]


def test_commands_that_are_told_to_be_run_next_take_paths_with_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = create(tmp_path / "my runs" / "first", fakes.settings())
    with pytest.raises(Exit):
        handed_over(console(), run, INTERRUPTED)
    told = [line.partition("autodelta ")[2] for line in capsys.readouterr().out.splitlines() if "autodelta " in line]
    assert [split(words) for words in told] == [["show", str(run.path)], ["search", "--resume", str(run.path)]]


@pytest.mark.slow
def test_an_exported_recipe_predicts_with_the_recorded_test_score_in_a_new_process(
    place: Path, searched: dict[str, Any]
) -> None:
    folder = place / "exported"
    assert call("export", "first", "--runs", str(place / "runs"), "--to", str(folder)).exit_code == 0
    words = ["predict", "--recipe", str(folder), "--task", "small", "--data", str(place / "data"), "--split", "test"]
    result = subprocess.run(
        [sys.executable, "-m", "autodelta", *words, "--json"], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout)
    assert found == {"metric": "accuracy", "score": searched["test"]["score"], "rows": 16, "split": "test"}


def test_an_export_replaces_an_earlier_one_of_the_same_trial_and_no_other_recipe(
    place: Path, searched: dict[str, Any], tmp_path: Path
) -> None:
    words, to = ("export", "first", "--runs", str(place / "runs"), "--to"), tmp_path / "mine"
    assert [call(*words, str(to)).exit_code for _ in range(2)] == [0, 0]
    retrained, suggested = tmp_path / "retrained", tmp_path / "suggested"
    shutil.copytree(to, retrained)
    recipe = (to / "recipe.yaml").read_text()
    (retrained / "recipe.yaml").write_text(recipe.replace("run: first\n", "run: null\n"))  # as `train --to` writes it
    shutil.copytree(retrained, suggested)
    (suggested / "delta.safetensors").unlink()  # as `suggest --to` writes it
    for taken in (retrained, suggested):
        before = files(taken)
        refused = call(*words, str(taken))
        assert refused.exit_code == 2
        assert refused.stderr == f"error: there is a recipe in {str(taken)!r} already; choose another folder\n"
        assert files(taken) == before


def test_a_search_whose_weights_were_removed_ends_with_its_run_all_the_same(
    place: Path, searched: dict[str, Any]
) -> None:
    bare = place / "runs" / "bare"
    shutil.copytree(place / "runs" / "first", bare)
    shutil.rmtree(bare / "recipe")
    for weights in bare.rglob("*.safetensors"):
        weights.unlink()
    ended = call("search", "--resume", "bare", "--runs", str(place / "runs"))
    assert ended.exit_code == 0
    assert "recipe: none; run bare keeps no weights of trial" in ended.stdout
    assert "again:  autodelta show" in ended.stdout


def test_rows_of_no_task_are_labelled_and_options_of_a_task_are_refused_beside_them(
    place: Path, searched: dict[str, Any]
) -> None:
    recipe, rows = str(place / "runs" / "first" / "recipe"), place / "rows.csv"
    rows.write_text("sentence\na b\nb a\n")
    found = json.loads(call("predict", "--recipe", recipe, "--rows", str(rows), "--json").stdout)
    assert found["rows"] == 2
    assert call("predict", "--recipe", recipe, "--rows", str(rows)).stdout.splitlines() == found["predicted"]
    refused = call("predict", "--recipe", recipe, "--rows", str(rows), "--split", "test")
    assert refused.exit_code == 2
    assert refused.stderr == "error: --rows takes the place of a task: leave out --split\n"


def test_the_same_seed_gives_the_same_trials_and_scores_and_another_seed_others(
    place: Path, searched: dict[str, Any]
) -> None:
    times = ("device_seconds",)

    def trials(name: str, seed: str) -> list[dict[str, Any]]:
        assert call(*command(place, name=name, seed=seed)).exit_code == 0
        summary = json.loads(call("show", name, "--runs", str(place / "runs"), "--json").stdout)
        return [{k: v for k, v in trial.items() if k not in times} for trial in summary["trials"]]

    first = [{k: v for k, v in trial.items() if k not in times} for trial in searched["trials"]]
    assert trials("again", "0") == first
    assert trials("other", "1") != first


def test_the_plain_output_names_leaderboard_recipe_and_run(place: Path, searched: dict[str, Any]) -> None:
    result = call("show", "first", "--runs", str(place / "runs"))
    assert "Leaderboard" in result.output
    assert "Pareto front" in result.output
    assert "Confirmed over seeds" in result.output
    assert f"(trial {searched['best']['number']})" in result.output
    assert "test accuracy" in result.output
    assert "\nsampler: tpe\n" in result.output  # nothing is known of this backbone


def test_a_recipe_is_trained_again_on_another_task(place: Path, searched: dict[str, Any]) -> None:
    recipe, to = place / "runs" / "first" / "recipe", place / "retrained"
    save_task(place / "more", rows=24)
    result = call(
        "train", "--recipe", str(recipe), "--to", str(to), "--task", "small", "--data", str(place / "more"), "--json"
    )
    assert result.exit_code == 0, result.output
    assert [line["split"] for line in json.loads(result.stdout)["scores"]] == ["validation", "test"]
    assert (to / "delta.safetensors").is_file()


def test_a_recipe_is_trained_again_on_a_data_set_of_answers_and_predicts_them_there(
    place: Path, searched: dict[str, Any]
) -> None:
    (place / "animals").mkdir()
    for name, animals in (("train", ["dog", "cat"] * 12), ("test", ["bird", "red dog"])):
        rows = [{"text": f"the {animal} runs", "animal": animal} for animal in animals]
        (place / "animals" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe, to = place / "runs" / "first" / "recipe", place / "of-answers"
    columns = ["--task", "hf:animals", "--data", str(place), "--input", "text", "--label", "animal", "--json"]
    of_answers = ["--metric", "token_f1", "--max-new-tokens", "2"]
    made = call("train", "--recipe", str(recipe), "--to", str(to), *columns, *of_answers)
    assert made.exit_code == 0, made.output
    test = json.loads(made.stdout)["scores"][1]
    assert (test["metric"], test["rows"]) == ("token_f1", 2)
    found = json.loads(call("predict", "--recipe", str(to), *columns).stdout)
    assert found == {"metric": "token_f1", "score": test["value"], "rows": 2, "split": "test"}


def test_tasks_and_spaces_are_listed(place: Path) -> None:
    tasks = json.loads(call("tasks", "--data", str(place / "data"), "--json").stdout)
    assert {"small", "rte", "demo/entailment"} <= {task["name"] for task in tasks}
    spaces = json.loads(call("spaces", "--json").stdout)
    assert {"default", "paper-combinations", "lora-only", "smoke"} <= {space["name"] for space in spaces}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": "smal"}, "did you mean 'small'"),
        ({"data": "/nowhere"}, "/nowhere"),
        ({"backbone": "/nowhere/t5"}, "/nowhere/t5"),
        ({"space": "defualt"}, "did you mean 'default'"),
        ({"space": "missing.yaml"}, "missing.yaml"),
        ({"budget": "0trials"}, "above zero"),
        ({"budget": "-3min"}, "above zero"),
        ({"budget": "10parsecs"}, "parsecs"),
        ({"budget": "soon"}, "a number and a unit"),
        ({"budget": "1gpu-h", "device": "cpu"}, "GPU"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"executor": "slurm"}, "choose from: local, ray"),
        ({"workers": "0"}, "at least 1"),
        ({"workers": "1000000"}, "8 for each CPU: 1000000"),
        ({"dtype": "fp16"}, "choose from: bf16, fp32"),
        ({"label": "sense"}, "--label is for hf: tasks"),
        ({"label-names": "no,yes"}, "--label-names is for hf: tasks"),
        ({"input": "sentence"}, "columns are for tasks of the form hf:"),
        ({"name": "first"}, "there already"),
        ({"name": "../escape"}, "a run's name"),
        ({"budget": "0.02s"}, "too small for one trial"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_changes_nothing(
    place: Path, searched: dict[str, Any], changed: dict[str, str], said: str
) -> None:
    before = files(place)
    result = call(*command(place, **changed))
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line]
    assert len(errors) == 1
    assert said in errors[0]
    assert files(place) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serach", "unknown command 'serach'; did you mean 'search'? choose from: bench, "),
        ("meta fitt", "unknown command 'fitt'; did you mean 'fit'? choose from: fit"),
        ("search --bugdet 3", "no such option: --bugdet"),
        ("search --seed abc", "invalid value for '--seed': "),
        ("bench --table x --searches 0", "invalid value for '--searches': "),
        ("show", "missing argument 'RUN'"),
        ("meta fit", "missing option '--to'"),
    ],
)
def test_words_that_no_command_takes_are_one_line(words: str, said: str) -> None:
    result = call(*words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {said}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", ["", "meta"])
def test_a_group_of_commands_alone_shows_its_help(words: str) -> None:
    result = call(*words.split())
    assert result.output.startswith("Usage: ")
    assert "error" not in result.output


@pytest.mark.parametrize(
    "changed", [{"dtype": "fp16"}, {"backbone": "gpt2"}, {"space": "wrong.yaml"}, {"meta": "x", "sampler": "tpe"}]
)
def test_defaults_are_said_once_everything_is_checked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(SPACE.replace("rank:", "rnak:"))
    monkeypatch.chdir(tmp_path)
    result = call(*command(place, **{"executor": None, **changed}))
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_mistake_in_a_space_that_was_added_is_one_line_where_spaces_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE.replace("bitfit", "bitfat"))
    monkeypatch.setattr("autodelta.space._shipped._folder", lambda: tmp_path)
    result = call("spaces")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: mine.yaml:4: methods.bitfat: unknown method 'bitfat'")


def test_a_resumed_run_names_the_options_that_it_keeps_as_they_are_written() -> None:
    result = call("search", "--resume", "first", "--input", "text")
    assert result.exit_code == 2
    assert "keeps its --input; what can change: --budget, --executor, " in result.stderr


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may look at all, so the system's answer to a path that is another's is replaced."""
    result = call("show", "x" * 300)
    assert result.exit_code == 2
    assert "cannot be looked at: File name too long" in result.stderr

    def locked(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", locked)
    result = call("tasks", "--data", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr == f"error: {str(tmp_path)!r} cannot be looked at: Permission denied\n"


SPACE_MISTAKES = [
    ("lora:", "lorra:", "did you mean 'lora'"),
    ("rank:", "rnak:", "did you mean 'rank'"),
    ("steps: 12", "stepz: 12", "did you mean 'steps'"),
    ("rank: [2, 4]", "rank: []", "at least one"),
    ("rank: [2, 4]", "rank: [0]", "rank"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), SPACE_MISTAKES)
def test_a_mistake_in_a_space_names_its_line(place: Path, tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in SPACE
    (tmp_path / "wrong.yaml").write_text(SPACE.replace(right, wrong))
    result = call(*command(place, space=str(tmp_path / "wrong.yaml"), runs=str(tmp_path / "runs")))
    assert result.exit_code == 2
    assert "wrong.yaml:" in result.stderr
    assert said in result.stderr
    assert not (tmp_path / "runs").exists()


def _rows(split: str, *labels: str) -> dict[str, str]:
    return {
        f"{split}.jsonl": "".join(
            json.dumps({"sentence": f"{split} {n}", "label": x}) + "\n" for n, x in enumerate(labels)
        )
    }


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"validation.jsonl": ""}, "validation"),
        (_rows("test", "yes", "maybe"), "maybe"),
        (_rows("train", "yes", "yes"), "train never shows"),
        ({"train.jsonl": '{"sentence": "x"\n'}, "train.jsonl:1"),
        ({"train.jsonl": None}, "train"),
    ],
)
def test_a_damaged_task_is_one_clear_line(
    place: Path, tmp_path: Path, damage: dict[str, str | None], said: str
) -> None:
    save_task(tmp_path)
    for name, text in damage.items():
        path = tmp_path / "small" / name
        path.unlink() if text is None else path.write_text(text)
    result = call(*command(place, data=str(tmp_path), runs=str(tmp_path / "runs")))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "\n" not in result.stderr.strip()
    assert not (tmp_path / "runs").exists()


def test_label_words_that_the_backbone_cannot_tell_apart_are_refused_before_any_trial(
    place: Path, tmp_path: Path
) -> None:
    """Words that a vocabulary lacks are one and the same unknown token."""
    save_task(tmp_path)
    card = tmp_path / "small" / "task.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "words": {"yes": "maybe", "no": "perhaps"}}))
    result = call(*command(place, data=str(tmp_path), runs=str(tmp_path / "runs")))
    assert result.exit_code == 2
    assert "label words 'maybe' and 'perhaps' are the same to" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_runs_in_a_folder_that_cannot_be_written_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only mount; root may write anywhere else, so the system's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    result = call(*command(place, runs=str(place / "locked" / "runs")))
    assert result.exit_code == 2
    assert "nothing can be written" in result.stderr
    assert not (place / "locked").exists()


def test_json_for_programs_has_null_where_a_score_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"scores": [0.5, float("nan"), float("inf")], "task": "größer"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "scores": [0.5, None, None],
        "task": "größer",
    }


def test_the_help_of_a_search_names_the_backbones_and_spaces_that_it_takes_by_itself() -> None:
    options = {option.name: option for option in get_command(app).commands["search"].params}  # type: ignore[attr-defined]
    assert options["backbone"].show_default == f"{ON_CUDA[0]} with CUDA, else {ON_CPU[0]}"
    assert options["space"].show_default == f"{ON_CUDA[1]} with CUDA, else {ON_CPU[1]}"


def test_everything_that_a_search_can_be_asked_for_is_an_option_and_an_argument() -> None:
    asked = {field.name for field in fields(Request)}
    options = {option.name for option in get_command(app).commands["search"].params}  # type: ignore[attr-defined]
    assert asked - {"columns"} <= options
    assert asked == signature(search).parameters.keys() - {"listener"}
