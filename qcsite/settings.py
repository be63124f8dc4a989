"""All settings, driven by the environment; a bad value stops the start. docs/operations.md lists the variables."""

from pathlib import Path

import environ
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from qcsite import environment

BASE_DIR = Path(__file__).resolve().parent.parent
environment.write_privately()
DATA_DIR = environment.folder("QC_DATA_DIR", BASE_DIR / "data")
SECRET_KEY = environment.secret("QC_SECRET_KEY", DATA_DIR / "secret_key")
DEBUG = environment.flag("QC_DEBUG")
HTTPS = environment.flag("QC_HTTPS")
ALLOWED_HOSTS = environment.words("QC_ALLOWED_HOSTS", "127.0.0.1,localhost")
if "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("QC_ALLOWED_HOSTS: name the hosts; '*' would trust any")
# Folders below which the API takes files by path; none by default.
INTAKE_ROOTS = environment.words("QC_INTAKE_ROOTS")
API_CALLS_A_MINUTE = environment.number("QC_API_CALLS_A_MINUTE", 300, low=1, high=1_000_000)  # with one key
API_KEY_MOST_DAYS = environment.number("QC_API_KEY_MOST_DAYS", 365, low=1, high=3650)
METRICS_TOKEN = environment.text("QC_METRICS_TOKEN")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_htmx",
    "django_prometheus",
    "django_rq",
    "django_structlog",
    "reviews",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "qcsite.middleware.BodyLimit",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "qcsite.middleware.KeptByNobody",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "qcsite.middleware.Plausible",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "qcsite.idle.end_idle_sessions",
    "qcsite.middleware.who_acts",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "qcsite.middleware.RequireLogin",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "qcsite.urls"
WSGI_APPLICATION = "qcsite.wsgi.application"
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
            ]
        },
    }
]

# --- data -------------------------------------------------------------------------------------------
environment.address("QC_DATABASE_URL", "sqlite://", ("sqlite", "postgres", "postgresql"))
DATABASES = {"default": environ.Env().db("QC_DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'qc.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728",
    }
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": DATA_DIR / "cache",
    }
}
# Read by inference/volumes.py itself, which knows no settings.
environment.number("QC_MAX_VOXELS", 512**3, low=1_000_000, high=2_000_000_000)
SLICES_CACHE_MB = environment.number("QC_SLICES_CACHE_MB", 2048, low=1, high=1_000_000)
QUEUE_SOCKET = environment.socket_path(DATA_DIR)
QUEUE_URL = environment.address("QC_QUEUE_URL", f"unix://{QUEUE_SOCKET}", ("unix", "redis", "rediss"))
RQ_QUEUES = {"default": {"URL": QUEUE_URL, "DEFAULT_TIMEOUT": 900}}

# --- language, time, files --------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
HASHED_STATIC = environment.flag("QC_HASHED_STATIC")  # set by the supervisor, which collects the files
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "qcsite.static.HashedFiles"
        if HASHED_STATIC
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not HASHED_STATIC
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20  # the most that any address but the next takes
FILE_UPLOAD_TEMP_DIR = environment.folder("QC_INCOMING", DATA_DIR / "incoming")  # /tmp may be memory
UPLOAD_ADDRESS = "/api/v1/scans/upload"
MOST_UPLOAD_BYTES = environment.number("QC_MAX_UPLOAD_MB", 512, low=1, high=4096) << 20

# --- people -----------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "qcsite.accounts.ClosedAccounts"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"  # nothing is sent anywhere
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_RATE_LIMITS = {"login_failed": "20/m/ip,5/5m/key"}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_ADAPTER = "qcsite.accounts.SealedSecondFactors"
MFA_TOTP_ISSUER = "Defacing QC"
USERSESSIONS_TRACK_ACTIVITY = False
SESSION_COOKIE_AGE = 3600 * environment.number("QC_SESSION_HOURS", 12, low=1, high=720)
IDLE_MINUTES = environment.number("QC_IDLE_MINUTES", 60, low=1, high=1440)
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
CSRF_TRUSTED_ORIGINS = environment.words("QC_TRUSTED_ORIGINS")

# --- what the browser may do ------------------------------------------------------------------------
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if environment.flag("QC_BEHIND_PROXY"):
    ALLAUTH_TRUSTED_PROXY_COUNT = 1  # limits on guessing count the client's address, not the proxy's
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],  # canvases saved as pictures, icons inside style sheets
        "worker-src": [SELF, "blob:"],  # NiiVue decompresses volumes in a worker of its own making
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# --- what is written down ---------------------------------------------------------------------------
LOG_FORMAT = environment.one_of("QC_LOG_FORMAT", ("console", "json"))
LOG_LEVEL = environment.one_of("QC_LOG_LEVEL", ("INFO", "DEBUG", "WARNING", "ERROR"))
SHARED_PROCESSORS = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
RENDERER = (
    structlog.processors.JSONRenderer()
    if LOG_FORMAT == "json"
    else structlog.dev.ConsoleRenderer(colors=False)
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, RENDERER],
            "foreign_pre_chain": SHARED_PROCESSORS,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.server": {"handlers": ["stderr"], "level": LOG_LEVEL, "propagate": False},
        "django_structlog": {"level": "WARNING"},
        "rq": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *SHARED_PROCESSORS,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
