"""Photos that a browser sends straight to the bucket, past our workers.

With S3 storage the page asks for a presigned POST (the bucket itself enforces size and type), sends
the bytes there, and submits the form with a signed token that names the object. We fetch it, check
and encode it like any other upload, and delete the raw object.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from board.posts import photos

TOKEN_SECONDS_MAX = 15 * 60


def signer() -> TimestampSigner:
    """Signs which object belongs to which person."""
    return TimestampSigner(salt="board.posts.uploads")


def grant(user_id: int, content_type: str) -> dict[str, Any]:
    """An address and form fields for one upload by the browser, and the token to submit after."""
    storage: Any = default_storage
    key = f"incoming/{user_id}/{uuid.uuid4().hex}"
    presigned = storage.connection.meta.client.generate_presigned_post(
        storage.bucket_name,
        key,
        Fields={"Content-Type": content_type},
        Conditions=[
            {"Content-Type": content_type},
            ["content-length-range", 1, settings.BOARD_PHOTO_BYTES_MAX],
        ],
        ExpiresIn=TOKEN_SECONDS_MAX,
    )
    token = signer().sign_object({"key": key, "user": user_id})
    return {"url": presigned["url"], "fields": presigned["fields"], "token": token}


def fetch(token: str, user_id: int) -> photos.Encoded:
    """The photo that the token names, encoded anew; the raw object is deleted."""
    try:
        named = signer().unsign_object(token, max_age=TOKEN_SECONDS_MAX)
    except SignatureExpired:
        raise ValidationError("The upload took too long: choose the photo again.") from None
    except BadSignature:
        raise ValidationError("This upload is not known here.") from None
    if not settings.BOARD_S3 or named["user"] != user_id:
        raise ValidationError("This upload is not known here.")
    key: str = named["key"]
    try:
        with default_storage.open(key) as raw:
            return photos.encode(raw.file, raw.size)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise ValidationError("The photo has not arrived: choose it again.") from None
    finally:
        default_storage.delete(key)
