// SPDX-License-Identifier: Apache-2.0
// Calls a unary method COUNT times at once, with a client as it comes, and prints the length of each answer's field 1.
//
// node call.mjs connect|grpc-js HOST:PORT SERVICE METHOD COUNT < content of the request's field 1
import { readFileSync } from "node:fs";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, file_google_protobuf_wrappers } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import grpc from "@grpc/grpc-js";
import { decoded, encoded } from "./field.mjs";

const [client, address, service, method, count] = process.argv.slice(2);
const content = readFileSync(0);
// On the wire it is like any message of which only field 1 matters.
const BYTES = ".google.protobuf.BytesValue";

function described() {
  const at = service.lastIndexOf(".");
  const file = {
    name: "service.proto",
    syntax: "proto3",
    package: service.slice(0, Math.max(at, 0)),
    dependency: ["google/protobuf/wrappers.proto"],
    service: [{ name: service.slice(at + 1), method: [{ name: method, inputType: BYTES, outputType: BYTES }] }],
  };
  const files = create(FileDescriptorSetSchema, { file: [file_google_protobuf_wrappers.proto, file] });
  return createFileRegistry(files).getService(service);
}

function byConnect() {
  const description = described();
  const stub = createClient(description, createGrpcTransport({ baseUrl: `http://${address}` }));
  const call = stub[description.methods[0].localName];
  return async () => (await call({ value: content })).value.length;
}

function byGrpcJs() {
  const stub = new grpc.Client(address, grpc.credentials.createInsecure());
  return () =>
    new Promise((resolve, reject) =>
      stub.makeUnaryRequest(`/${service}/${method}`, encoded, decoded, content, (error, answer) =>
        error ? reject(error) : resolve(answer.length),
      ),
    );
}

const call = client === "connect" ? byConnect() : byGrpcJs();
console.log(JSON.stringify(await Promise.all(Array.from({ length: Number(count) }, call))));
process.exit(0);
