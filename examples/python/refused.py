"""What is raised when something that came from outside does not hold."""


class Refused(Exception):
    """Something does not hold. What was held before still is."""


def require(holds, why):
    if not holds:
        raise Refused(why)
