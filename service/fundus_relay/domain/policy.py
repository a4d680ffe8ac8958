"""What a deployment may choose where the right answer is not ours to give."""

from enum import StrEnum


class AmbiguousUpload(StrEnum):
    """What to do when an upload left and no answer came: it may have been paid.

    Attributes:
        RESEND: send again when the credit count shows that nothing was taken, else park for a person.
        RESEND_ONCE: as RESEND, but when the count shows a loss or nothing, send again once and count the credit.
        HOLD: always park for a person.
    """

    RESEND = "resend"
    RESEND_ONCE = "resend-once"
    HOLD = "hold"


class Precheck(StrEnum):
    """What to do with a quick look's advice against a photograph that would be paid for.

    Attributes:
        OFF: do not look.
        ADVISE: tell it, and send the photograph all the same.
        HOLD: let a person decide first.
    """

    OFF = "off"
    ADVISE = "advise"
    HOLD = "hold"


class Carriage(StrEnum):
    """How an EHR gets a page that people look at.

    Attributes:
        INLINE: its bytes in the attachment.
        BINARY: a Binary in the same transaction, to which the attachment leads.
        LINK: the attachment leads to our own endpoint.
        NONE: not at all.
    """

    INLINE = "inline"
    BINARY = "binary"
    LINK = "link"
    NONE = "none"


class Kept(StrEnum):
    """A class of what is kept, each with an age at which it goes.

    Attributes:
        SOURCE: photographs as they were sent.
        PREPARED: what was made of them for the analyser.
        PAGES: what people look at: PDFs and photographs with boxes drawn.
        LEDGER: everything of a study, whatever else is kept of it.
        UNKNOWN: files that nothing refers to; they go by themselves.
    """

    SOURCE = "source"
    PREPARED = "prepared"
    PAGES = "pages"
    LEDGER = "ledger"
    UNKNOWN = "unknown"
