"""What a policy writes is data: nothing in this code runs, unpickles or expands text."""

import ast

import pytest

from cluster.doctor.commands import ROOT

FILES = [ROOT / "launch.py"] + [
    path
    for layer in ("configs", "cluster", "learner", "actors")
    for path in sorted((ROOT / layer).rglob("*.py"))
]
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
MODULES = {
    "pickle",
    "cloudpickle",
    "dill",
    "marshal",
    "shelve",
    "jinja2",
    "mako",
    "string.Template",
}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}
# where unread Python is run on purpose, after its process has confined itself
SANDBOX = {"actors/rewards/sandboxed.py"}
# renders the template of a tokenizer in Jinja's sandbox, around a mark: no other text comes near it
TEMPLATES = {"learner/policy/chat.py"}


def violations(source):
    """(line, what) of every place that could run or unpickle a text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in RUNS_CODE:
                yield node.lineno, name
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="os" | "subprocess"), attr=name)
            ) if name in SHELLS:
                yield node.lineno, name
            case ast.keyword(arg="shell", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                yield value.lineno, "shell="
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield node.value.lineno, "allow_pickle"
            case ast.Import(names=names):
                yield from ((node.lineno, n.name) for n in names if n.name in MODULES)
            case ast.ImportFrom(module=module) if module in MODULES:
                yield node.lineno, module


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_text_is_run(path):
    found = list(violations(path.read_text()))
    if str(path.relative_to(ROOT)) in SANDBOX | TEMPLATES:
        assert found, "it no longer needs its exception"
    else:
        assert not found


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "import jinja2",
    ],
)
def test_what_would_run_a_text_is_seen(source):
    assert list(violations(source))
