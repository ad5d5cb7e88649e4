"""The HTTP application: its routes and its middleware."""

from collections.abc import Sequence
from typing import Final

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from api import callbacks, health
from api.account import keys, provider_keys, usage
from api.assets import assets, downloads
from api.auth.rate_limit import RateHeaders
from api.console import captions, oidc, sessions
from api.console.files import console_router
from api.events import routes as events
from api.executions import approve, executions, generate_video, models, quotes, retry
from api.http import openapi
from api.http.middleware import request_ids, traces
from api.http.middleware.body_limits import BodyLimits
from api.http.middleware.head_requests import HeadRequests
from api.http.middleware.request_heads import RequestHeads
from api.http.middleware.request_ids import RequestIds
from api.http.middleware.security_headers import SecurityHeaders
from api.http.middleware.traces import Traces
from api.http.problems.handlers import UnexpectedErrors, install_error_handlers
from api.http.recovery_admission import refuse_during_recovery
from api.http.schemas import refuse_repeated_parameters
from api.openai import files, listing, unsupported, videos
from api.orders import imports as plan_imports
from api.orders import routes as orders
from api.orders.variables.schema import allow_variables
from api.services import Services
from api.templates import templates
from api.webhooks import deliveries, endpoints, listening
from core.platform.observability.access_log import AccessLog
from core.version import VERSION

STARTING: Final = (
    generate_video.router,
    orders.router,
    retry.router,
    approve.router,
    videos.orders,
)
"""Routes that start work."""
ROUTERS: Final = (
    executions.router,
    events.router,
    quotes.router,
    plan_imports.router,
    models.router,
    templates.router,
    assets.router,
    downloads.router,
    endpoints.router,
    listening.router,
    deliveries.router,
    usage.router,
    unsupported.router,
    listing.router,
    videos.router,
    files.router,
    keys.router,
    provider_keys.router,
    callbacks.router,
    health.router,
)
CORS_MAX_AGE_SECONDS: Final = 600
REQUEST_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", request_ids.HEADER)
RESPONSE_HEADERS: Final = (
    request_ids.HEADER,
    "Idempotent-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    traces.HEADER,
)


def create_app(
    services: Services, *, cors_origins: Sequence[str] = (), console: bool = True
) -> FastAPI:
    """Return the application. The caller opens the services before it serves and closes them.

    cors_origins: of pages that may call the API from a browser. console: serve the web console.
    """
    app = FastAPIOffline(  # /docs serves its scripts from this process: it works without internet
        title="Takeone",
        version=VERSION,
        summary="Durable AI video generation. Every step is paid for once.",
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        redoc_url=None,
        dependencies=[Depends(refuse_repeated_parameters)],
    )
    app.state.services = services
    for router in STARTING:
        app.include_router(router, dependencies=[Depends(refuse_during_recovery)])
    for router in ROUTERS:
        app.include_router(router)
    if console:
        app.include_router(sessions.router)
        app.include_router(oidc.router)
        app.include_router(captions.router)
        app.include_router(console_router())
    install_error_handlers(app)
    _add_middleware(app, cors_origins)
    openapi.install(app, allow_variables)
    return app


def _operation_id(route: APIRoute) -> str:
    """Return the name of the route's function, for generated and handwritten clients."""
    return route.name


def _add_middleware(app: FastAPI, cors_origins: Sequence[str]) -> None:
    """Add the middleware, innermost first."""

    def asset_bytes() -> int:
        services: Services = app.state.services
        return services.imports.limits.max_bytes

    app.add_middleware(BodyLimits, asset_bytes=asset_bytes)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(RateHeaders)
    app.add_middleware(HeadRequests)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=list(REQUEST_HEADERS),
            expose_headers=list(RESPONSE_HEADERS),
            max_age=CORS_MAX_AGE_SECONDS,
        )
    app.add_middleware(RequestHeads)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(AccessLog)
    app.add_middleware(Traces)
    app.add_middleware(RequestIds)
