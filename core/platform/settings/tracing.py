"""Settings of traces, with the names of OpenTelemetry."""

from pydantic import Field, SecretStr, field_validator

from core.platform.settings.base import Settings, Url


class TracingSettings(Settings):
    """Traces by OTLP; off without OTEL_EXPORTER_OTLP_ENDPOINT."""

    otel_exporter_otlp_endpoint: Url | None = Field(
        default=None,
        description="address of an OTLP/HTTP collector, to which spans are exported; needs the packages of "
        "takeone-server[tracing]; default: no traces",
        examples=["http://collector:4318"],
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(
        default=None,
        description="headers of exports, as name=value separated by commas",
    )
    otel_traces_sampler_arg: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of requests whose trace is exported, from 0 to 1; the others have a trace id for the logs",
    )

    @field_validator("otel_exporter_otlp_headers")
    @classmethod
    def _pairs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(
            "=" not in pair for pair in value.get_secret_value().split(",")
        ):
            raise ValueError("must be name=value, separated by commas")
        return value

    def otlp_headers(self) -> dict[str, str]:
        """Return the headers of exports by name."""
        text = (
            ""
            if self.otel_exporter_otlp_headers is None
            else self.otel_exporter_otlp_headers.get_secret_value()
        )
        pairs = (pair.partition("=") for pair in text.split(",") if pair)
        return {name.strip(): value.strip() for name, _, value in pairs}
