"""What is raised when something that came from outside does not hold."""


class Refused(Exception):
    """Something does not hold. What was held before still is."""


class Expired(Refused):
    """A checkpoint that was true once, or will be, and proves nothing now."""


def require(holds, why):
    if not holds:
        raise Refused(why)
