"""Image, Compose file and .env.example, checked against the code and by the tools' parsers."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic.fields import FieldInfo

from core.platform.settings.base import Settings
from core.platform.settings.load import load
from core.platform.settings.processes import (
    AdminProcess,
    ApiProcess,
    CodecProcess,
    MigrateProcess,
    WorkerProcess,
)
from core.platform.temporal.policies import EXIT_SECONDS
from deploy.local.servers.s3 import S3Access, s3

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
PROCESSES: tuple[type[Settings], ...] = (
    ApiProcess,
    WorkerProcess,
    MigrateProcess,
    AdminProcess,
    CodecProcess,
)
Product = Literal["api", "worker", "migrate", "codec"]
OWNERS_SECRETS = ("DATABASE_OWNER_URL", "POSTGRES_PASSWORD", "POSTGRES_TEMPORAL_PASSWORD")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOT_PACKAGES: set[str] = set(PROJECT["tool"]["importlinter"]["root_packages"])
PRODUCT: set[str] = ROOT_PACKAGES - {"sandbox", "deploy"} | set(
    PROJECT["tool"]["setuptools"]["py-modules"]
)

# ---- .env.example


def known_settings() -> dict[str, list[FieldInfo]]:
    known: dict[str, list[FieldInfo]] = {}
    for process in PROCESSES:
        for name, field in process.model_fields.items():
            known.setdefault(name.upper(), []).append(field)
    return known


def compose_variables() -> set[str]:
    """Return the variables that compose.yaml or Compose itself reads from .env."""
    text = (ROOT / "deploy/compose.yaml").read_text()
    return {*re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", text), "COMPOSE_PROFILES"}


def example() -> Iterator[tuple[str, str, bool, str]]:
    """Return each setting's name, its value, whether it is set (not `# NAME=`), and its comment."""
    comment: list[str] = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        if found := re.fullmatch(r"(# )?([A-Z][A-Z0-9_]+)=(.*)", line):
            yield found[2], found[3], found[1] is None, " ".join(comment)
            comment = []
        else:
            comment = [*comment, line.removeprefix("# ")] if line else []


def test_env_example_names_exactly_the_settings_and_compose_variables() -> None:
    names = [name for name, _, _, _ in example()]
    assert len(names) == len(set(names))
    assert set(names) == known_settings().keys() | compose_variables()


def test_env_example_explains_each_setting() -> None:
    comments = {name: comment for name, _, _, comment in example()}
    silent = [
        name
        for name, fields in known_settings().items()
        if not all((field.description or "?") in comments[name] for field in fields)
    ]
    assert silent == []


def test_env_example_shows_the_defaults_of_unset_settings() -> None:
    shown = {name: value for name, value, is_set, _ in example() if not is_set}
    wrong: dict[str, str] = {}
    for name, fields in known_settings().items():
        if name in shown:
            defaults = {
                "" if field.get_default() in (None, ()) else str(field.get_default())
                for field in fields
            }
            # Settings that differ between processes have no single default to show.
            if shown[name] != (defaults.pop() if len(defaults) == 1 else ""):
                wrong[name] = shown[name]
    assert wrong == {}


# ---- .env, created as documented


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the deployment files and the .env of docs/how-to/deploy.md."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".env.example").write_text((ROOT / ".env.example").read_text())
    (folder / "deploy").symlink_to(ROOT / "deploy")
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/how-to/deploy.md").read_text(), re.DOTALL)
    (command,) = [block for block in blocks if ".env.example > .env" in block]
    subprocess.run(["sh", "-euc", command], cwd=folder, check=True)
    return folder


@pytest.mark.usefixtures("env_file_is_read")
def test_documented_command_creates_settings_that_every_process_accepts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "change-me" not in (checkout / ".env").read_text()
    assert (checkout / ".env").stat().st_mode & 0o077 == 0
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(checkout)
    for process in PROCESSES:
        load(process)


# ---- compose.yaml


