// SPDX-License-Identifier: Apache-2.0
// Calls a unary method once with a service config, and prints the code of the status that comes of it.
//
// node retry.mjs HOST:PORT METHOD SERVICE_CONFIG [REQUEST_IN_BASE64]
import grpc from "@grpc/grpc-js";

const [address, method, config, request = "eA=="] = process.argv.slice(2);
const stub = new grpc.Client(address, grpc.credentials.createInsecure(), { "grpc.service_config": config });
const same = (value) => value;
stub.makeUnaryRequest(method, same, same, Buffer.from(request, "base64"), (error) => {
  console.log(error ? error.code : 0);
  process.exit(0);
});
