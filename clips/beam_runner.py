"""Which runner Beam takes on this machine."""

# Named in full: Beam's default first tries to download a runner of its own.
BEAM_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
