"""Archetype: the device a session pretends to be."""

from __future__ import annotations

from typing import ClassVar, Literal

from driftstack_common.kinds.meta import Kind, Model, Resource


class Viewport(Model, frozen=True, kw_only=True):
    """Size of the page's visible area, CSS pixels."""

    width: int
    height: int


class Device(Model, frozen=True, kw_only=True):
    """What pages can see of the device.

    Attributes:
        pixel_ratio: device pixels per CSS pixel, 0.5 to 4.
        user_agent: None keeps Chromium's own, without the word Headless.
        locale: BCP 47 tag, e.g. `en-US`.
        timezone: IANA name, e.g. `Europe/Berlin`.
    """

    viewport: Viewport
    pixel_ratio: float = 1.0
    touch: bool = False
    mobile: bool = False
    user_agent: str | None = None
    locale: str = "en-US"
    timezone: str = "UTC"
    color_scheme: Literal["light", "dark", "no-preference"] = "light"


class ArchetypeSpec(Model, frozen=True, kw_only=True):
    """An archetype as the catalogue or an account stores it; pool is where its sessions start from."""

    slug: str
    display_label: str = ""
    pool: str | None = None
    availability: Literal["launch", "available"] = "available"
    device: Device


class Archetype(Resource, frozen=True, kw_only=True):
    """An Archetype object: in the system namespace for everybody, in an account's for that account."""

    KIND: ClassVar[Kind] = Kind("Archetype", "archetypes")
    spec: ArchetypeSpec
