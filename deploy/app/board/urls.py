"""Which address is answered by which view."""

from django.conf import settings
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from django.views.static import serve

from board.core import views as core


class Icon(RedirectView):
    """Browsers ask for this address on pages that name no icon, such as the admin's."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        return static("board/icon.svg")


urlpatterns = [
    path("", include("board.posts.urls")),
    path("accounts/", include("board.accounts.urls")),
    path("api/", include("board.api.urls")),
    path("insights/", include("board.insights.urls")),
    path("learn/", include("board.learn.urls")),
    path("weir/", include("board.weir.urls")),
    path("admin/", admin.site.urls),
    path("healthz", core.health, name="health"),
    path("favicon.ico", Icon.as_view()),
]

# Development and demo only: elsewhere a web server or a bucket hands out the photos.
if settings.BOARD_SERVE_MEDIA and not settings.BOARD_S3:
    urlpatterns += [
        re_path(r"^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
    ]
