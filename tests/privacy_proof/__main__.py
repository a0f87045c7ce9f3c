# SPDX-License-Identifier: Apache-2.0
"""`python -m privacy_proof`: the proof of every promise, as a table; exit code 0 only if all of it was shown."""

import argparse
import sys
from pathlib import Path

import grpc

from privacy_proof.findings import exit_code, not_shown, table
from privacy_proof.network import NamespaceRefusedError, leave_the_network
from privacy_proof.proof import prove, prove_service
from privacy_proof.service import Service


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="privacy_proof", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="canary photos to send")
    parser.add_argument("--address", help="HOST:PORT of a gateway that runs already; none: start one")
    parser.add_argument("--pid", type=int, help="its process, on this machine")
    parser.add_argument("--metrics-url", default="http://127.0.0.1:9464/metrics")
    parser.add_argument("--ca", type=Path, help="the authority of its certificate (PEM), if it speaks TLS")
    parser.add_argument("--token", default="", help="a bearer token, if it asks for one")
    parser.add_argument("serve", nargs="*", help="options for the gateway that is started, after --")
    return parser.parse_args()


def main() -> int:
    """Prove, print, and return the exit code."""
    given = _arguments()
    if given.address is not None:
        if given.pid is None:
            sys.exit("privacy_proof: --pid is needed with --address: its memory is what is searched")
        credentials = grpc.ssl_channel_credentials(given.ca.read_bytes()) if given.ca is not None else None
        service = Service(given.address, given.metrics_url, given.pid, None, credentials, given.token)
        findings = prove_service(service, count=given.count)
    else:
        refused = []
        try:
            leave_the_network()
        except NamespaceRefusedError as exc:
            refused = [not_shown("everything works without a network", str(exc))]
        findings = [*refused, *prove(given.serve, count=given.count)]
    sys.stdout.write(table(findings) + "\n")
    return exit_code(findings)


if __name__ == "__main__":
    sys.exit(main())
