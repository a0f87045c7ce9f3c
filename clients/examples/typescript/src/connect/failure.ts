// SPDX-License-Identifier: Apache-2.0
// What an error of the gateway says, beside its code and text: the reason, and when to come again.
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/connect/google/rpc/error_details_pb.js";
import type { Status } from "../gen/connect/google/rpc/status_pb.js";

const DOMAIN = "matting-gateway";

export interface Failure {
  code: string;
  /** One of those in docs/errors.md; empty where the error isn't the gateway's own, such as a lost connection. */
  reason: string;
  message: string;
  retryAfterMs?: number;
}

/** Reads the error of a call. */
export function failureOf({ code, rawMessage, details }: ConnectError): Failure {
  return failureWith(code, rawMessage, details.filter((detail) => "type" in detail));
}

/** Reads the error of one item of a stream. */
export function failureFrom({ code, message, details }: Status): Failure {
  return failureWith(code, message, details.map(({ typeUrl, value }) => ({ type: typeUrl, value })));
}

function failureWith(code: Code, message: string, details: { type: string; value: Uint8Array }[]): Failure {
  const error = new ConnectError(message, code);
  // Connect names types as protobuf does, Envoy's bridge and google.rpc.Status by URLs that end so.
  error.details = details.map(({ type, value }) => ({ type: type.replace(/.*\//, ""), value }));
  const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: Code[code],
    reason: info?.reason ?? "",
    message,
    ...(delay && { retryAfterMs: Math.ceil(durationMs(delay)) }),
  };
}

export function told({ code, reason, message, retryAfterMs }: Failure): string {
  const again = retryAfterMs === undefined ? "" : ` (again in ${retryAfterMs} ms)`;
  return `${reason || code}: ${message}${again}`;
}
