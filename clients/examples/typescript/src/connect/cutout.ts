// SPDX-License-Identifier: Apache-2.0
// Cuts the subject out of one photo: `node dist/connect/cutout.js --address ENVOY:8080 cat.jpg cat.png`.
import { readFile, writeFile } from "node:fs/promises";
import { ConnectError } from "@connectrpc/connect";
import { argumentsOr } from "../arguments.js";
import { OutputKind } from "../gen/connect/matting/v1/matting_service_pb.js";
import { connect } from "./connection.js";
import { failureOf, told } from "./failure.js";

const { address, authority, timeoutMs, metadata, files } = argumentsOr("cutout.js PHOTO RESULT", 2, 10);
const [photo, result] = files as [string, string];

try {
  const { outputs, subject } = await connect(address, authority).removeBackground(
    {
      source: { case: "encoded", value: { content: await readFile(photo) } },
      outputs: [{ kind: OutputKind.CUTOUT }],
    },
    // The gateway knows the deadline, and refuses at once what it can't do in time.
    { timeoutMs, headers: metadata },
  );
  const cutout = outputs[0]?.result;
  if (cutout?.case !== "encoded") throw new Error("the gateway answered no file");
  await writeFile(result, cutout.value.content);
  console.log(`${result}: the subject covers ${Math.round((subject?.areaShare ?? 0) * 100)}% of the photo`);
} catch (error) {
  if (!(error instanceof ConnectError)) throw error;
  console.error(told(failureOf(error)));
  process.exitCode = 1;
}
