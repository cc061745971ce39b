"""Static files and photos in S3-compatible buckets, instead of on local disk: BOARD_S3=1.

Keys come from where boto3 looks for them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile,
an instance's role), never from here.
"""

from typing import Any
from urllib.parse import urlsplit

from . import env

YEAR_SECONDS = 365 * 24 * 3600


def bucket(name: str, domain: str, **options: Any) -> dict[str, Any]:
    """What both buckets have in common; None and empty values leave boto3's defaults."""
    common = {
        "bucket_name": name,
        "region_name": env.text("BOARD_S3_REGION") or None,
        # MinIO, Ceph, moto…; empty for Amazon's own.
        "endpoint_url": env.text("BOARD_S3_ENDPOINT") or None,
        "addressing_style": env.text("BOARD_S3_ADDRESSING") or None,
        # A CDN in front of the bucket: pages then link to it, unsigned.
        "custom_domain": domain or None,
        "url_protocol": env.text("BOARD_S3_PROTOCOL", "https") + ":",
        "signature_version": "s3v4",
        "file_overwrite": False,
    }
    return {**common, **options}


def storages() -> dict[str, dict[str, Any]]:
    """Django's STORAGES for the two buckets."""
    media_domain = env.text("BOARD_S3_MEDIA_DOMAIN")
    media = bucket(
        env.text("BOARD_S3_MEDIA_BUCKET", "board-media"),
        media_domain,
        # A photo's name is random and never used twice: it may be kept for ever.
        object_parameters={"CacheControl": f"public, max-age={YEAR_SECONDS}, immutable"},
        default_acl=env.text("BOARD_S3_MEDIA_ACL") or None,
        # Signed addresses unless the bucket is public or the CDN in front of it has a key.
        querystring_auth=not env.flag("BOARD_S3_PUBLIC"),
        querystring_expire=3600,
    )
    static = bucket(
        env.text("BOARD_S3_STATIC_BUCKET", "board-static"),
        env.text("BOARD_S3_STATIC_DOMAIN"),
        # Names carry a hash of the content.
        object_parameters={"CacheControl": f"public, max-age={YEAR_SECONDS}, immutable"},
        # "public-read" where the bucket has ACLs; where it has none, its policy must say so.
        default_acl=env.text("BOARD_S3_STATIC_ACL") or None,
        querystring_auth=False,
        file_overwrite=True,
        gzip=True,
    )
    return {
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": media},
        "staticfiles": {
            "BACKEND": "storages.backends.s3.S3ManifestStaticStorage",
            "OPTIONS": static,
        },
    }


def read_origins() -> list[str]:
    """Where pages load photos, styles and scripts from, for the content security policy."""
    protocol = env.text("BOARD_S3_PROTOCOL", "https")
    domains = [env.text("BOARD_S3_MEDIA_DOMAIN"), env.text("BOARD_S3_STATIC_DOMAIN")]
    return [
        *upload_origins(),
        *(f"{protocol}://{domain.split('/')[0]}" for domain in domains if domain),
    ]


def upload_origins() -> list[str]:
    """Where browsers send photos to."""
    endpoint = env.text("BOARD_S3_ENDPOINT")
    if not endpoint:
        return ["https://*.amazonaws.com"]
    parts = urlsplit(endpoint)
    return [f"{parts.scheme}://{parts.netloc}"]
