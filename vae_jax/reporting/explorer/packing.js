"use strict";
/*
 * Arrays of the page: base64 of float16, of 8 bits with a scale for each entry of the last axis, of
 * float32 or of bytes. What packing.py writes, this reads.
 */

/** The number that each of the 65,536 patterns of 16 bits stands for (IEEE 754, binary16). */
const FLOAT16 = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

/** Returns the bytes of base64. */
function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** Returns the numbers of a packed array, in rows: a Float32Array, or bytes as they are. */
function unpack(packed) {
  const bytes = bytesOf(packed.data);
  if (packed.type === "uint8") return bytes;
  if (packed.type === "float32") return new Float32Array(bytes.buffer);
  if (packed.type === "float16") {
    return Float32Array.from(new Uint16Array(bytes.buffer), (bits) => FLOAT16[bits]);
  }
  const scale = new Float32Array(bytesOf(packed.scale).buffer); // int8: one for each last index
  return Float32Array.from(new Int8Array(bytes.buffer), (number, i) => number * scale[i % scale.length]);
}
