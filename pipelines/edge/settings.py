"""`perennial.yaml`: where, when and on what a workspace runs. Never part of a fingerprint."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlparse
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ANY_TASK = "*"
VARIABLE = r"^[A-Z_][A-Z0-9_]*$"
Verdict = Literal["accepted", "rejected", "undecided", "failed", "held", "stale"]


def _duration(value: object) -> object:
    if not isinstance(value, str) or value.startswith(("P", "-P")):
        return value  # ISO 8601, a number of seconds, or a timedelta
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*", value)
    if match is None:
        raise ValueError(f"no duration: {value!r}; wanted for instance 30s, 15m, 6h, 2d or PT6H")
    return timedelta(**{{"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]: float(match[1])})


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0))]


class Section(BaseModel):
    """One section of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Retention(Section):
    """How many versions keep their weights. Champion, previous, base and pinned references always do."""

    accepted: int = Field(5, ge=1, description="accepted versions kept, newest first")
    rejected: int = Field(1, ge=0, description="rejected and undecided versions kept, newest first")


class Servers(Section):
    """Addresses of the two servers; those left out are started by `perennial up`, on this machine."""

    prefect: str | None = Field(None, description="a Prefect server's API, for instance http://127.0.0.1:4200/api")
    mlflow: str | None = Field(None, description="an MLflow server, for instance http://127.0.0.1:5000")
    host: str = Field("127.0.0.1", description="what the servers started here listen on")
    prefect_port: int = Field(4200, ge=1024, le=65535, description="the first port tried")
    mlflow_port: int = Field(5000, ge=1024, le=65535, description="the first port tried")

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        for name, address in (("prefect", self.prefect), ("mlflow", self.mlflow)):
            if address is not None and urlparse(address).scheme not in {"http", "https"}:
                raise ValueError(f"servers.{name}: wanted an address http(s)://…, found {address!r}")
            if address is not None and urlparse(address).password:
                raise ValueError(f"servers.{name}: a password belongs in the environment, not in this file")
        return self


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"no time zone {name!r}; write it like Europe/Berlin or UTC") from error
    return name


def _cron(text: str) -> str:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"no cron line: {text!r} ({error}); wanted five fields, for instance '0 2 * * *'") from error
    return text


def _rrule(text: str) -> str:
    from dateutil.rrule import rrulestr

    try:
        rrulestr(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"no RRULE: {text!r} ({error}); for instance 'FREQ=WEEKLY;BYDAY=MO;BYHOUR=2'") from error
    return text


TimeZone = Annotated[str, AfterValidator(_time_zone)]


class Schedule(Section):
    """When a refresh starts by the clock: one of cron, every and rrule."""

    cron: Annotated[str, AfterValidator(_cron)] | None = Field(None, description="five fields: '0 2 * * *'")
    every: Duration | None = Field(None, description="an interval, for instance 6h")
    rrule: Annotated[str, AfterValidator(_rrule)] | None = Field(None, description="RFC 5545, for instance FREQ=WEEKLY")
    timezone: TimeZone = "UTC"
    recipe: str | None = Field(None, description="a recipe's path or name; default: the workspace's")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [name for name in ("cron", "every", "rrule") if getattr(self, name) is not None]
        if len(rules) != 1:
            raise ValueError(f"a schedule has one of cron, every and rrule, found {' and '.join(rules) or 'none'}")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError(f"every: {self.every} is less than a minute")
        return self


class Runtime(Section):
    """What the jobs of a stage run on: it decides how fast, never what."""

    engine: Literal["local", "ray"] = Field("local", description="processes of this machine, or a Ray cluster")
    workers: int = Field(0, ge=0, description="jobs at a time; 0: as many as there are cores")
    address: str | None = Field(
        None, description="of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT; none: one is started on this machine"
    )

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.address is None:
            return self
        if self.engine != "ray":
            raise ValueError(f"runtime.address: {self.address!r} is for engine: ray, found engine: {self.engine}")
        if not re.fullmatch(r"auto|(ray://)?[A-Za-z0-9.-]+:\d{1,5}|(ray://)?\[[0-9a-fA-F:]+\]:\d{1,5}", self.address):
            raise ValueError(f"runtime.address: wanted auto, HOST:PORT or ray://HOST:PORT, found {self.address!r}")
        return self


