// SPDX-License-Identifier: Apache-2.0
// What all four programs are told: where to call, how long it may take, as whom, and the files.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

export interface Arguments {
  address: string;
  /** Certificates of the authority that the gateway's own is of (PEM); without them the connection is plaintext. */
  authority?: Buffer;
  timeoutMs: number;
  /** Metadata of every call. */
  metadata: Record<string, string>;
  files: string[];
}

export function argumentsOr(usage: string, fewestFiles: number, defaultTimeoutS: number): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      address: { type: "string" },
      "tls-ca": { type: "string" },
      "timeout-s": { type: "string" },
      token: { type: "string" },
    },
  });
  const timeoutS = Number(values["timeout-s"] ?? defaultTimeoutS);
  if (positionals.length < fewestFiles || !(timeoutS > 0)) {
    console.error(`usage: ${usage} [--address HOST:PORT] [--tls-ca FILE] [--timeout-s SECONDS] [--token TOKEN]`);
    process.exit(2);
  }
  return {
    address: values.address ?? "127.0.0.1:50051",
    ...(values["tls-ca"] && { authority: readFileSync(values["tls-ca"]) }),
    timeoutMs: timeoutS * 1000,
    metadata: values.token ? { authorization: `Bearer ${values.token}` } : {},
    files: positionals,
  };
}
