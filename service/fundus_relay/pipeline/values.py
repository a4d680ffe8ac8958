"""The domain's values under the name that the first drafts used; import `fundus_relay.domain.values` instead."""

from fundus_relay.domain.values import *  # noqa: F403 - goes away when the last import is mended
