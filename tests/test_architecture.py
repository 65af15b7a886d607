"""The shape of the repository, enforced: who may import whom, and how large things may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# each may import those before it, never those after
LAYERS = ["configs", "learner", "actors", "cluster", "launch"]
HEAVY = {"jax", "flax", "optax", "orbax", "tunix", "transformers", "torch"}
FORBIDDEN = {  # module prefix -> outside packages that it must not import
    "configs": HEAVY | {"ray"},
    "cluster.messages": HEAVY | {"ray", "pyarrow"},
    "learner": {"ray"},
    "actors": {"ray"},
    "actors.judge": HEAVY,
    "actors.rewards": HEAVY,
    "learner.board": HEAVY,
    "learner.recorder": HEAVY,
    "learner.progress": HEAVY,
    "learner.ledger": HEAVY,
}
ONLY_IN = {"tunix": "learner.policy.families"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60
VAGUE = {"utils", "common", "helpers", "manager", "base"}


def source_files():
    files = [ROOT / "launch.py", *(p for layer in LAYERS for p in (ROOT / layer).rglob("*.py"))]
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in files if p.exists()]


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "use absolute imports"
            yield node.module


@pytest.mark.parametrize("path", source_files())
def test_imports_point_downwards(path):
    module = module_of(path)
    # what travels between processes lies lowest: every layer but the configuration may import it
    layer = 0 if module == "cluster.messages" else LAYERS.index(module.split(".")[0])
    for name in imported_modules(ast.parse(path.read_text())):
        top = name.split(".")[0]
        if name == "cluster.messages":
            assert module.split(".")[0] != "configs", f"{module} imports {name}"
            continue
        assert top not in LAYERS[layer + 1 :], f"{module} imports {name}, which is above it"


@pytest.mark.parametrize("path", source_files())
def test_heavy_packages_stay_where_they_belong(path):
    module = module_of(path)
    for name in imported_modules(ast.parse(path.read_text())):
        top = name.split(".")[0]
        for prefix, banned in FORBIDDEN.items():
            if (module + ".").startswith(prefix + "."):
                assert top not in banned, f"{module} must not import {name}"
        assert module == ONLY_IN.get(top, module), f"only {ONLY_IN.get(top)} may import {name}"


def test_the_objective_imports_jax_alone():
    tree = ast.parse((ROOT / "learner" / "grpo.py").read_text())
    assert {name.split(".")[0] for name in imported_modules(tree)} <= {"jax", "typing"}


@pytest.mark.parametrize("path", source_files())
def test_sizes_stay_readable(path):
    assert path.stem not in VAGUE
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{path.name}:{node.lineno} {node.name}"
