"""An archive of pictures in memory, with the manners of the real one."""

from __future__ import annotations

from dataclasses import dataclass, field

from fundus_relay.adapters.image_archive import ImageNotThere, ImageSourceUnavailable, ImageUrlNotAllowed
from fundus_relay.domain.errors import PictureTooLarge
from fundus_relay.pipeline.ports import Draft

PIECE = 64 * 1024


@dataclass
class FakeImageArchive:
    """Serves what lies below `base`; nothing else is allowed.

    Attributes:
        pictures: URL → bytes.
        is_away: whether the server does not answer now.
    """

    base: str
    pictures: dict[str, bytes] = field(default_factory=dict)
    content_type: str = "image/jpeg"
    is_away: bool = False

    async def fetch(self, url: str, draft: Draft, *, limit: int) -> str:
        if not url.startswith(f"{self.base}/"):
            raise ImageUrlNotAllowed("the URL is not below a server that is listed here")
        if self.is_away:
            raise ImageSourceUnavailable("the picture's server cannot be reached")
        if url not in self.pictures:
            raise ImageNotThere("the picture's server answered 404")
        picture = self.pictures[url]
        for start in range(0, len(picture), PIECE):
            if start + PIECE > limit and len(picture) > limit:
                raise PictureTooLarge(f"the picture has more than {limit} bytes")
            draft.write(picture[start : start + PIECE])
        return self.content_type
