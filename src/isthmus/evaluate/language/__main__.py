"""The harness's own command line, which knows composed models by what this package registers."""

from lm_eval.__main__ import cli_evaluate

if __name__ == "__main__":
    cli_evaluate()
