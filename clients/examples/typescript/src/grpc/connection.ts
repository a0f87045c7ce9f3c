// SPDX-License-Identifier: Apache-2.0
// The way to a gateway. Make one client and keep it: it keeps its connection.
import { credentials } from "@grpc/grpc-js";
import { MattingServiceClient } from "../gen/grpc/matting/v1/matting_service.js";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

// A photo may be cut out twice without harm, so a call is tried again where the gateway was busy or away. How long to
// wait, the gateway says (`grpc-retry-pushback-ms`), and grpc-js obeys; the times below are for when nobody says it.
const SERVICE_CONFIG = {
  // When most calls fail, trying again makes it worse: each failure costs a token, and success gives a tenth back.
  retryThrottling: { maxTokens: 20, tokenRatio: 0.1 },
  methodConfig: [
    {
      name: [{ service: "matting.v1.MattingService", method: "RemoveBackground" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.2s",
        maxBackoff: "5s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
};

export function connect(address: string, authority?: Buffer): MattingServiceClient {
  const channelCredentials = authority ? credentials.createSsl(authority) : credentials.createInsecure();
  return new MattingServiceClient(address, channelCredentials, {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    // 4 MiB by default, which a large cutout exceeds.
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    // Only what is kept can be sent again: by default no request over 1 MiB.
    "grpc.per_rpc_retry_buffer_size": MAX_MESSAGE_BYTES,
    "grpc.retry_buffer_size": 4 * MAX_MESSAGE_BYTES,
  });
}
