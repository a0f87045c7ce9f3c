// SPDX-License-Identifier: Apache-2.0
// Reads custom resources (a list in JSON) from standard input, and says what is wrong with them: values by the schemas of
// @kubernetes-models, and fields that there are not by its types, which schemas let through and API servers refuse.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const PACKAGES = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
const PROGRAM = fileURLToPath(new URL("resources.ts", import.meta.url));

function moduleOf({ apiVersion, kind }) {
  const found = PACKAGES[apiVersion.split("/")[0]];
  if (!found) throw new Error(`nothing is known of ${apiVersion}`);
  return `${found}/${apiVersion}/${kind}`;
}

function errorsByTypes(resources) {
  const text = resources
    .map((one, i) => `import type { I${one.kind} as T${i} } from "${moduleOf(one)}";\nexport const r${i}: T${i} = ${JSON.stringify(one)};\n`)
    .join("");
  const options = { strict: true, noEmit: true, skipLibCheck: true, module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [] };
  const host = ts.createCompilerHost(options);
  const [getSourceFile, fileExists] = [host.getSourceFile, host.fileExists];
  host.fileExists = (name) => name === PROGRAM || fileExists(name);
  host.getSourceFile = (name, target) => name === PROGRAM ? ts.createSourceFile(name, text, target) : getSourceFile(name, target);
  const program = ts.createProgram([PROGRAM], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ start, messageText }) => {
    // Each of them has two lines.
    const { kind, metadata } = resources[Math.floor((text.slice(0, start).split("\n").length - 1) / 2)];
    return `${kind} ${metadata.name}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
  });
}

async function errorsBySchema(resource) {
  const Kind = (await import(moduleOf(resource)))[resource.kind];
  try {
    new Kind(resource).validate();
    return [];
  } catch (error) {
    return [`${resource.kind} ${resource.metadata.name}: ${error.message}`];
  }
}

const resources = JSON.parse(readFileSync(0, "utf8"));
const errors = [...errorsByTypes(resources), ...(await Promise.all(resources.map(errorsBySchema))).flat()];
for (const error of errors) console.error(error);
process.exitCode = errors.length ? 1 : 0;
