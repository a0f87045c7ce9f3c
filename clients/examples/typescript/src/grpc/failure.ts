// SPDX-License-Identifier: Apache-2.0
// What a status of the gateway says, beside its code and text: the reason, and when to come again.
import { status as codes, type ServiceError } from "@grpc/grpc-js";
import { ErrorInfo, RetryInfo } from "../gen/grpc/google/rpc/error_details.js";
import { Status } from "../gen/grpc/google/rpc/status.js";

const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "matting-gateway";

export interface Failure {
  code: string;
  /** One of those in docs/errors.md; empty where the error isn't the gateway's own, such as a lost connection. */
  reason: string;
  message: string;
  retryAfterMs?: number;
}

/** Reads the error of a call. */
export function failureOf(error: ServiceError): Failure {
  const [details] = error.metadata?.get(DETAILS_KEY) ?? [];
  if (details instanceof Buffer) return failureFrom(Status.decode(details));
  return { code: codes[error.code], reason: "", message: error.details };
}

/** Reads the error of one item of a stream. */
export function failureFrom(status: Status): Failure {
  const failure: Failure = { code: codes[status.code] ?? "UNKNOWN", reason: "", message: status.message };
  for (const detail of status.details) {
    if (detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) {
      const info = ErrorInfo.decode(detail.value);
      if (info.domain === DOMAIN) failure.reason = info.reason;
    } else if (detail.typeUrl.endsWith("/google.rpc.RetryInfo")) {
      const { seconds = 0, nanos = 0 } = RetryInfo.decode(detail.value).retryDelay ?? {};
      failure.retryAfterMs = seconds * 1000 + Math.ceil(nanos / 1e6);
    }
  }
  return failure;
}

export function told({ code, reason, message, retryAfterMs }: Failure): string {
  const again = retryAfterMs === undefined ? "" : ` (again in ${retryAfterMs} ms)`;
  return `${reason || code}: ${message}${again}`;
}
