"""Why a file is not read, and what to do about it, before anybody knows whether it is a picture or a mask."""


class Refused(Exception):
    """A file is not read; the message says why, and becomes the row's reason."""
