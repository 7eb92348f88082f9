// SPDX-License-Identifier: Apache-2.0
// The versions of PSP, as far as TypeScript has to tell them apart.

/** Octets of the key that a version needs (PSP specification, "Packet Encryption"). */
export const keyLengthOf = (version: number): number => (version & 1 ? 32 : 16);
