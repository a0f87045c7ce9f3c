# SPDX-License-Identifier: Apache-2.0
"""`python -m matting_gateway` is the program `matting-gateway`."""

from matting_gateway.cli import main

if __name__ == "__main__":
    main(prog_name="matting-gateway")
