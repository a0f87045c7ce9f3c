// SPDX-License-Identifier: Apache-2.0
// Field 1 of a message, which is bytes.

export function encoded(content) {
  const head = [0x0a];
  let left = content.length;
  for (; left > 0x7f; left >>>= 7) head.push((left & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...head, left]), content]);
}

export function decoded(message) {
  let length = 0;
  let at = 1;
  for (let shift = 0; at < message.length; shift += 7) {
    const byte = message[at++];
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return message.subarray(at, at + length);
}
