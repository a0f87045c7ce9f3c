// SPDX-License-Identifier: Apache-2.0
// Connect doesn't try again by itself: this does, as gRPC's clients do, and no sooner than the gateway says.
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { failureOf } from "./failure.js";

const MAX_ATTEMPTS = 4;
const BACKOFF_MS = 200;
const CODES = [Code.Unavailable, Code.ResourceExhausted];

// A photo may be cut out twice without harm. The call's deadline is for all attempts together: `signal` ends the wait.
export const tryAgain: Interceptor = (next) => async (request) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await next(request);
    } catch (reason) {
      const error = ConnectError.from(reason);
      if (request.stream || attempt === MAX_ATTEMPTS || !CODES.includes(error.code)) throw error;
      const pauseMs = failureOf(error).retryAfterMs ?? Math.random() * BACKOFF_MS * 2 ** attempt;
      await setTimeout(pauseMs, undefined, { signal: request.signal });
    }
  }
};
