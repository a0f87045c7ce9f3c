// SPDX-License-Identifier: Apache-2.0
// Cuts out many photos over one call: `node dist/connect/stream.js --address ENVOY:8080 out/ a.jpg b.jpg ...`.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, parse } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { argumentsOr } from "../arguments.js";
import { OutputKind, type StreamRemoveBackgroundRequestSchema } from "../gen/connect/matting/v1/matting_service_pb.js";
import { connect } from "./connection.js";
import { failureFrom, failureOf, told } from "./failure.js";

const ITEM_S = 20;

const { address, authority, timeoutMs, metadata, files } = argumentsOr("stream.js FOLDER PHOTO...", 2, 120);
const [folder, ...photos] = files as [string, ...string[]];
const unanswered = new Set(photos);
await mkdir(folder, { recursive: true });

// The next photo is read when the one before is sent, and the gateway takes none while it has enough to do.
async function* items(): AsyncIterable<MessageInitShape<typeof StreamRemoveBackgroundRequestSchema>> {
  for (const photo of photos) {
    yield {
      itemId: photo,
      action: {
        case: "request",
        value: {
          source: { case: "encoded", value: { content: await readFile(photo) } },
          outputs: [{ kind: OutputKind.CUTOUT }],
        },
      },
      timeToLive: { seconds: BigInt(ITEM_S) },
    };
  }
}

// Answers come as they are ready. One that failed says why, and the others go on.
try {
  const answers = connect(address, authority).streamRemoveBackground(items(), { timeoutMs, headers: metadata });
  for await (const { itemId, result } of answers) {
    unanswered.delete(itemId);
    if (result.case === "error") {
      console.error(`${itemId}: ${told(failureFrom(result.value))}`);
      process.exitCode = 1;
      continue;
    }
    const cutout = result.value?.outputs[0]?.result;
    if (cutout?.case !== "encoded") throw new Error("the gateway answered no file");
    const made = join(folder, `${parse(itemId).name}.png`);
    await writeFile(made, cutout.value.content);
    console.log(made);
  }
} catch (error) {
  // A stream isn't tried again by itself: what has no answer yet may be sent anew.
  if (!(error instanceof ConnectError)) throw error;
  console.error(`${told(failureOf(error))}; unanswered: ${[...unanswered].join(", ")}`);
  process.exitCode = 1;
}
