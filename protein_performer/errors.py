"""The one error that is the user's to mend."""


class UserError(ValueError):
    """A mistake in a file, a config or a call, worded for the person who can mend it.

    The message says what was expected, what came, where (file, line, record, config key) and the
    likely cure. The command line prints it without a traceback; every other exception is a bug of
    ours and keeps its traceback.
    """