def compose(checkout: Path, *arguments: str, **environment: str) -> str:
    """Return the configuration that Compose resolves; this needs no container engine."""
    done = subprocess.run(
        [
            str(PROGRAMS / "docker-compose"),
            "--env-file",
            ".env",
            "-f",
            "deploy/compose.yaml",
            "config",
            *arguments,
        ],
        cwd=checkout,
        env={"HOME": str(checkout), "PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def services(checkout: Path) -> dict[str, Any]:
    every = compose(checkout, "--format", "json", COMPOSE_PROFILES="*")
    found: dict[str, Any] = json.loads(every)["services"]
    return found


def test_compose_pins_every_image_that_it_does_not_build(services: dict[str, Any]) -> None:
    pulled = {
        name: service["image"] for name, service in services.items() if "build" not in service
    }
    assert {"postgres", "temporal", "temporal-ui", "s3"} <= pulled.keys()
    assert [
        image for image in pulled.values() if not re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image)
    ] == []
    tools, server = pulled["temporal-schema"], pulled["temporal"]
    assert tools.partition(":")[2] == server.partition(":")[2]


def test_compose_gives_each_container_the_least_rights(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        assert int(service["mem_limit"]) > 0, name
        assert "privileged" not in service
        assert service["read_only"] is True, name


def test_compose_takes_the_digest_of_each_pulled_image(
    checkout: Path, services: dict[str, Any]
) -> None:
    pulled = {name for name, service in services.items() if "build" not in service}
    images = {name: f"example.test/{name}@sha256:{'0' * 64}" for name in compose_variables()}
    chosen = {name: image for name, image in images.items() if name.endswith("_IMAGE")}
    every = json.loads(compose(checkout, "--format", "json", COMPOSE_PROFILES="*", **chosen))
    assert {every["services"][name]["image"] for name in pulled} == set(chosen.values())


def test_compose_connects_each_server_with_its_users_only(services: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}
    reached = {
        server: {name for name in networks if networks[name] & networks[server]} - {server}
        for server in ("postgres", "temporal-postgres", "sandbox", "codec", "proxy")
    }
    assert reached["postgres"] == {"api", "migrate", "worker"}
    assert reached["temporal-postgres"] == {"temporal", "temporal-schema"}
    assert reached["codec"] == set()
    assert reached["proxy"] == {"api"}
    assert not reached["sandbox"] & {"postgres", "temporal", "temporal-postgres", "proxy"}
    for name, service in services.items():  # a server must share a network with what it waits for
        for other in service.get("depends_on", {}):
            if other != "migrate" and not other.endswith(("-bucket", "-namespace")):
                assert networks[name] & networks[other], (name, other)


def test_compose_and_local_stack_have_the_same_s3_identities(
    checkout: Path, tmp_path: Path
) -> None:
    settings = {"S3_BUCKET": "films", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    every = json.loads(compose(checkout, "--format", "json", COMPOSE_PROFILES="*", **settings))
    access = S3Access(
        endpoint_url="", bucket="films", access_key_id="key", secret_access_key="secret"
    )
    part = s3(tmp_path, tuple(range(1, 9)), access, log=tmp_path / "log")
    part.prepare()
    local = (tmp_path / "s3" / "s3.json").read_text()
    assert json.loads(every["configs"]["s3-identities"]["content"]) == json.loads(local)


def test_compose_publishes_only_the_proxy_beyond_loopback(services: dict[str, Any]) -> None:
    published = {
        (name, port.get("host_ip", "0.0.0.0"))
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    assert {name for name, host in published if host != "127.0.0.1"} == {"proxy"}
    assert "worker" not in {name for name, _ in published}, "a fixed port would forbid --scale"


def test_compose_conditions_can_be_met(services: dict[str, Any]) -> None:
    waits = [
        (other, wanted["condition"])
        for service in services.values()
        for other, wanted in service.get("depends_on", {}).items()
    ]
    assert waits
    for other, condition in waits:
        if condition == "service_healthy":
            assert "test" in services[other].get("healthcheck", {}), (
                f"{other} never says that it is healthy"
            )
        else:
            assert condition == "service_completed_successfully"
            assert "restart" not in services[other], f"{other} would start again and again"
    # `up --wait` fails on a service that exits, unless another service waits for its completion.
    assert {name for name, service in services.items() if "restart" not in service} == {
        other for other, condition in waits if condition == "service_completed_successfully"
    }


@pytest.mark.parametrize("name", get_args(Product))
def test_compose_gives_each_process_only_known_settings(
    services: dict[str, Any], name: Product
) -> None:
    assert services[name]["environment"].keys() <= known_settings().keys() | compose_variables()
    assert services[name]["read_only"]
    assert services[name]["cap_drop"] == ["ALL"]


def test_compose_hides_owner_passwords_from_the_api_and_worker(services: dict[str, Any]) -> None:
    for name in ("api", "worker"):
        environment: dict[str, str] = services[name]["environment"]
        assert [environment[secret] for secret in OWNERS_SECRETS] == ["", "", ""]
        secrets = [services["migrate"]["environment"][secret] for secret in OWNERS_SECRETS]
        assert all(secrets)
        assert f":{secrets[1]}@" in secrets[0], (
            "the owner's address has another password than its server"
        )
        assert not set(secrets) & set(environment.values())


def test_compose_gives_a_worker_time_to_finish_paid_calls(services: dict[str, Any]) -> None:
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > EXIT_SECONDS


def test_compose_without_profiles_runs_only_the_product(checkout: Path) -> None:
    assert (
        compose(checkout, "--services", COMPOSE_PROFILES="none").split().sort()
        == ["api", "migrate", "worker"].sort()
    )


# ---- the image


def copied(stage: str) -> set[str]:
    """Return the paths that a stage of the Dockerfile copies from the build context."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    (body,) = [
        part
        for part in re.split(r"^FROM ", text, flags=re.MULTILINE)
        if part.partition("\n")[0].endswith(stage)
    ]
    return {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", body, re.MULTILINE)
        for source in line.split()
    }


@pytest.mark.parametrize("file", ["deploy/Dockerfile", "deploy/serverless/Dockerfile"])
def test_dockerfile_passes_its_linter(file: str) -> None:
    done = subprocess.run(
        [str(PROGRAMS / "hadolint"), "--failure-threshold", "style", str(ROOT / file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_serverless_files_name_what_exists() -> None:
    """Lambda's image runs the product's command on known settings; Vercel imports a module."""
    text = (ROOT / "deploy/serverless/Dockerfile").read_text()
    given = set(re.findall(r"^(?:ENV|   ) ([A-Z0-9_]+)=", text, re.MULTILINE))
    assert given
    assert {name for name in given if not name.startswith("AWS_LWA_")} <= known_settings().keys()
    vercel = json.loads((ROOT / "deploy/serverless/vercel.json").read_text())
    (module,) = vercel["functions"]
    assert (ROOT / module).exists()
    assert vercel["rewrites"][0]["destination"] == f"/{module.removesuffix('.py')}"


def test_image_has_only_the_products_packages() -> None:
    files = {source.removesuffix(".py") for source in copied(" AS code")}
    assert files == PRODUCT | {"console", "pyproject.toml"}
    assert copied(" AS sandbox-code") == {"sandbox"}


def test_dockerignore_admits_only_what_the_image_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    stages = (" AS wheels", " AS sandbox-wheels", " AS code", " AS sandbox-code")
    wanted = {source for stage in stages for source in copied(stage)}
    assert {line[1:] for line in lines if line.startswith("!")} == wanted


def image_distributions() -> set[str]:
    """Return the packages of the product and of traces with their own, as installed here."""
    found: set[str] = set()
    direct = (
        PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["tracing"]
    )
    waiting = [Requirement(text) for text in direct]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(key[0])
        for text in requires(wanted.name) or []:
            needed = Requirement(text)
            extras = wanted.extras or {""}
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(needed)
    return found


def locked(name: str) -> dict[str, str]:
    """Return the versions of a requirements file. Every entry is exact and has hashes."""
    text = (ROOT / "deploy" / name).read_text()
    assert "://" not in text, "the file must not name a package index"
    entries = text.replace("\\\n", " ").splitlines()
    entry = re.compile(r"([A-Za-z0-9._-]+)==(\S+) (?: +--hash=sha256:[0-9a-f]{64})+")
    found = [entry.fullmatch(line) for line in entries]
    assert all(found), [line for line, match in zip(entries, found, strict=True) if not match]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_image_installs_exactly_the_constrained_versions_by_hash() -> None:
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
    versions: dict[str, str] = {
        canonicalize_name(name): version for name, version in constraints.items()
    }
    product = locked("requirements.txt")
    assert product.keys() == image_distributions(), "run `make image-requirements`"
    both = product | locked("requirements-sandbox.txt")
    assert both.keys() == product.keys()
    assert both == {name: versions[name] for name in both}, "run `make image-requirements`"
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert text.count("pip download") == text.count("--require-hashes") == 2


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the top-level packages that a file imports at run time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        else:
            yield from imported(node)


def test_product_imports_only_packages_of_the_image() -> None:
    available, owners = image_distributions(), packages_distributions()
    assert {"temporalio", "uvloop"} <= available, "the walk over the dependencies went nowhere"
    assert not {"pytest", "psutil"} & available
    files = [
        path
        for name in PRODUCT
        for path in (
            [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else (ROOT / name).rglob("*.py")
        )
    ]
    lacking = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imported(ast.parse(path.read_text()))
        if module not in sys.stdlib_module_names
        and module not in PRODUCT
        and not {canonicalize_name(owner) for owner in owners.get(module, [])} & available
    }
    assert len(files) > 50
    assert lacking == set()
