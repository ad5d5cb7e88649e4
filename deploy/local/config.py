"""The local stack's data folder, ports and options, read from environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from deploy.local.servers.process import LocalError
from deploy.local.servers.s3 import PORTS as S3_PORTS

ROOT = Path(__file__).resolve().parents[2]


DEFAULT_RECEIVERS = ("127.0.0.1:9000", "localhost:9000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Loopback ports.

    A port's environment variable is the field name in capitals with the suffix _PORT:
    POSTGRES_PORT.
    """

    api: int = 8080
    operator: int = 8081
    sandbox: int = 8090
    sandbox_control: int = 8091
    demo_webhook: int = 9001
    temporal: int = 7233
    temporal_ui: int = 8233
    codec: int = 8234
    postgres: int = 54329
    s3: int = 8333  # and the next seven
    api_metrics: int = 9101
    worker_metrics: int = 9102
    worker_sdk_metrics: int = 9103
    temporal_metrics: int = 9104
    prometheus: int = 9090

    @property
    def s3_all(self) -> tuple[int, ...]:
        """Return the S3 port and the seven ports for the server's internal parts."""
        return tuple(range(self.s3, self.s3 + S3_PORTS))

    def by_variable(self) -> list[tuple[str, int]]:
        """Return each port with the environment variable that sets it."""
        named = [(variable_of(field.name), getattr(self, field.name)) for field in fields(self)]
        return named + [(variable_of("s3"), port) for port in self.s3_all[1:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKeys:
    """Real provider keys, for --live and live-check only. "": none."""

    fal_key: str
    replicate_api_token: str
    elevenlabs_api_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSeconds:
    """Seconds that the sandbox takes for an image and for a video."""

    image: float = 2.0
    video: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one local stack.

    live: keys of the real providers, or None for the sandbox.
    sandbox_seconds: the sandbox's durations, which the product also uses for progress and polling.
    None uses the sandbox's defaults, and the durations of the real models for progress and polling.
    receivers: host:port of the webhook receivers on this machine; webhooks reach no other port.
    encrypt_payloads: encrypt the payloads that Temporal stores. A codec endpoint decrypts them for
    the Web UI.
    observe: run Prometheus too, if it is installed.
    operator: run the operator's console.
    """

    folder: Path
    ports: Ports
    live: ProviderKeys | None
    sandbox_seconds: SandboxSeconds | None = None
    receivers: tuple[str, ...] = DEFAULT_RECEIVERS
    encrypt_payloads: bool = False
    observe: bool = False
    operator: bool = False

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def operator_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.operator}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.sandbox}"

    @property
    def sandbox_control_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.sandbox_control}/__control"

    @property
    def temporal_ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.temporal_ui}"

    @property
    def codec_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.codec}"


def read_config(environment: Mapping[str, str], *, live: bool, observe: bool = False) -> Config:
    """Return the configuration that the environment describes.

    Raise LocalError for an invalid port or a missing key.
    """
    folder = Path(environment.get("TAKEONE_DATA_DIR") or ROOT / "var").expanduser().resolve()
    # Real purchases have a ledger of their own, so that no job is looked up at the wrong providers.
    return Config(
        folder=folder / "live" if live else folder,
        ports=_read_ports(environment),
        live=_read_keys(environment) if live else None,
        receivers=_read_receivers(environment),
        sandbox_seconds=None if live else _read_sandbox_seconds(environment),
        observe=observe,
        encrypt_payloads=_yes_or_no("TEMPORAL_ENCRYPT_PAYLOADS", environment),
    )


def _yes_or_no(variable: str, environment: Mapping[str, str]) -> bool:
    text = environment.get(variable, "").lower()
    if text not in ("", "0", "1", "false", "true"):
        raise LocalError(f"{variable} must be true or false, not {text!r}")
    return text in ("1", "true")


def variable_of(port: str) -> str:
    return f"{port.upper()}_PORT"


def _read_ports(environment: Mapping[str, str]) -> Ports:
    chosen = {
        field.name: _port(variable_of(field.name), environment[variable_of(field.name)])
        for field in fields(Ports)
        if environment.get(variable_of(field.name))
    }
    ports = Ports(**chosen)
    seen: dict[int, str] = {}
    for variable, port in ports.by_variable():
        if port in seen:
            raise LocalError(
                f"{variable} and {seen[port]} both use port {port}: change one of them"
            )
        seen[port] = variable
    return ports


def _port(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536 - S3_PORTS):
        raise LocalError(f"{variable} must be a port number, not {text!r}")
    return int(text)


def _read_receivers(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get("ALLOWED_PRIVATE_HOSTS", "")
    receivers = tuple(part.strip() for part in text.split(",") if part.strip())
    for receiver in receivers:
        host, _, port = receiver.rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise LocalError(
                f"ALLOWED_PRIVATE_HOSTS must list host:port of webhook receivers, not {receiver!r}"
            )
    return receivers or DEFAULT_RECEIVERS


def _read_sandbox_seconds(environment: Mapping[str, str]) -> SandboxSeconds:
    default = SandboxSeconds()
    try:
        return SandboxSeconds(
            image=float(environment.get("SANDBOX_IMAGE_SECONDS") or default.image),
            video=float(environment.get("SANDBOX_VIDEO_SECONDS") or default.video),
        )
    except ValueError as error:
        raise LocalError(
            f"SANDBOX_IMAGE_SECONDS and SANDBOX_VIDEO_SECONDS must be numbers: {error}"
        ) from None


def read_some_keys(environment: Mapping[str, str]) -> ProviderKeys:
    """Return the keys of the providers that the environment has. Raise LocalError without any."""
    names = ("FAL_KEY", "REPLICATE_API_TOKEN", "ELEVENLABS_API_KEY")
    values = {name.lower(): environment.get(name, "") for name in names}
    if not any(values.values()):
        raise LocalError(f"Set the key of at least one provider: {', '.join(names)}")
    return ProviderKeys(**values)


def _read_keys(environment: Mapping[str, str]) -> ProviderKeys:
    fal_key, token = environment.get("FAL_KEY"), environment.get("REPLICATE_API_TOKEN")
    if not fal_key or not token:
        missing = [name for name in ("FAL_KEY", "REPLICATE_API_TOKEN") if not environment.get(name)]
        raise LocalError(
            f"Real providers need both keys in the environment; not set: {', '.join(missing)}"
        )
    return ProviderKeys(fal_key=fal_key, replicate_api_token=token)
