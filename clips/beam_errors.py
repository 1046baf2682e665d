"""What a step of a Beam pipeline raised, told without Beam."""


def original_error(error: BaseException) -> BaseException:
    """Returns what was raised: Beam raises it once more, with the name of its step in the message."""
    while " [while running '" in str(error) and error.__context__ is not None:
        error = error.__context__
    return error
