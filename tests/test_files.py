"""Files are read so that none hangs or crashes the reader, and written over nothing that is read, in every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from lstm_checks import files
from lstm_checks.files import FileError, expect_apart, parse_json, parse_toml, read_bytes, replace_file
from lstm_checks.targets.load import files_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
def test_json_is_read_as_python_reads_it(value):
    text = json.dumps(value)
    assert parse_json(text.encode()) == json.loads(text)


@given(VALUES, st.text(), st.integers(0, 5))
def test_a_key_that_stands_twice_is_named_with_its_line(value, key, lines):
    name, inner = json.dumps(key), json.dumps(value)
    text = f'[{inner},{{{name}: 1,{chr(10) * lines}"other{inner[:0]}": 2, {name}: {{}}}}]'
    if key == "other":
        return
    with pytest.raises(FileError) as caught:
        parse_json(text.encode())
    assert str(caught.value).startswith(f"line {lines + 1}: the key ")


@given(st.binary(max_size=60) | st.text('[]{}":,0123456789.eE+-NaInfity \n\\u', max_size=60).map(str.encode))
def test_whatever_bytes_come_are_a_value_or_refused_in_words(data):
    for parse in (parse_json, parse_toml, lambda text: parse_json(text, constants=True)):
        try:
            parse(data)
        except FileError as error:
            words = str(error)
            assert len(words) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "line 1: brackets stand more than 64 deep in brackets"),
        ("\n\n" + '{"a":' * 5_000, "line 3: brackets stand more than 64 deep in brackets"),
        ("\n[1, " + "9" * 5_000 + "]", "line 2: a number of 5,000 characters is beyond float64"),
        ("[1e400]", "line 1: 1e400 is beyond float64"),
        ("[1,\n-Infinity]", "line 2: not JSON: -Infinity"),
        ('{"\\u0061": 1, "a": 2}', "line 1: the key 'a' is there twice in one object"),
        ("[1, 2", "not JSON: Expecting ',' delimiter, line 1 column 6 where the file ends: it was cut short"),
        ("\xe9", "byte 0 is not UTF-8: the file is damaged"),
    ],
)
def test_json_that_would_break_a_reader_is_refused_with_its_line(text, words):
    with pytest.raises(FileError) as caught:
        parse_json(text.encode("latin-1"))
    assert str(caught.value).startswith(words)


def test_a_limit_on_whole_numbers_that_somebody_has_set_is_no_crash():
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)
        with pytest.raises(FileError, match="not JSON: Exceeds the limit"):
            parse_json(b"[" + b"9" * 800 + b"]", constants=True)
    finally:
        sys.set_int_max_str_digits(before)


def test_brackets_in_texts_are_no_depth():
    assert parse_json(json.dumps(["[" * 1000, '"[' * 1000]).encode()) == ["[" * 1000, '"[' * 1000]


def test_only_files_are_read_and_only_so_much_of_them(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"x" * 11)
    assert read_bytes(tmp_path / "long", 11) == b"x" * 11
    for path, words in (
        (tmp_path / "pipe", "is a pipe, expected a file"),
        ("/dev/zero", "is a device, expected a file"),
        (tmp_path / "long", "has 11 bytes, expected at most 10"),
        ("a\0b", "is no path: .*embedded null"),  # which words follow hangs on the Python
    ):
        with pytest.raises(FileError, match=words):
            read_bytes(path, 10)
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
    assert not handles or len(os.listdir("/proc/self/fd")) == handles


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for write in (replace_file, files.append):
        with pytest.raises(OSError, match="No such device or address"):
            write(tmp_path / "pipe", "text")


# What is written is apart from what is read


@pytest.mark.parametrize(
    "name", ["read.txt", "./read.txt", "folder/../read.txt", "link", "hard", "READ.TXT", "via/read.txt"]
)
def test_no_link_and_no_spelling_leads_to_what_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("read.txt").write_text("read")
    Path("link").symlink_to("read.txt")
    Path("hard").hardlink_to("read.txt")
    Path("via").symlink_to(".")
    with pytest.raises(FileError, match="that is the baseline"):
        expect_apart([("the report", name)], [("the baseline", "read.txt")])
    expect_apart(
        [("the report", "other.txt"), ("another", "/dev/null"), ("a third", "/dev/null")], [("it", "read.txt")]
    )
    with pytest.raises(FileError, match="that is where the report goes"):
        expect_apart([("the report", "new.txt"), ("another", f"./{'New.TXT'}")], [])


def test_an_older_report_is_replaced_and_source_code_is_not(tmp_path):
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "old.toml").write_text("")
    expect_apart([("the report", tmp_path / "old.json"), ("another", tmp_path / "new.toml")], [])
    with pytest.raises(FileError, match=r"a file \.toml that is there is never replaced"):
        expect_apart([("the report", tmp_path / "old.toml")], [])


def test_the_files_of_a_target_are_found_without_running_any(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pkg", "inner").mkdir(parents=True)
    for path in ("pkg/__init__.py", "pkg/inner/__init__.py", "pkg/inner/mod.py", "alone.py"):
        Path(path).write_text("raise SystemExit('it was run')\n")
    package = {tmp_path / "pkg/__init__.py", tmp_path / "pkg/inner/__init__.py", tmp_path / "pkg/inner/mod.py"}
    assert set(files_of("pkg.inner.mod:LSTM")) == set(files_of("pkg:LSTM")) == package
    assert files_of("alone:LSTM") == files_of("alone.py:LSTM") == [tmp_path / "alone.py"]
    assert files_of("model.onnx") == [tmp_path / "model.onnx"]
    found = files_of(f"exec:{sys.executable} run.py --weights=w.bin")
    assert {Path(sys.executable), tmp_path / "run.py", tmp_path / "w.bin"} <= set(found)
    for spec in ("", "torch", "no.such.module:LSTM", "exec:", "exec:'", "fault:carry-dropped", "::", "/:"):
        files_of(spec)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text("from lstm_ref import LSTM\n")
    (tmp_path / "program").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "v.json").write_text("{}")
    (tmp_path / "w.npz").write_bytes(b"weights")
    (tmp_path / "report.json").symlink_to("mine.py")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "verify mine.py:LSTM --json mine.py",
        "verify mine.py:LSTM --json report.json",
        "verify mine:LSTM --json report.json",
        "verify mine.py:LSTM --executor processes:1 --journal report.json",
        "verify exec:./program --json program",
        "certify mine.py:LSTM --json report.json",
        "vectors run mine.py:LSTM --json report.json",
        "vectors run exec:./program --json ./program",
        "vectors run mine.py:LSTM --file v.json --json v.json",
        "vectors write mine.py",
        "faults --json mine.py",
        "faults --matrix --write m.md --json m.svg",
        "convert --from torch --to keras w.npz ./w.npz",
    ],
)
def test_no_command_writes_over_what_it_reads(folder, command):
    if command.startswith("vectors write"):
        pytest.importorskip("flint")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    found = run(*command.split(), cwd=folder)
    assert found.returncode == 2, found.stdout
    assert " cannot be written to " in found.stderr
    assert "Traceback" not in found.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_pipe_in_place_of_any_file_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.md")
    for command in (
        "gate --config pipe.md",
        "gate --init --config pipe.md",
        "vectors run lstm_ref:LSTM --file pipe.md",
        "faults --matrix --write pipe.md",
        "verify lstm_ref:LSTM --executor processes:1 --examples 1 --journal pipe.md",
        "faults carry-dropped --json pipe.md",
    ):
        found = subprocess.run(
            [sys.executable, "-m", "lstm_checks", *command.split()],
            cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert found.returncode == 2, command
        assert "Traceback" not in found.stderr
        assert "is a pipe" in found.stderr or "No such device" in found.stderr or "matplotlib" in found.stderr
