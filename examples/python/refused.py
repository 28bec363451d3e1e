"""The exceptions for invalid external data."""


class Refused(Exception):
    """Something is invalid. What was held before is not changed."""


class Contradicted(Refused):
    """The signed data is valid, but of another set than the one it was compared with."""


def require(holds, why, refusal=Refused):
    if not holds:
        raise refusal(why)
