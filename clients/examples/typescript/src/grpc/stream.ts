// SPDX-License-Identifier: Apache-2.0
// Cuts out many photos over one call: `node dist/grpc/stream.js out/ a.jpg b.jpg ...`.
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, parse } from "node:path";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { argumentsOr } from "../arguments.js";
import {
  OutputKind,
  StreamRemoveBackgroundRequest,
  type StreamRemoveBackgroundResponse,
} from "../gen/grpc/matting/v1/matting_service.js";
import { connect } from "./connection.js";
import { failureFrom, failureOf, told } from "./failure.js";

const ITEM_S = 20;

const { address, authority, timeoutMs, metadata, files } = argumentsOr("stream.js FOLDER PHOTO...", 2, 120);
const [folder, ...photos] = files as [string, ...string[]];
const client = connect(address, authority);
const call = client.streamRemoveBackground(Metadata.fromHttp2Headers(metadata), { deadline: Date.now() + timeoutMs });
const unanswered = new Set(photos);
await mkdir(folder, { recursive: true });

// The gateway reads no further while it has enough to do, and then `write` says false: so few photos are held here.
async function send(): Promise<void> {
  for (const photo of photos) {
    const item = StreamRemoveBackgroundRequest.create({
      itemId: photo,
      action: {
        $case: "request",
        value: {
          source: { $case: "encoded", value: { content: await readFile(photo) } },
          outputs: [{ kind: OutputKind.OUTPUT_KIND_CUTOUT }],
        },
      },
      timeToLive: { seconds: ITEM_S },
    });
    if (!call.write(item)) await once(call, "drain");
  }
  call.end();
}

// Answers come as they are ready. One that failed says why, and the others go on.
async function receive(): Promise<void> {
  for await (const { itemId, result } of call as AsyncIterable<StreamRemoveBackgroundResponse>) {
    unanswered.delete(itemId);
    if (result?.$case === "error") {
      console.error(`${itemId}: ${told(failureFrom(result.value))}`);
      process.exitCode = 1;
      continue;
    }
    const cutout = result?.value.outputs[0]?.result;
    if (cutout?.$case !== "encoded") throw new Error("the gateway answered no file");
    const made = join(folder, `${parse(itemId).name}.png`);
    await writeFile(made, cutout.value.content);
    console.log(made);
  }
}

try {
  await Promise.all([send(), receive()]);
} catch (error) {
  // A stream isn't tried again by itself: what has no answer yet may be sent anew.
  if (!(error instanceof Error && "code" in error && "metadata" in error)) throw error;
  console.error(`${told(failureOf(error as ServiceError))}; unanswered: ${[...unanswered].join(", ")}`);
  process.exitCode = 1;
} finally {
  client.close();
}
