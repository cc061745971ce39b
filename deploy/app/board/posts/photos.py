"""Photos as they are kept: checked, turned upright, stripped of their metadata, encoded anew.

What a person uploads is never handed to another person. It is decoded (within limits on bytes and
pixels), and what is stored is our own encoding of the picture: no EXIF with the place it was taken,
no file that is a picture and a script at once.
"""

import io
import uuid
from dataclasses import dataclass
from typing import IO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
CONTENT_TYPES = {"image/jpeg", "image/png", "image/webp"}
PHOTO_SIDE_PIXELS_MAX = 1600
THUMBNAIL_SIZE = (640, 420)
QUALITY = 82


@dataclass(frozen=True)
class Encoded:
    """A photo and its thumbnail, ready for the storage."""

    photo: ContentFile[bytes]
    thumbnail: ContentFile[bytes]


def encode(upload: IO[bytes], size_bytes: int) -> Encoded:
    """Reads an upload and encodes it anew, or raises ValidationError with a text for its owner."""
    if size_bytes > settings.BOARD_PHOTO_BYTES_MAX:
        megabytes = settings.BOARD_PHOTO_BYTES_MAX // (1024 * 1024)
        raise ValidationError(f"The photo is larger than {megabytes} MB.", code="too_large")
    picture = decode(upload)
    stem = uuid.uuid4().hex
    full = picture.copy()
    full.thumbnail((PHOTO_SIDE_PIXELS_MAX, PHOTO_SIDE_PIXELS_MAX))
    small = ImageOps.fit(picture, THUMBNAIL_SIZE)
    return Encoded(as_jpeg(full, f"{stem}.jpg"), as_jpeg(small, f"{stem}.jpg"))


def decode(upload: IO[bytes]) -> Image.Image:
    """The picture's pixels, upright, in RGB."""
    try:
        picture: Image.Image = Image.open(upload, formats=FORMATS)
        if picture.width * picture.height > settings.BOARD_PHOTO_PIXELS_MAX:
            raise ValidationError("The photo has too many pixels.", code="too_many_pixels")
        picture.load()
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ValidationError(
            "This is not a JPEG, PNG or WebP photo that we can read.", code="not_a_photo"
        ) from None


def as_jpeg(picture: Image.Image, name: str) -> ContentFile[bytes]:
    """Our own encoding of the picture, without metadata."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    return ContentFile(out.getvalue(), name)
