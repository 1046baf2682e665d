"""Shared Beam settings and error handling; imports no Beam."""

# The full path, because Beam's default runner first tries to download the Prism runner.
BEAM_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"


def original_error(error: BaseException) -> BaseException:
    """Returns the exception that a step raised, without Beam's wrappers that add the step's name."""
    while " [while running '" in str(error) and error.__context__ is not None:
        error = error.__context__
    return error
