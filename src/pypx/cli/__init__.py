"""The command line: one module a command, each loaded only when it runs.

In: arguments and the environment. Out: text on stdout and stderr, and an exit code.
What a command does is done by the packages below; what is here reads arguments, calls
them, and says what happened.
"""
