"""All settings, driven by the environment; a bad value stops the start."""

from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
DATA_DIR = Path(env.str("QC_DATA_DIR", default=str(BASE_DIR / "data")))
SECRET_KEY = env.str("QC_SECRET_KEY", default="set-by-the-supervisor-later")
DEBUG = env.bool("QC_DEBUG", default=False)
ALLOWED_HOSTS = env.list("QC_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "testserver"])
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "django.contrib.humanize", "django_htmx", "django_rq", "reviews",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware", "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "qcsite.urls"
WSGI_APPLICATION = "qcsite.wsgi.application"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"], "APP_DIRS": True,
    "OPTIONS": {"context_processors": ["django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]},
}]
DATABASES = {"default": env.db("QC_DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'qc.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
RQ_QUEUES = {"default": {"URL": env.str("QC_QUEUE_URL", default=f"unix://{DATA_DIR / 'queue.sock'}")}}
# Folders below which the API takes files by path; none by default.
INTAKE_ROOTS = env.list("QC_INTAKE_ROOTS", default=[])
