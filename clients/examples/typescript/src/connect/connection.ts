// SPDX-License-Identifier: Apache-2.0
// The way to gateways through Envoy, whose bridge turns Connect into gRPC (deploy/envoy/envoy.yaml).
import { createClient, type Client } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { MattingService } from "../gen/connect/matting/v1/matting_service_pb.js";
import { tryAgain } from "./retry.js";

export function connect(address: string, authority?: Buffer): Client<typeof MattingService> {
  const transport = createConnectTransport({
    baseUrl: `${authority ? "https" : "http"}://${address}`,
    httpVersion: "2",
    nodeOptions: { ca: authority },
    interceptors: [tryAgain],
  });
  return createClient(MattingService, transport);
}