class Training(Section):
    """What training runs on: it decides how fast, never what."""

    processes: int = Field(0, ge=0, description="that train together, each on a GPU of its own; 0: one for each GPU")


class Inbox(Section):
    """A place that is watched for new files of a task."""

    task: str
    address: str = Field(description="a folder (relative: inside the workspace) or an fsspec address: s3://bucket/docs")
    pattern: str = Field("**/*", description="which files below it, a glob")
    poll_seconds: float = Field(30.0, ge=1.0, description="how often an address that is no local folder is listed")
    settle_seconds: float = Field(2.0, ge=0.0, description="a file lands once it has not changed for so long")

    @property
    def is_local(self) -> bool:
        """Whether the address is a folder of this machine."""
        return not re.match(r"^[a-z][a-z0-9+.-]+://", self.address) or self.address.startswith("file://")


class Receiver(Section):
    """`POST /landed`: a sender says that something lies under a watched address. Needs one of the two secrets."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = Field(4280, ge=1024, le=65535)
    token_variable: str = Field("PERENNIAL_RECEIVER_TOKEN", pattern=VARIABLE, description="its bearer token")
    hmac_variable: str = Field("PERENNIAL_RECEIVER_HMAC", pattern=VARIABLE, description="its key for signatures")
    max_bytes: int = Field(65_536, ge=256, description="of a request's body")


class Trigger(Section):
    """When landed data starts a refresh: enough of it, or old enough; and quiet; and seen."""

    documents: int | None = Field(1, ge=1, description="start at so many waiting documents")
    tokens: int | None = Field(None, ge=1, description="start at so many waiting tokens (estimated: bytes / 4)")
    oldest: Duration | None = Field(None, description="start when the oldest has waited so long")
    quiet: Duration = Field(timedelta(seconds=30), description="but only once nothing has landed for so long")
    review: Duration = Field(timedelta(0), description="a batch takes part only so long after it landed")


class Budget(Section):
    """What schedules and triggers may spend in any 24 hours; a refresh by hand is not counted against it."""

    runs: int | None = Field(None, ge=1, description="refreshes")
    device_hours: float | None = Field(None, gt=0, description="hours of device time")


class Channel(Section):
    """Who is told: a Prefect block, or an Apprise address that the environment holds."""

    on: tuple[Verdict, ...] = ("accepted", "rejected", "undecided", "failed", "held", "stale")
    block: str | None = Field(None, description="a Prefect block, for instance slack-webhook/team")
    variable: str | None = Field(
        None, pattern=VARIABLE, description="an environment variable with an Apprise address (Slack, e-mail, webhook)"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.block is None) == (self.variable is None):
            raise ValueError("a notification has one of block and variable")
        return self


class Settings(Section):
    """The whole file."""

    name: str = Field("perennial", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="registered model and experiment")
    recipe: str = Field("default", description="the recipe that `perennial refresh` runs")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda)$", description="auto: a GPU if there is one")
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0: all cores")
    runtime: Runtime = Runtime()
    training: Training = Training()
    retention: Retention = Retention()
    servers: Servers = Servers()
    schedules: dict[str, Schedule] = Field(default_factory=dict, description="by name")
    inbox: tuple[Inbox, ...] = ()
    receiver: Receiver = Receiver()
    triggers: dict[str, Trigger] = Field(default_factory=dict, description="by task; '*' is every other task to train")
    budget: Budget = Budget()
    approval: bool = Field(False, description="a passed candidate waits for `perennial promote`")
    notifications: tuple[Channel, ...] = ()
    alert_after_days: float | None = Field(None, gt=0, description="tell when no refresh was accepted for so long")
    failures_before_hold: int = Field(3, ge=1, description="failed attempts after which a batch is held")
    retry_after: Duration = Field(
        timedelta(minutes=1), description="how soon a failed attempt is tried again; doubled each time, up to an hour"
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.schedules:
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
                raise ValueError(f"schedules: {name!r}: wanted lower-case letters, digits and dashes")
        return self

    def trigger(self, task: str) -> Trigger | None:
        """The conditions of a task; none: its landings start nothing by themselves."""
        return self.triggers.get(task, self.triggers.get(ANY_TASK))
