"""Every page needs a log-in unless it says otherwise; machines' addresses answer 401 themselves."""

from django.contrib.auth.middleware import LoginRequiredMiddleware

MACHINES = ("/api/", "/metrics")


class RequireLogin(LoginRequiredMiddleware):
    def process_view(self, request, view_func, view_args, view_kwargs):
        """Redirect people to the log-in; leave machines to the check at their own address."""
        if request.path.startswith(MACHINES):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)
