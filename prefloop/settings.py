"""The one settings file. Whatever differs between machines comes from the environment.

A malformed value stops the start and names itself. Secrets may also be given as NAME_FILE, the path
of a file that holds the value. docs/reference/settings.md lists every variable.
"""

import os
import secrets
import sys
import tempfile
import warnings
from pathlib import Path
from urllib.parse import unquote, urlparse

from django.core.exceptions import ImproperlyConfigured

# Model libraries must neither report usage nor look for anything on a hub unless asked to.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Runs report their own progress; the libraries' bars would only fill the logs.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# PEFT 0.21 still asks transformers 5 by the old name, each time it wraps a model. A run's log and a
# person's terminal should not tell of that: nobody here can change it.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)

BASE_DIR = Path(__file__).resolve().parent.parent
TESTING = "pytest" in sys.modules


def text(name: str, default: str | None = None) -> str:
    """The variable's value, or the content of the file that NAME_FILE points to."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE={path} cannot be read: {error}") from error
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE")
    return value


def flag(name: str, default: bool) -> bool:
    value = os.environ.get(name)
    if value is None:
        return default
    if value not in ("True", "False"):
        raise ImproperlyConfigured(f"Unexpected value {name}={value}, use 'True' or 'False'")
    return value == "True"


def number(name: str, default: int, least: int, most: int = sys.maxsize) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or not least <= int(value) <= most:
        bounds = f"from {least} to {most}" if most < sys.maxsize else f"from {least}"
        raise ImproperlyConfigured(f"Unexpected value {name}={value}, use a whole number {bounds}")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def secret_key(home: Path) -> str:
    """The key given, or one made on the first start and kept in a file only its owner can read."""
    if os.environ.get("SECRET_KEY") or os.environ.get("SECRET_KEY_FILE"):
        key = text("SECRET_KEY")
    else:
        path = home / "secret_key"
        try:
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(64))
        except FileExistsError:
            pass
        key = path.read_text(encoding="utf-8").strip()
    if len(key) < 50:
        raise ImproperlyConfigured("SECRET_KEY is shorter than 50 characters")
    return key


# What a test reads without an order comes backwards, so that no code can lean on one that
# PostgreSQL does not keep. And no test outlives a power cut, so none waits for the disk.
TEST_PRAGMAS = "PRAGMA reverse_unordered_selects=ON;PRAGMA synchronous=OFF;"
TEST_OPTIONS = " -c synchronous_commit=off"


def database(url: str, home: Path) -> dict[str, object]:
    """SQLite (`sqlite:///path`) or PostgreSQL (`postgresql://user:password@host:port/name`)."""
    parts = urlparse(url)
    if parts.scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": path or str(home / "prefloop.sqlite3"),
            # Deferred transactions lose work under contention; WAL with immediate ones does not.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # Full synchronisation stays on: an acknowledged ranking survives a power cut.
                "init_command": "PRAGMA journal_mode=WAL;" + (TEST_PRAGMAS if TESTING else ""),
            },
            # A file, not memory: threads of the live test server open connections of their own.
            "TEST": {"NAME": str(home / f"test-{os.getpid()}.sqlite3")},
        }
    if parts.scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(
            f"DATABASE_URL={parts.scheme}://… is neither sqlite nor postgresql"
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Planning takes PostgreSQL longer than the work itself, so each connection keeps the
            # plans of the statements it has met often. Between the server and PostgreSQL, a pooler
            # that hands a connection on after each transaction must know prepared statements.
            "server_side_binding": True,
            "prepare_threshold": 5,
            "options": "-c statement_timeout=60000 -c lock_timeout=10000 "
            "-c idle_in_transaction_session_timeout=60000" + (TEST_OPTIONS if TESTING else ""),
        },
    }


if TESTING:  # tests never touch anybody's data, and leave nothing behind
    _home = tempfile.TemporaryDirectory(prefix="prefloop-test-")
    os.environ["PREFLOOP_HOME"] = _home.name  # for the processes that tests start
PREFLOOP_HOME = Path(text("PREFLOOP_HOME", str(BASE_DIR / "var"))).resolve()
PREFLOOP_HOME.mkdir(parents=True, exist_ok=True)
ARTEFACT_ROOT = Path(text("ARTEFACT_ROOT", str(PREFLOOP_HOME / "artefacts"))).resolve()

DEBUG = flag("DEBUG", False)
SECRET_KEY = secret_key(PREFLOOP_HOME)
# The trial on one machine speaks plain HTTP; a server sets INSECURE_HTTP=False and its host names.
INSECURE_HTTP = flag("INSECURE_HTTP", True)
ALLOWED_HOSTS = words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
if "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS=* would let any site name reach this server")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "annotate",
    "rewards",
    "training",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "annotate.middleware.LoginRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "prefloop.urls"
WSGI_APPLICATION = "prefloop.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
    {  # Parts that end in .jinja, where a view or a template asks for it by `using="jinja2"`.
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "environment": "prefloop.jinja.environment",
            "context_processors": ["prefloop.jinja.every_part"],
        },
    },
]

DATABASES = {"default": database(text("DATABASE_URL", "sqlite:///"), PREFLOOP_HOME)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTH_USER_MODEL = "annotate.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_AGE = 30 * 24 * 3600 if INSECURE_HTTP else 7 * 24 * 3600

SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if not INSECURE_HTTP:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    if flag("BEHIND_TLS_PROXY", False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
}

# The browser asks for a language; a person's own choice is kept in a cookie, signed in or not.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "German"), ("ar", "Arabic")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["prefloop.formats"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
STATIC_ROOT = PREFLOOP_HOME / "static"
STATIC_ROOT.mkdir(exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
# Serve straight from the source folder, so that a trial needs no collectstatic.
WHITENOISE_USE_FINDERS = True

# The database is the truth, the broker only rings the bell: a lost message costs a minute, until
# the next sweep. The default broker is a folder, which needs no server.
CELERY_BROKER_URL = text("CELERY_BROKER_URL", "filesystem://localhost")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# One process stays free for the sweeps of the schedule while the others wait for trainings.
RUNS_AT_ONCE = number("RUNS_AT_ONCE", 1, least=1)
CELERY_WORKER_CONCURRENCY = RUNS_AT_ONCE + 1
# A forked child hangs for good once its parent has used torch.
CELERY_WORKER_POOL_START_METHOD = "spawn"
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("filesystem:"):
    _broker = PREFLOOP_HOME / "broker"
    for _folder in ("messages", "control"):
        (_broker / _folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "control_folder": str(_broker / "control"),
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 6 * 3600,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        # A request rings once: the sweep is the retry.
        "max_retries": 1,
        "interval_start": 0,
    }
    CELERY_WORKER_DISABLE_PREFETCH = CELERY_BROKER_URL.startswith("redis")
# Shorter than a person's patience: a request never hangs on a frozen broker.
CELERY_TASK_PUBLISH_RETRY = False

CELERY_BEAT_SCHEDULE_FILENAME = str(PREFLOOP_HOME / "beat-schedule")
# A worker that was down for a day need not sweep for every minute of it.
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": 60, "options": {"expires": 60}}
    for name, task in {
        "sweep-runs": "rewards.tasks.sweep_runs",
        "expire-leases": "annotate.tasks.expire_leases",
        "count-progress": "annotate.tasks.count_progress",
        "sweep-uploads": "annotate.tasks.sweep_uploads",
        "advance-cycles": "training.tasks.advance_cycles",
        "refresh-projects": "training.tasks.refresh_projects",
    }.items()
}

# What does the work of each kind of run: `function(run, report) -> result`, see rewards/runner.py.
RUN_KINDS = {
    "reward_model": "rewards.work.fit_reward_model",
    "drill": "rewards.services.drill.carry_out",
    "supervised": "training.work.fine_tune",
    "sample": "training.work.sample_responses",
    "ppo": "training.work.update_policy",
    "evaluate": "training.work.evaluate_policy",
}
RUN_LEASE_S = number("RUN_LEASE_S", 120, least=1)
RUN_MAX_ATTEMPTS = 3
# The weekday (1 Monday … 7 Sunday) and hour, UTC, from which this week's cycle may begin.
CYCLE_WEEKDAY = number("CYCLE_WEEKDAY", 1, least=1, most=7)
CYCLE_HOUR = number("CYCLE_HOUR", 3, least=0, most=23)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

if TESTING:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
