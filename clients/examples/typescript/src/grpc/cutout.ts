// SPDX-License-Identifier: Apache-2.0
// Cuts the subject out of one photo: `node dist/grpc/cutout.js cat.jpg cat.png`.
import { readFile, writeFile } from "node:fs/promises";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { argumentsOr } from "../arguments.js";
import {
  OutputKind,
  RemoveBackgroundRequest,
  type RemoveBackgroundResponse,
} from "../gen/grpc/matting/v1/matting_service.js";
import { connect } from "./connection.js";
import { failureOf, told } from "./failure.js";

const { address, authority, timeoutMs, metadata, files } = argumentsOr("cutout.js PHOTO RESULT", 2, 10);
const [photo, result] = files as [string, string];
const client = connect(address, authority);

const request = RemoveBackgroundRequest.create({
  source: { $case: "encoded", value: { content: await readFile(photo) } },
  outputs: [{ kind: OutputKind.OUTPUT_KIND_CUTOUT }],
});

// The deadline is for all attempts together. The gateway knows it, and refuses at once what it can't do in time.
function removeBackground(): Promise<RemoveBackgroundResponse> {
  const options = { deadline: Date.now() + timeoutMs };
  return new Promise((resolve, reject) => {
    client.removeBackground(request, Metadata.fromHttp2Headers(metadata), options, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

try {
  const { outputs, subject } = await removeBackground();
  const cutout = outputs[0]?.result;
  if (cutout?.$case !== "encoded") throw new Error("the gateway answered no file");
  await writeFile(result, cutout.value.content);
  console.log(`${result}: the subject covers ${Math.round((subject?.areaShare ?? 0) * 100)}% of the photo`);
} catch (error) {
  if (!(error instanceof Error && "code" in error && "metadata" in error)) throw error;
  console.error(told(failureOf(error as ServiceError)));
  process.exitCode = 1;
} finally {
  client.close();
}
