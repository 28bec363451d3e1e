"""What is raised when something that came from outside does not hold."""


class Refused(Exception):
    """Something does not hold. What was held before still is."""


class Contradicted(Refused):
    """What is signed is true, and it is of another set than the one it was compared with."""


def require(holds, why, refusal=Refused):
    if not holds:
        raise refusal(why)
